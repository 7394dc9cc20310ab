"""The base of the groups of options, and the checks that several of them need.

Each floor owns its group: a frozen struct whose fields are of plain types that a configuration
file can hold, with units in their names. A group checks itself when it is created, so that a bad
value is an error where it is written, and not when the first client comes.
"""

import re
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from math import inf, isnan
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from trio_socketio.errors import OptionError

Network = IPv4Network | IPv6Network

TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
"""Matches a token of HTTP: the name of a method or a header. Spec: RFC 9110, section 5.6.2."""

_PATH: Final = re.compile(r"/[!\"$->@-~]*").fullmatch  # no space, query or fragment
_HOST: Final = re.compile(r"[a-z0-9._~-]+").fullmatch
_PORTS: Final = {"http": "80", "https": "443"}
_PAGES: Final = {"ws": "http", "wss": "https"}
"""The scheme of the page behind a connection: an origin names the page, not the connection."""
_KINDS: Final[dict[Any, tuple[type | tuple[type, ...], str]]] = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    int | None: ((int, NoneType), "a whole number or None"),
    float: ((int, float), "a number"),
    str: (str, "text"),
    str | None: ((str, NoneType), "text or None"),
    Path | None: ((Path, NoneType), "a pathlib.Path or None"),
}


class OptionGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Options that belong together.

    Raises:
        OptionError: a value has the wrong type for its option, such as text for a number, or is a
            number that is not above zero.
    """

    _may_be_zero: ClassVar[frozenset[str]] = frozenset()
    """The names of the group's options that may be zero."""
    _reloadable: ClassVar[frozenset[str]] = frozenset()
    """The options that can be changed while a program runs; see `apply` of their owner."""
    _secret: ClassVar[frozenset[str]] = frozenset()
    """The options whose values are never shown, and may be read from files of their own."""
    _urls: ClassVar[frozenset[str]] = frozenset()
    """The options whose values are URLs, of which the query is never shown."""
    _stand_ins: ClassVar[Mapping[str, Any]] = {}
    """Values for options without a default, in place of wrong ones while the others are checked."""
    _one_of: ClassVar[tuple[str, ...]] = ()
    """A file that has the table of the group must turn on one of these options, or each one off."""

    def __post_init__(self) -> None:
        for name, kind in _fields(type(self)):
            value = getattr(self, name)
            if kind in _KINDS:
                kinds, wanted = _KINDS[kind]
                # A bool is an int in Python, and as a number of seconds it is a mistake.
                if not isinstance(value, kinds) or (kind is not bool and isinstance(value, bool)):
                    raise OptionError(name, f"expected {wanted}, not {value!r}")
            elif isinstance(kind, type) and issubclass(kind, OptionGroup):
                check_group(name, value, kind)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._check_number(name, value)

    def _check_number(self, name: str, value: float) -> None:
        if isnan(value) or value < 0 or (value == 0 and name not in self._may_be_zero):
            least = "zero or more" if name in self._may_be_zero else "above zero"
            raise OptionError(name, f"must be {least}, not {value}")


@cache
def _fields(group: type[OptionGroup]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(group))


def check_group(name: str, value: object, kind: type[OptionGroup]) -> None:
    """Refuse a value that is not a group of this kind, such as True for "with the defaults".

    Raises:
        OptionError: the value is of another type.
    """
    if not isinstance(value, kind):
        raise OptionError(name, f"expected {kind.__name__}(...), not {value!r}")


def check_groups(name: str, groups: object, kind: type[OptionGroup]) -> None:
    """Refuse a value that is not a tuple or list of groups of this kind.

    Raises:
        OptionError: it holds something else, which is not shown, as it may be a secret.
    """
    if not isinstance(groups, (tuple, list)) or not all(isinstance(one, kind) for one in groups):
        raise OptionError(name, f"expected a list of {kind.__name__}(...)")


def check_range(group: OptionGroup, name: str, least: float, most: float) -> None:
    """Refuse a number outside a range that includes both of its ends.

    Raises:
        OptionError: the option's value lies outside.
    """
    value = getattr(group, name)
    if not least <= value <= most:
        raise OptionError(name, f"must be {least} to {most}, not {value}")


MAX_PORT: Final = 65535


def split_host_port(name: str, text: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        OptionError: the text is something else.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise OptionError(
            name, f"expected HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100, not {text!r}"
        )
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """Return ``HOST:PORT``, which split_host_port reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_seconds(name: str, value: object) -> float:
    """Return a time that was given as an argument; zero is allowed.

    Raises:
        OptionError: it is not a finite number of seconds.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < inf:
        raise OptionError(name, f"expected a number of seconds, zero or more, not {value!r}")
    return float(value)


def check_tokens(name: str, tokens: object) -> None:
    """Refuse a value that is not a tuple of HTTP tokens.

    Raises:
        OptionError: the value is text, which would be read letter by letter, or it holds
            something that is not a token.
    """
    if isinstance(tokens, str) or not isinstance(tokens, (tuple, list)):
        raise OptionError(name, f"expected a tuple of names, not {tokens!r}")
    for token in tokens:
        if not isinstance(token, str) or not TOKEN(token):
            raise OptionError(name, f"{token!r} is not a valid name in HTTP")


def check_networks(name: str, networks: object) -> None:
    """Refuse a value that is not a tuple of networks.

    Raises:
        OptionError: it holds something else, such as text.
    """
    for network in networks if isinstance(networks, (tuple, list)) else (networks,):
        if not isinstance(network, (IPv4Network, IPv6Network)):
            raise OptionError(name, f"expected ipaddress.ip_network(...), not {network!r}")


def check_path(path: str) -> None:
    """Refuse text that cannot be the path of a request.

    Raises:
        OptionError: it does not begin with a slash, or has characters that a path cannot have.
    """
    if not _PATH(path):
        raise OptionError("path", f"must be an absolute URL path, not {path!r}")


def check_origin(name: str, origin: str) -> None:
    """Refuse text that no browser sends as an Origin, because no request would ever match it.

    Raises:
        OptionError: the message says how browsers spell the origin, if that can be guessed.
    """
    if "*" in origin:
        raise OptionError(
            name,
            f"{origin!r} is not an origin: list the origin of each host, or have the app give a "
            r"compiled pattern, such as re.compile(r'https://[^.]+\.example\.com')",
        )
    spelled = _spell_origin(origin.strip())
    if spelled is None:
        raise OptionError(
            name,
            "an origin is scheme://host[:port] as browsers send it, or null, file:// or *; "
            f"not {origin!r}",
        )
    if spelled != origin:
        raise OptionError(name, f"no browser sends {origin!r} as an origin: write {spelled!r}")


def _spell_origin(text: str) -> str | None:
    """Spell the origin of the page at a URL or host as browsers do; None if it has none."""
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
    except ValueError:  # includes UnicodeError, for hosts that IDNA cannot encode
        return None
    if not host.startswith("[") and not _HOST(host):
        return None
    scheme = _PAGES.get(parts.scheme, parts.scheme)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _PORTS.get(scheme) else "")
