"""Makes groups of options out of what was given, and words every error about it."""

from abc import ABC
from collections.abc import Callable, Mapping
from datetime import date, time
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, get_args, get_origin

import msgspec

from trio_socketio.configuration.kinds import describe, fields_of, kind_of, suggestion
from trio_socketio.configuration.settings import Setting, Settings, flatten, turns_on
from trio_socketio.configuration.tables import Tables, options_of
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.option_checks import Network

_LONGEST_SHOWN: Final = 80
_FAILED: Final = object()
"""Stands for a value that could not be converted; the error was noted."""


class AnyNetwork(ABC):  # noqa: B024 - what it has are two registered classes
    """A network of either kind, for msgspec, which allows one custom type in a union."""


AnyNetwork.register(IPv4Network)
AnyNetwork.register(IPv6Network)


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
        given = {
            place[1:]: setting
            for place, setting in settings.items()
            if place[0] == table and len(place) > 1
        }
        fields = options_of(table, kind)
        groups[table] = _convert_group(kind, fields, given, f"[{table}] ", faults)
    return groups


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
        where = _where(parts, "")
        if name not in fields:
            faults.append(f"{where}: unknown option{suggestion(name, list(fields))}")
            continue
        value = _convert_option(fields[name].type, parts, faults, is_secret=name in secret)
        if value is not _FAILED:
            values[name] = value
    missing = [name for name, field in fields.items() if field.required and name not in options]
    faults += [f"{label}{name}: is missing" for name in missing]
    required = {name for name, field in fields.items() if field.required}
    stand_ins: Mapping[str, Any] = getattr(kind, "_stand_ins", {})

    def make(values: dict[str, Any]) -> Any:
        return kind(**{**stand_ins, **values})

    while True:
        absent = required - values.keys()
        if absent - stand_ins.keys():
            return _FAILED
        try:
            group = make(values)
        except OptionError as error:
            # The option may be named with a name within its table, as levels.engine.
            (name, _, inner), reason = error.option.partition("."), error.reason
            if name in secret:
                reason = reason if error.hides_value else "its value cannot be used"
            elif _sift(make, values, name, options, faults):
                continue
            if name not in options:  # one that was given does not go with the default of another
                reason = f"{name} {reason}"
                name = next((given for given in options if given in error.reason), name)
            where = _where(options[name], inner) if name in options else label.strip()
            # It may follow from an error that was found before, and would then be misleading.
            follows = any(left in reason for left in options if left not in values)
            if len(faults) == found or (name in values and not follows):
                faults.append(f"{where}: {reason}")
            if values.pop(name, _FAILED) is _FAILED:
                return _FAILED if required else kind()
        except ConfigurationError as error:  # it names no option
            faults.append(f"{label.strip()}: {error}")
            return _FAILED if required else kind()
        else:
            return _FAILED if absent else group


def _sift(
    check: Callable[[dict[str, Any]], object],
    values: dict[str, Any],
    name: str,
    options: Mapping[str, Settings],
    faults: list[str],
) -> bool:
    """Take out the items of a list or table that the group refuses, each for itself.

    In this way, each of them is reported rather than only the first.

    Args:
        check: makes the group out of values.
        values: the values of its options; that of this option is replaced, or removed if no item is
            left.
        name: the name of this option.
        options: what was given.
        faults: gets a line for each of the items.
    Returns:
        Whether there were any.
    """
    value = values.get(name)
    if not isinstance(value, (tuple, dict)) or len(value) < 2:
        return False
    is_table = isinstance(value, dict)
    parts = [{key: value[key]} for key in value] if is_table else [(item,) for item in value]
    good: list[Any] = []
    told: dict[str, None] = {}
    for part in parts:
        try:
            check({**values, name: part})
        except ConfigurationError as error:
            option, _, inner = getattr(error, "option", "").partition(".")
            if option == name and isinstance(error, OptionError):
                key = next(iter(part)) if isinstance(part, dict) else inner
                told[f"{_where(options[name], key)}: {error.reason}"] = None
                continue
        good.append(part)
    if not told:
        return False
    faults += told
    if not good:
        del values[name]
    elif is_table:
        values[name] = {key: item for part in good for key, item in part.items()}
    else:
        values[name] = tuple(item for part in good for item in part)
    return True


def _where(parts: Settings, inner: str) -> str:
    """Name the place where an option was given, or a value within it."""
    return parts.get((inner,), next(iter(parts.values()))).where


def _convert_option(annotation: Any, parts: Settings, faults: list[str], *, is_secret: bool) -> Any:
    """Make the value of one option out of what was given at it, and within it."""
    kind = kind_of(annotation)
    whole = parts.get(())
    within = {place: setting for place, setting in parts.items() if place}
    where = _where(parts, "")
    if whole is not None and whole.value is False and kind.optional:
        return None
    if kind.group is not None and (whole is None or turns_on(whole.value)):
        origin = where if whole is not None else where.rpartition(" ")[0]
        return _convert_group(kind.group, fields_of(kind.group), within, f"{origin} ", faults)
    value: Any = _assemble(within) if whole is None else whole.value
    if kind.groups is not None and _are_tables(value):
        made = [
            _convert_item(kind.groups, item, f"{where}[{number}]", whole, faults)
            for number, item in enumerate(value)
        ]
        usable = tuple(item for item in made if item is not _FAILED)
        # The other options are checked together with the items that can be used.
        return usable if usable or not made else _FAILED
    why = ""
    if kind.group is None and kind.groups is None:
        try:
            return msgspec.convert(value, _readable(kind.plain), dec_hook=_decode)
        except (msgspec.ValidationError, RecursionError) as error:
            why = f" ({error.__cause__})" if isinstance(error.__cause__, ValueError) else ""
        why = f", not {shown(value)}{why}"
        if isinstance(value, str) and get_origin(kind.plain) in (tuple, list):
            why += f"; write [{shown(value)}]"
    if kind.groups is not None and within:
        why = f"; write [[{where.rpartition('[')[2].partition(']')[0]}]]" if "[" in where else ""
    # A group may hold secrets, so that what stands in its place is not shown (CFG-09).
    faults.append(f"{where}: expected {describe(kind)}{'' if is_secret else why}")
    return _FAILED


def _convert_item(
    kind: type[msgspec.Struct],
    item: Mapping[str, Any],
    where: str,
    whole: Setting | None,
    faults: list[str],
) -> Any:
    origin = whole.origin if whole is not None else where
    try:
        given = {
            place: Setting(value, f"{where} {'.'.join(place)}", origin)
            for place, value in flatten(item, ())
        }
    except RecursionError:
        faults.append(f"{where}: is nested too deeply")
        return _FAILED
    made = _convert_group(kind, fields_of(kind), given, f"{where} ", faults)
    name = given.get(("name",))
    if name is not None and getattr(made, "name", None) != name.value:
        return _FAILED  # without its name, it would be checked as an item that was given none
    return made


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


def shown(value: object) -> str:
    """Write a value for an error, shortened."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        if isinstance(value, (date, time)):  # a datetime is a date
            text = str(value)
    except RecursionError:
        return "something that is nested too deeply"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
