"""Writes configurations: the effective one with its sources, and the example with all options."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import msgspec

from trio_socketio.configuration.kinds import fields_of, kind_of
from trio_socketio.configuration.settings import Settings
from trio_socketio.configuration.tables import Configuration, Place, Tables, options_of

MASK: Final = "********"
WIDTH: Final = 98
"""How long the lines of comments in the example may be, without their ``# ``."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_WHY_LARGE: Final = re.compile(r"It has \d+ (attributes|methods)").match
_ENTRY: Final = re.compile(r"    ([a-z_]\w*(?:, [a-z_]\w*)*): (.*)").fullmatch


def toml_value(value: Any) -> str:
    """Write a value as TOML. None is false.

    A value that no file can hold, such as bytes that an app has given, is written as text.
    """
    if value is None or isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, msgspec.Struct):
        value = _visible(value)
    if isinstance(value, Mapping):
        items = [f"{_key(str(name))} = {toml_value(item)}" for name, item in value.items()]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    if isinstance(value, (str, Path, IPv4Network, IPv6Network)):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return toml_value(repr(value))


def _key(name: str) -> str:
    return name if _BARE_KEY(name) else toml_value(name)


def _visible(group: msgspec.Struct) -> dict[str, Any]:
    """The options of a group, with its secrets masked (CFG-09)."""
    return {name: visible_value(group, name) for name in group.__struct_fields__}


def visible_value(group: msgspec.Struct, name: str) -> Any:
    """The value of an option as it may be shown: a secret that is set is masked (CFG-09).

    So is the query of a URL, which may hold one.
    """
    value = getattr(group, name)
    if name in getattr(group, "_urls", ()) and value is not None:
        path, mark, query = value.partition("?")
        return f"{path}?{MASK}" if query else path + mark
    secret = name in getattr(group, "_secret", ())
    return MASK if secret and value is not None else value


def _lines_of(group: Any, name: str, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield a line for an option, or for each option of the group that it is, with its place."""
    value = visible_value(group, name)
    if isinstance(value, msgspec.Struct):
        for inner in value.__struct_fields__:
            yield from _lines_of(value, inner, (*place, inner))
    elif isinstance(value, Mapping) and value:
        for inner, item in value.items():
            yield (*place, inner), toml_value(item)
    else:
        yield place, toml_value(value)


def _dotted(place: Place) -> str:
    return ".".join(map(_key, place))


def effective_text(configuration: Configuration, settings: Settings, tables: Tables) -> str:
    """Write a configuration as TOML, each option with the source that gave it."""
    lines: list[str] = []
    for table, kind in tables.items():
        lines += [f"[{table}]"]
        group = getattr(configuration, table)
        for name in options_of(table, kind):
            for place, value in _lines_of(group, name, (table, name)):
                line = f"{_dotted(place[1:])} = {value}"
                lines.append(f"{line:<48}  # {_origin(place, settings)}")
        lines.append("")
    return "\n".join(lines)


def _origin(place: Place, settings: Settings) -> str:
    for length in range(len(place), 1, -1):
        if place[:length] in settings:
            return settings[place[:length]].origin
    return "default"


# -- the example, which is made out of the docstrings (CFG-11)

HEADER: Final = """\
# The configuration of trio-socketio. Every option is listed with its default: to change one, remove
# the # before its name. An option that may be none is written as false when it is.
#
# The environment overrides this file: TRIO_SOCKETIO__ENGINE__PING_INTERVAL_S=20 is the option
# ping_interval_s of [engine]. The command line overrides both. Paths are relative to the directory
# in which the server is started. `trio-socketio check-config FILE` shows what is wrong with a file.
# On SIGHUP the server reads it again: options marked with (reload) then change at once, the
# others at the next start.
"""


def example_text(tables: Tables) -> str:
    """Write an example: all options, commented out, with their defaults and meanings."""
    parts = [HEADER]
    for table, kind in tables.items():
        summary, meanings = describe_options(kind)
        header = f"[{table}]\n"
        if kind._one_of:  # CFG-33
            header = f"# Remove the # before [{table}] as well.\n#{header}"
        parts.append(f"\n{_comment(summary)}{header}")
        default = kind()
        for name in options_of(table, kind):
            parts.append(f"\n{_comment(_meaning(kind, name, meanings))}")
            parts += [f"# {line}\n" for line in _hints(kind, name)]
            parts += [
                f"#{_dotted(place[1:])} = {value}\n"
                for place, value in _lines_of(default, name, (table, name))
            ]
    return "".join(parts)


def _meaning(kind: type[msgspec.Struct], name: str, meanings: Mapping[str, str]) -> str:
    mark = " (reload)" if name in getattr(kind, "_reloadable", ()) else ""
    meaning = meanings.get(name, "")
    return f"{meaning[:1].upper()}{meaning[1:]}{mark}"


def _hints(kind: type[msgspec.Struct], name: str) -> Iterator[str]:
    """Describe the options of a group that is an option itself."""
    taken = kind_of(fields_of(kind)[name].type)
    if taken.is_table:
        yield f"A line for each: {name}.NAME = VALUE, with the name in quotes if need be."
    elif taken.groups is not None:
        yield "A list of tables with:"
        yield from _group_hints(taken.groups, "", "  ")
    elif taken.group is not None:
        if not taken.optional:
            yield "It has:"
        elif getattr(kind(), name) is None:
            yield f"{name} = true turns it on; what it has then:"
        else:
            yield f"{name} = false turns it off; what it has:"
        yield from _group_hints(taken.group, f"{name}.", "  ")


def _group_hints(group: type[msgspec.Struct], prefix: str, indent: str) -> Iterator[str]:
    _, meanings = describe_options(group)
    for name, field in fields_of(group).items():
        default = "" if field.required else f" = {toml_value(_default(field))}"
        told = f"{prefix}{name}{default}: {meanings.get(name, '')}"
        deeper = f"{indent}    "
        yield from wrap(told, WIDTH, initial_indent=indent, subsequent_indent=deeper)
        taken = kind_of(field.type)
        if taken.groups is not None:
            yield f"{deeper}A list of tables with:"
            yield from _group_hints(taken.groups, "", f"{deeper}  ")
        elif taken.group is not None:
            yield from _group_hints(taken.group, f"{prefix}{name}.", deeper)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(text, WIDTH))


def describe_options(kind: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """Take the docstring of a group apart.

    Returns:
        Its text before "Args:", and the meaning of each option. None is called false, as in a file.
    """
    text, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")
    # The reason why a class is large is only for readers of its code.
    text = "\n\n".join(part for part in text.split("\n\n") if not _WHY_LARGE(part.strip()))
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines():
        entry = _ENTRY(line)
        if entry is not None:
            names = entry[1].split(", ")
            meanings |= dict.fromkeys(names, entry[2])
        elif line.startswith("        "):
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        elif line.strip():
            break  # the next section
    return _as_in_a_file(text), {name: _as_in_a_file(told) for name, told in meanings.items()}


def _as_in_a_file(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "")
    return re.sub(r"\bNone\b", "false", plain).replace("True", "true").replace("False", "false")
