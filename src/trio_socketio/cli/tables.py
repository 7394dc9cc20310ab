"""Writes results for people: tables for lists of objects, and lines for objects.

Names and values come from clients too, so control characters are escaped everywhere (CTL-07).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from unicodedata import combining, east_asian_width

from trio_socketio.codec.control_characters import escape

LEAST_WIDTH: Final = 24
"""To how many columns a column of a table may be cut. Ids are shorter, and always whole."""
_GAP: Final = "  "
_NOTHING: Final = "-"
_MOMENTS: Final = ("at", "at_s", "since_s", "until_s")


def render(value: Any, width: int | None = None) -> str:
    """Return the text of a result, without a line end.

    Args:
        value: dicts, lists, text, numbers, booleans, None and bytes.
        width: of the terminal, in columns. Wide cells are cut so that a table fits, and if it still
            does not, each of its objects is shown in lines. None means no limit.
    """
    if _is_table(value):
        return render_table(value, width)
    if isinstance(value, list):
        return "\n".join(map(cell, value)) or _NOTHING
    if not isinstance(value, dict):
        return cell(value)
    tables = {name: item for name, item in value.items() if _is_table(item)}
    parts = [render_table(item, width) for item in tables.values()]
    if len(tables) > 1:
        titled = zip(tables, parts, strict=True)
        parts = [f"{escape(name)}:\n{part}" for name, part in titled]
    rest = {name: item for name, item in value.items() if name not in tables}
    if rest:
        parts.append(_lines(list(flatten(rest))))
    return "\n\n".join(parts) or _NOTHING


def _lines(pairs: Sequence[tuple[str, str]]) -> str:
    widest = max(display_width(name) for name, _ in pairs)
    return "\n".join(f"{_pad(name, widest)}{_GAP}{text}" for name, text in pairs)


def render_table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Return a table with a line for each object; its columns are the keys of all of them."""
    rows = [_add_nodes(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[escape(name) for name in names]]
    lines += [[_brief(row.get(name), name) for name in names] for row in rows]
    widths = [max(display_width(line[at]) for line in lines) for at in range(len(names))]
    if width is not None:
        widths = _fit(widths, width)
        if sum(widths) + len(_GAP) * (len(widths) - 1) > width:
            names, *values = lines
            return "\n\n".join(_lines(list(zip(names, row, strict=True))) for row in values)
        lines = [
            [_cut(text, limit) for text, limit in zip(line, widths, strict=True)] for line in lines
        ]
    return "\n".join(
        _GAP.join(_pad(text, column) for text, column in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _add_nodes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the nodes of the objects in it, of which a cell shows the ids alone."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        found[name] = value
        nodes = [item.get("node") for item in value] if _is_table(value) else []
        if nodes and all(isinstance(node, str) for node in nodes):
            found[f"{name}.node"] = nodes  # in the order of the ids
    return found


def _brief(value: Any, name: str) -> str:
    """Return the text of a value in a cell of a table: of objects that have ids, those alone."""
    if _is_table(value) and all(isinstance(item.get("id"), str) for item in value):
        value = [item["id"] for item in value]
    return cell(value, name)


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return the names and texts of an object; those of objects in it have dots in their names."""
    for name, item in value.items():
        path = f"{prefix}{escape(name)}"
        if isinstance(item, dict) and item:
            yield from flatten(item, f"{path}.")
        else:
            yield path, cell(item, name)


def cell(value: Any, name: str = "") -> str:
    """Return the text of a value in one line.

    Args:
        value: the value.
        name: its name; a time in seconds since 1970 has one of `_MOMENTS`, or a name that ends in
            ``_at_s``.
    """
    if value is None or value in ({}, [], ""):
        return _NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, (int, float)) and (name in _MOMENTS or name.endswith("_at_s")):
        try:
            return datetime.fromtimestamp(value).isoformat(" ", "seconds")
        except (ValueError, OverflowError, OSError):
            return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return escape(", ".join(value))
    if isinstance(value, (dict, list)):
        return escape(json.dumps(value, ensure_ascii=False, default=cell))
    return escape(str(value))


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in ("W", "F") else 1


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - display_width(text))


def _cut(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    taken, used = [], 1  # the ellipsis
    for character in text:
        used += _character_width(character)
        if used > width:
            break
        taken.append(character)
    return f"{''.join(taken)}…"


def _fit(widths: list[int], width: int) -> list[int]:
    """Narrow the widest columns, one after the other, until the table fits or all are narrow."""
    widths = list(widths)
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0 and max(widths) > LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
        excess -= 1
    return widths
