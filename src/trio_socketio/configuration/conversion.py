"""Makes groups of options out of what was given, and words every error about it."""

from abc import ABC
from collections.abc import Mapping
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, ip_network
from operator import or_
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from trio_socketio.configuration.settings import Setting, Settings, flatten, suggestion, turns_on
from trio_socketio.configuration.tables import Place, Tables, options_of
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.option_checks import Network

_LONGEST_SHOWN: Final = 80
_FAILED: Final = object()
"""Stands for a value that could not be converted; the error was noted."""


class AnyNetwork(ABC):  # noqa: B024 - what it has are two registered classes
    """A network of either kind, for msgspec, which allows one custom type in a union."""


AnyNetwork.register(IPv4Network)
AnyNetwork.register(IPv6Network)


class Kind(NamedTuple):
    """The type of an option, taken apart.

    Args:
        plain: the type without None.
        optional: whether the option can be None, which is written as false.
        group: the group of options that the value is; None if it is something else.
        groups: the same for a list of groups.
    """

    plain: Any
    optional: bool
    group: type[msgspec.Struct] | None
    groups: type[msgspec.Struct] | None


def kind_of(annotation: Any) -> Kind:
    """Take the type of an option apart."""
    parts = get_args(annotation) if _is_union(annotation) else (annotation,)
    optional = NoneType in parts
    parts = tuple(part for part in parts if part is not NoneType)
    if bytes in parts:  # a file cannot hold bytes
        parts = tuple(part for part in parts if part is not bytes)
    plain = reduce(or_, parts)
    items = get_args(plain) if get_origin(plain) in (tuple, list) else ()
    return Kind(plain, optional, _group(plain), _group(items[0]) if items else None)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _group(kind: Any) -> type[msgspec.Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def convert(settings: Settings, tables: Tables, faults: list[str]) -> dict[str, Any]:
    """Make the groups of all tables.

    Args:
        settings: what was given.
        tables: the tables that exist.
        faults: gets a line for each error.
    Returns:
        The group of each table; one in which there is an error has defaults where the errors are.
    """
    groups: dict[str, Any] = {}
    for table, kind in tables.items():
        given = {place[1:]: setting for place, setting in settings.items() if place[0] == table}
        fields = options_of(table, kind)
        groups[table] = _convert_group(kind, fields, given, f"[{table}] ", faults)
    return groups


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _convert_group(
    kind: type[msgspec.Struct],
    fields: Mapping[str, msgspec.structs.FieldInfo],
    given: Settings,
    label: str,
    faults: list[str],
) -> Any:
    """Make one group. The group checks itself, so each value that it refuses is left out (CFG-03).

    Args:
        kind: the type of the group.
        fields: its options.
        given: what was given, by place within the group.
        label: stands before the name of an option that was not given, but is in an error.
        faults: gets a line for each error.
    """
    options: dict[str, Settings] = {}
    for place, setting in given.items():
        options.setdefault(place[0], {})[place[1:]] = setting
    secret: frozenset[str] = getattr(kind, "_secret", frozenset())
    values: dict[str, Any] = {}
    found = len(faults)
    for name, parts in options.items():
        where = next(iter(parts.values())).where
        if name not in fields:
            faults.append(f"{where}: unknown option{suggestion(name, list(fields))}")
            continue
        value = _convert_option(fields[name].type, parts, faults, is_secret=name in secret)
        if value is not _FAILED:
            values[name] = value
    missing = [name for name, field in fields.items() if field.required and name not in options]
    faults += [f"{label}{name}: is missing" for name in missing]
    if any(field.required and name not in values for name, field in fields.items()):
        return _FAILED
    while True:
        try:
            return kind(**values)
        except OptionError as error:
            name, reason = error.option, error.reason
            if name in secret:
                reason = "its value cannot be used"
            if name not in options:  # one that was given does not go with the default of another
                reason = f"{name} {reason}"
                name = next((given for given in options if given in error.reason), name)
            where = next(iter(options[name].values())).where if name in options else label.strip()
            # An error that was found before may have led to this one.
            if name in values or len(faults) == found:
                faults.append(f"{where}: {reason}")
            if values.pop(name, _FAILED) is _FAILED:
                return _FAILED if any(field.required for field in fields.values()) else kind()
        except ConfigurationError as error:  # it names no option
            faults.append(f"{label.strip()}: {error}")
            return _FAILED if any(field.required for field in fields.values()) else kind()


def _convert_option(annotation: Any, parts: Settings, faults: list[str], *, is_secret: bool) -> Any:
    """Make the value of one option out of what was given at it, and within it."""
    kind = kind_of(annotation)
    whole = parts.get(())
    within = {place: setting for place, setting in parts.items() if place}
    where = next(iter(parts.values())).where
    if whole is not None and whole.value is False and kind.optional:
        return None
    if kind.group is not None and (whole is None or turns_on(whole.value)):
        origin = where if whole is not None else where.rpartition(" ")[0]
        return _convert_group(kind.group, _fields(kind.group), within, f"{origin} ", faults)
    value: Any = _assemble(within) if whole is None else whole.value
    if kind.groups is not None and _are_tables(value):
        made = [
            _convert_item(kind.groups, item, f"{where}[{n}]", whole, faults)
            for n, item in enumerate(value)
        ]
        return _FAILED if any(item is _FAILED for item in made) else tuple(made)
    try:
        if kind.group is None and kind.groups is None:
            return msgspec.convert(value, _readable(kind.plain), dec_hook=_decode)
        why = ""
    except msgspec.ValidationError as error:
        why = f" ({error.__cause__})" if isinstance(error.__cause__, ValueError) else ""
    # A group may hold secrets, so that what stands in its place is not shown (CFG-09).
    is_hidden = is_secret or kind.group is not None or kind.groups is not None
    told = "" if is_hidden else f", not {shown(value)}{why}"
    faults.append(f"{where}: expected {describe(kind)}{told}")
    return _FAILED


def _convert_item(
    kind: type[msgspec.Struct],
    item: Mapping[str, Any],
    where: str,
    whole: Setting | None,
    faults: list[str],
) -> Any:
    origin = whole.origin if whole is not None else where
    given = {
        place: Setting(value, f"{where} {'.'.join(place)}", origin)
        for place, value in flatten(item, ())
    }
    return _convert_group(kind, _fields(kind), given, f"{where} ", faults)


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _assemble(within: Settings) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for place, setting in within.items():
        inner = table
        for name in place[:-1]:
            inner = inner.setdefault(name, {})
        inner[place[-1]] = setting.value
    return table


def _readable(plain: Any) -> Any:
    """Replace a union of network types, which msgspec cannot read, by the type that it can."""
    if plain == Network:
        return AnyNetwork
    if get_origin(plain) in (tuple, list):
        return GenericAlias(tuple, (_readable(get_args(plain)[0]), Ellipsis))
    return plain


def _decode(kind: type, value: Any) -> Any:
    """Read what msgspec does not know: networks and paths.

    Raises:
        ValueError: the value is neither.
    """
    if not isinstance(value, str):
        raise TypeError
    if kind is AnyNetwork:
        return ip_network(value)
    if kind is Path and value and "\0" not in value:
        return Path(value)
    raise TypeError


_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "the path of a file or folder",
    Network: 'a network such as "10.0.0.0/8"',
}


