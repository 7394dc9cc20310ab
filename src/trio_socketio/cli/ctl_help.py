"""The help of ``ctl``, made out of the OpenRPC document."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

from trio_socketio.cli.ctl_methods import Api, MethodDescription, Schema, expected, reference

WIDTH: Final = 80
"""The width of help, in columns, if that of the terminal is unknown."""
_LONGEST_NAME: Final = 22


def method_help(api: Api, method: MethodDescription, width: int = WIDTH) -> str:
    """Return the help of one method: its parameters and its result (CTL-02)."""
    shown = [
        f"{name}={'VALUE' if one.required else '...'}" for name, one in method.parameters.items()
    ]
    usage = " ".join(
        text if one.required else f"[{text}]"
        for text, one in zip(shown, method.parameters.values(), strict=True)
    )
    parts = [
        _wrap(f"usage: trio-socketio ctl [options] {method.name} {usage}", width, "       "),
        _wrap(method.summary, width),
    ]
    if method.parameters:
        rows = (
            (name, _about(one.schema, one.description, required=one.required))
            for name, one in method.parameters.items()
        )
        parts.append(f"parameters:\n{entries(rows, width)}")
    parts += _results(api, method.result, width)
    return "\n\n".join(parts)


def entries(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Return lines of names, each with the text that belongs to it beside it."""
    rows = list(rows)
    column = 4 + min(max(len(name) for name, _ in rows), _LONGEST_NAME)
    lines = []
    for name, text in rows:
        start = f"  {name}"
        if len(start) + 2 > column:
            lines.append(start)
            start = ""
        indent = " " * column
        lines.append(_wrap(text, width, indent, start.ljust(column)))
    return "\n".join(lines)


def _about(schema: Schema, description: str, *, required: bool = True) -> str:
    text = f"{expected(schema)}: {description.rstrip('.')}"
    if required or "default" not in schema:  # without one, what is left out stays as it is
        return text
    return f"{text} (default: {json.dumps(schema.get('default'), ensure_ascii=False)})"


def _results(api: Api, schema: Schema, width: int) -> Iterator[str]:
    """Describe a result, and then each kind of object in it once."""
    name = reference(schema)
    if not name:
        yield _wrap(f"result: {expected(schema)}", width)
        return
    waiting, told = [name], {name}
    title = "result"
    while waiting:
        name = waiting.pop(0)
        found = api.schemas.get(name, {})
        rows = [
            (field, _about(one, one.get("description", "")))
            for field, one in found.get("properties", {}).items()
        ]
        about = _wrap(f"{title}: {found.get('description', '')}", width)
        yield f"{about}\n{entries(rows, width)}" if rows else about
        for inner in _references(found):
            if inner not in told:
                told.add(inner)
                waiting.append(inner)
        title = waiting[0] if waiting else ""


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if name := reference(schema):
            yield name
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def _wrap(text: str, width: int, indent: str = "", start: str = "") -> str:
    return textwrap.fill(
        text,
        max(width, len(indent) + 20),
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
