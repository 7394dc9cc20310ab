"""Adds up the numbers of several processes."""

from collections.abc import Mapping, Sequence
from typing import Any


def add_up(parts: Sequence[Any]) -> Mapping[str, Any]:
    """Add numbers that have the same place in nested tables.

    What is not a number, or has another shape in a process of a worker that has gone wrong, is
    taken from the first that has it.
    """
    found: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Mapping):
            _add(found, part)
    return found


def _add(found: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        before = found.get(name)
        if isinstance(value, Mapping):
            inner = found.setdefault(name, {})
            if isinstance(inner, dict):
                _add(inner, value)
        elif before is None:
            found[name] = value
        elif _is_number(before) and _is_number(value):
            found[name] = before + value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
