"""Which of several patterns decides about a namespace. A pattern is a name, or ends with a *."""

import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_ANYTHING: Final = "[^,]*"

is_pattern: Final = re.compile(r"/[^,*]*\*?").fullmatch
"""Matches the name of a namespace, or with a * at its end, that of all that begin so."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return what matches a namespace's whole name if a pattern stands for it."""
    return re.compile(re.escape(pattern.removesuffix("*")) + _ANYTHING * pattern.endswith("*"))


class ByNamespace(Generic[T]):
    """Values for namespaces. The most exact pattern decides, whatever the order.

    Args:
        values: by pattern.
        default: for all other namespaces.
    """

    __slots__ = ("_default", "_names", "_prefixes")

    def __init__(self, values: Mapping[str, T], default: T) -> None:
        self._default = default
        self._names = {name: value for name, value in values.items() if not name.endswith("*")}
        prefixes = [(name[:-1], value) for name, value in values.items() if name.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda pair: -len(pair[0]))

    def find(self, namespace: str) -> T:
        """Return the value for a namespace."""
        if namespace in self._names:
            return self._names[namespace]
        for prefix, value in self._prefixes:
            if namespace.startswith(prefix):
                return value
        return self._default
