"""What options of all kinds have in common: a count is whole, a switch is on or off."""

import re
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_PATH: Final = re.compile(r"/[!\"$->@-~]*").fullmatch  # no blank, query or fragment
_KINDS: Final[dict[Any, tuple[type | tuple[type, ...], str]]] = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    int | None: ((int, NoneType), "a whole number or None"),
    float: ((int, float), "a number"),
    str: (str, "text"),
    str | None: ((str, NoneType), "text or None"),
    Path | None: ((Path, NoneType), "a pathlib.Path or None"),
}


def check_kinds(options: "DataclassInstance") -> None:
    """Refuse values of another kind than their options have: half a connection, a text for a path.

    Options of any other type are left to who knows them.

    Raises:
        ConfigurationError: it names the option and the value.
    """
    for field in fields(options):
        if field.type in _KINDS:
            kinds, wanted = _KINDS[field.type]
            value = getattr(options, field.name)
            if not isinstance(value, kinds) or (field.type is not bool and isinstance(value, bool)):
                raise ConfigurationError(f"{field.name} is {wanted}, not {value!r}")


def check_path(path: str) -> None:
    """Refuse what no request can have as its path.

    Raises:
        ConfigurationError: it is not absolute, or has what a URL's path has not.
    """
    if not _PATH(path):
        raise ConfigurationError(f"path must be an absolute URL path, not {path!r}")
