"""Where Redis is, and who we are there."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from trio_socketio.errors import OptionError

DEFAULT_PORT: Final = 6379
_EXPECTED: Final = (
    "expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], the same with rediss:// for TLS, or "
    "unix://[[USER]:PASSWORD@]/PATH[?db=DB]; write / ? # @ and % in a password as %2F %3F %23 %40 "
    "and %25"
)
_SCHEMES: Final = ("redis", "rediss", "unix")
_DB_PATH: Final = re.compile(r"/?(?:[0-9]{1,5})?").fullmatch
_DB: Final = re.compile(r"[0-9]{1,5}").fullmatch


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says.

    Args:
        host: a name or an address; empty if there is a path.
        port: of TCP.
        path: of a Unix socket; None for TCP.
        is_secure: whether to speak TLS.
        user: None means the default user.
        password: None means that there is none in the URL.
        db: the number of the database.
    """

    host: str
    port: int
    path: str | None
    is_secure: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        if self.path is not None:
            return f"unix://{user}{self.path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.is_secure else "redis"
        return f"{scheme}://{user}{host}:{self.port}/{self.db}"


def parse_address(url: str) -> Address:
    """Read a URL as redis-py does, and refuse what redis-py would ignore.

    Raises:
        OptionError: it is not the URL of a Redis server. It names the option url, and does not show
            the URL, which may hold a password (REDIS-04).
    """
    # Imported here because it takes 0.12 s, and servers without Redis import the options too.
    from redis.connection import SSLConnection, parse_url

    try:
        _check(url)
        said = parse_url(url)  # type: ignore[no-untyped-call]  # it has no annotations
        # getaddrinfo encodes it so, and raises UnicodeError, which is a ValueError, if it cannot.
        said.get("host", "").encode("idna")
    except ValueError:  # its message may show a part of the password
        raise OptionError("url", _EXPECTED, hides_value=True) from None
    path: str | None = said.get("path")
    return Address(
        host="" if path else said.get("host", "localhost"),
        port=said.get("port", DEFAULT_PORT),
        path=path,
        is_secure=said.get("connection_class") is SSLConnection,
        user=said.get("username"),
        password=said.get("password"),
        db=said.get("db", 0),
    )


def _check(url: str) -> None:
    """Refuse what redis-py passes over in silence, and its options that we do not have (REDIS-02).

    Raises:
        ValueError: there is something of that kind.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    database = query.pop("db", [])
    if parts.scheme not in _SCHEMES or query or parts.fragment or url != url.strip():
        raise ValueError(parts.scheme)
    if len(database) > 1 or not all(map(_DB, database)):
        raise ValueError("db")
    if parts.scheme == "unix":
        if len(parts.path) < 2 or parts.hostname:
            raise ValueError("path")
    elif not _DB_PATH(parts.path) or (database and parts.path.strip("/")) or parts.port == 0:
        raise ValueError("path")