def describe(kind: Kind) -> str:
    """Say which values an option of this kind can have."""
    return _words(kind.plain) + (", or false for none" if kind.optional else "")


def _words(plain: Any) -> str:
    origin, parts = get_origin(plain), get_args(plain)
    if plain in _WORDS:
        return _WORDS[plain]
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (tuple, list):
        return f"a list, each item of which is {_words(parts[0])}"
    if origin is dict:
        return f"a table, each value of which is {_words(parts[1])}"
    if _group(plain) is not None:
        return "a table"
    return " or ".join(map(_words, parts)) or "a value"


def shown(value: object) -> str:
    """Write a value for an error, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def find_kind(place: Place, tables: Tables) -> tuple[Kind | None, str]:
    """Find the kind of the option at a place.

    Returns:
        The kind; or None, with the reason and what was probably meant.
    """
    if place[0] not in tables:
        return None, f"unknown group{suggestion(place[0], tables)}"
    fields = options_of(place[0], tables[place[0]])
    kind: Kind | None = None
    for name in place[1:]:
        if kind is not None and get_origin(kind.plain) is dict:
            kind = kind_of(get_args(kind.plain)[1])
            continue
        if kind is not None:
            fields = {} if kind.group is None else _fields(kind.group)
        if name not in fields:
            return None, f"unknown option{suggestion(name, fields)}"
        kind = kind_of(fields[name].type)
    return kind, f"names the group {place[0]}, but no option of it"
