"""The reference of the configuration: every option, out of the docstrings of the groups."""

from collections.abc import Iterator
from typing import Any

import msgspec

from trio_socketio.cli.serve_arguments import FLAGS
from trio_socketio.configuration.kinds import Kind, describe, fields_of, kind_of
from trio_socketio.configuration.tables import TABLES, Place, options_of
from trio_socketio.configuration.text import describe_options, toml_value


def configuration_text() -> str:
    """A section with a table of options for each table of the configuration."""
    parts = []
    for table, kind in TABLES.items():
        summary, meanings = describe_options(kind)
        fields = {name: fields_of(kind)[name] for name in options_of(table, kind)}
        rows = [
            row
            for name, field in fields.items()
            for row in _rows(kind, name, field, (table, name), meanings.get(name, ""))
        ]
        head = "| option | takes | default | meaning |\n|---|---|---|---|"
        parts.append(f"### `[{table}]`\n\n{summary}\n\n" + "\n".join([head, *rows]) + "\n")
    return "\n".join(parts)


def _rows(
    group: type[msgspec.Struct], name: str, field: Any, place: Place, meaning: str, shown: str = ""
) -> Iterator[str]:
    """Yield the row of an option, and those of the options that its value has."""
    shown = shown or name
    kind = kind_of(field.type)
    told = [f"{meaning[:1].upper()}{meaning[1:]}"]
    if name in getattr(group, "_reloadable", ()):
        told.append("*A reload changes it.*")
    if place in FLAGS:
        told.append(f"Flag: `{FLAGS[place]}`.")
    default = "required" if field.required else f"`{_default(field)}`"
    yield f"| `{shown}` | {_cell(_takes(kind))} | {_cell(default)} | {_cell(' '.join(told))} |"
    inner, prefix = (kind.groups, f"{shown}[].") if kind.groups else (kind.group, f"{shown}.")
    if inner is not None:
        _, meanings = describe_options(inner)
        for one, deeper in fields_of(inner).items():
            told_of = meanings.get(one, "")
            yield from _rows(inner, one, deeper, (*place, one), told_of, f"{prefix}{one}")


def _takes(kind: Kind) -> str:
    return "a list of tables" if kind.groups else describe(kind).removesuffix(", or false for none")


def _default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        value = field.default
    return "on" if isinstance(value, msgspec.Struct) else toml_value(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
