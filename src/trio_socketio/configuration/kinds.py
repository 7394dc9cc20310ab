"""The types of options, taken apart, and the option that stands at a place."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from trio_socketio.configuration.tables import Place, Tables, options_of
from trio_socketio.option_checks import Network


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

    @property
    def is_table(self) -> bool:
        """Whether the value is a table with names that are chosen freely."""
        return get_origin(self.plain) is dict


def kind_of(annotation: Any) -> Kind:
    """Take the type of an option apart."""
    is_union = get_origin(annotation) in (Union, UnionType)
    parts = get_args(annotation) if is_union else (annotation,)
    optional = NoneType in parts
    # A file cannot hold bytes, but an option that takes them takes text as well.
    plain = reduce(or_, (part for part in parts if part not in (NoneType, bytes)))
    items = get_args(plain) if get_origin(plain) in (tuple, list) else ()
    return Kind(plain, optional, group_of(plain), group_of(items[0]) if items else None)


def group_of(plain: Any) -> type[msgspec.Struct] | None:
    """Return the type if it is a group of options."""
    return plain if isinstance(plain, type) and issubclass(plain, msgspec.Struct) else None


def fields_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the options of a group, by name."""
    return {field.name: field for field in msgspec.structs.fields(kind)}


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
        if kind is not None and kind.is_table:
            return kind_of(get_args(kind.plain)[1]), ""
        if kind is not None:
            fields = {} if kind.group is None else fields_of(kind.group)
        if name not in fields:
            return None, f"unknown option{suggestion(name, fields)}"
        kind = kind_of(fields[name].type)
    return kind, f"names the group {place[0]}, but no option of it"


def join_names(place: Place, tables: Tables) -> Place:
    """Make one name of those within a table whose names are chosen freely.

    ``engine.sessions = "debug"`` in ``[log.levels]`` is then the same as ``"engine.sessions"``.
    """
    for length in range(2, len(place)):
        kind, _ = find_kind(place[:length], tables)
        if kind is None:
            break
        if kind.is_table:
            return (*place[:length], ".".join(place[length:]))
    return place


def suggestion(name: str, known: Iterable[str], form: str = "{}") -> str:
    """Say what was probably meant by a name; empty if nothing is similar."""
    similar = get_close_matches(name, list(known), 1)
    return f"; did you mean {form.format(similar[0])}?" if similar else ""


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
    if group_of(plain) is not None:
        return "a table"
    return " or ".join(map(_words, parts)) or "a value"
