"""What options of all kinds have in common: a count is whole, a switch is on or off."""

import re
from dataclasses import fields
from ipaddress import IPv6Address
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from trio_socketio.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_PATH: Final = re.compile(r"/[!\"$->@-~]*").fullmatch  # no blank, query or fragment
_HOST: Final = re.compile(r"[a-z0-9._~-]+").fullmatch
_PORTS: Final = {"http": "80", "https": "443"}
_PAGES: Final = {"ws": "http", "wss": "https"}
"""An origin is that of a page, whatever the page connects with."""
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


def check_origin(origin: str) -> None:
    """Refuse what no browser sends as an Origin: it would be compared in vain with each request.

    Raises:
        ConfigurationError: it says how the origin is spelled, if that can be guessed.
    """
    if "*" in origin:
        raise ConfigurationError(
            f"{origin!r} is no origin: for several hosts give a compiled pattern, such as "
            r"re.compile(r'https://[^.]+\.example\.com')"
        )
    spelled = _spell_origin(origin.strip())
    if spelled is None:
        raise ConfigurationError(
            "an origin is scheme://host[:port] as browsers send it, or null, file:// or *; "
            f"not {origin!r}"
        )
    if spelled != origin:
        raise ConfigurationError(f"no browser sends {origin!r} as an origin: write {spelled!r}")


def _spell_origin(text: str) -> str | None:
    """The origin of a page with that URL, or at that host; None if there is none."""
    if text.lower() == "null":
        return "null"
    if text.lower().startswith("file:"):
        return "file://"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", str(parts.port or "")
        if ":" in host:
            host = f"[{IPv6Address(host)}]"
        elif not _HOST(host):
            host = host.encode("idna").decode()
    except ValueError:  # UnicodeError is one
        return None
    if not host.startswith("[") and not _HOST(host):
        return None
    scheme = _PAGES.get(parts.scheme, parts.scheme)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _PORTS.get(scheme) else "")
