"""Options out of the environment: ``TRIO_SOCKETIO__GROUP__KEY``, by the type of the option.

Numbers and ``true`` or ``false`` are written as in TOML, and text is taken as it is. Lists are
written as in JSON or TOML, or as items with commas between them. A table is one of JSON or TOML, or
each of its values has a variable of its own: ``TRIO_SOCKETIO__ENGINE__COOKIE__NAME``. For an option
that may be none, ``false`` means none. The value of a secret may be kept in a file, whose path is
in the variable with ``_FILE`` appended to its name.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from trio_socketio.configuration.kinds import Kind, find_kind, join_names
from trio_socketio.configuration.settings import (
    Setting,
    Settings,
    flatten,
    read_bounded,
    turns_on,
)
from trio_socketio.configuration.tables import Place, Tables
from trio_socketio.errors import ConfigurationError

PREFIX: Final = "TRIO_SOCKETIO__"
MAX_SECRET_BYTES: Final = 1 << 16

_INTEGER: Final = re.compile(r"[+-]?[0-9]+").fullmatch
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|inf|nan)").fullmatch
_FILE: Final = "_file"


def read_environment(environment: Mapping[str, str], tables: Tables) -> tuple[Settings, list[str]]:
    """Read the options that the environment gives.

    Returns:
        What it gives, and an error for each variable that cannot be used.
    """
    settings: Settings = {}
    faults: list[str] = []
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        names = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        place = join_names(names, tables)
        text = environment[variable]
        kind, why = find_kind(place, tables)
        if kind is None and _is_secret_file(place, tables):
            place = (*place[:-1], place[-1].removesuffix(_FILE))
            kind, _ = find_kind(place, tables)
            try:
                text = read_bounded(Path(text), MAX_SECRET_BYTES).removesuffix("\n")
            except ConfigurationError as error:
                faults.append(f"{variable}: {error}")
                continue
        if kind is None:
            faults.append(f"{variable}: {why}")
            continue
        other = settings.get(place) or settings.get(place[:-1])
        if other is not None and (place in settings or not turns_on(other.value)):
            faults.append(f"{variable}: {other.where} gives this option too: leave out one of them")
            continue
        value = plain_value(text, kind)
        try:
            within = dict(flatten(value, place)) if isinstance(value, dict) and value else {}
        except RecursionError:
            faults.append(f"{variable}: is nested too deeply")
            continue
        for inner, part in within.items():
            where = f"{variable} {'.'.join(inner[len(place) :])}"
            settings[join_names(inner, tables)] = Setting(part, where, variable)
        if not within:
            settings[place] = Setting(value, variable, variable)
    return settings, faults


def _is_secret_file(place: Place, tables: Tables) -> bool:
    """Whether a place is that of a secret, with ``_file`` appended to its name."""
    if len(place) < 2 or not place[-1].endswith(_FILE):
        return False
    kind: Any = tables.get(place[0])
    if len(place) > 2:
        found, _ = find_kind(place[:-1], tables)
        kind = None if found is None else found.group
    return place[-1].removesuffix(_FILE) in getattr(kind, "_secret", ())


def plain_value(text: str, kind: Kind) -> Any:
    """Read the text of a variable as TOML would hold it.

    Returns:
        The value; the text itself if it cannot be read as this kind.
    """
    word = text.strip()
    if kind.optional and word.lower() == "false":
        return False
    value: Any = text
    if kind.plain is bool or (kind.group is not None and word.lower() in ("true", "false")):
        value = {"true": True, "false": False}.get(word.lower(), text)
    elif _takes_numbers(kind.plain) and _INTEGER(word):
        value = _whole(word, text)
    elif kind.plain is float and _NUMBER(word):
        value = float(word)
    elif get_origin(kind.plain) in (tuple, list):
        if word.startswith("["):
            value = _document(word, text)
        else:
            value = [_item(part.strip(), kind.plain) for part in word.split(",")] if word else []
    elif kind.group is not None or get_origin(kind.plain) is dict:
        value = _document(word, text)
    return value


def _takes_numbers(plain: Any) -> bool:
    """Whether whole numbers are of this type, which may be one that takes a word as well."""
    return plain is int or (get_origin(plain) in (Union, UnionType) and int in get_args(plain))


def _whole(word: str, text: str) -> Any:
    try:
        return int(word)
    except ValueError:  # there are too many digits
        return text


def _item(part: str, plain: Any) -> Any:
    item = plain.__args__[0]
    return _whole(part, part) if item is int and _INTEGER(part) else part


def _document(word: str, text: str) -> Any:
    """Read a list or a table, as JSON or TOML writes them."""
    with suppress(ValueError, RecursionError):
        return json.loads(word)
    with suppress(tomllib.TOMLDecodeError, RecursionError):
        document = tomllib.loads(f"value = {word}")
        if len(document) == 1:
            return document["value"]
    return text
