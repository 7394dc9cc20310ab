"""A request, as whoever answers it sees it."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from trio_socketio.net.connection import Connection

_PLAIN_QUERY: Final = re.compile(r"[-A-Za-z0-9_.=&]*").fullmatch
"""A query string in which nothing is escaped."""

_AUTHORITY: Final = re.compile(r"\*|[^/?]*://[^/?]*/?")

Headers = Sequence[tuple[bytes, bytes]]


class Exchange(Protocol):
    """What a request came by, and its answer leaves by."""

    connection: "Connection"

    def read_body(self, max_bytes: int, on_body: Callable[[bytes | None], None]) -> None:
        """See Request."""

    def respond(self, request: "Request", status: int, headers: Headers, body: bytes) -> None:
        """See Request."""

    def switch_protocols(self, headers: Headers) -> "tuple[Connection, bytes]":
        """See Request."""


class Request:
    """One request whose head has arrived.

    Args:
        method, target: as sent, ASCII.
        headers: names in lower case; a repeated header is joined with a comma.
        address, secure: of the connection.
        on_abort: called once when the peer goes away, or sends nonsense, before the answer.
        attached: for whoever took the request to keep what belongs to it; not set by us.
    """

    __slots__ = (
        "_http",
        "_query",
        "address",
        "answered",
        "attached",
        "headers",
        "method",
        "on_abort",
        "path",
        "query_text",
        "secure",
        "target",
    )

    def __init__(self, http: Exchange, method: str, target: str, headers: dict[str, str]) -> None:
        self._http = http
        self.method = method
        self.target = target
        self.headers = headers
        self.address = http.connection.address
        self.secure = http.connection.secure
        self.answered = False
        self.on_abort: Callable[[], None] | None = None
        self.attached: Any
        if not target.startswith("/"):  # absolute form, as to a proxy
            target = "/" + _AUTHORITY.sub("", target)
        self.path, _, self.query_text = target.partition("?")
        self._query: dict[str, str] | None = None

    @property
    def connection(self) -> "Connection":
        """What carries it; other requests too."""
        return self._http.connection

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the target; the last of a repeated name counts, as in the reference."""
        if self._query is None:
            self._query = self.parse_query(self.query_text)
        return self._query

    @staticmethod
    def parse_query(text: str) -> dict[str, str]:
        """Parameters of a query string."""
        if _PLAIN_QUERY(text):
            pairs = [pair.partition("=") for pair in text.split("&") if pair]
            return {name: value for name, _, value in pairs}
        return dict(parse_qsl(text, keep_blank_values=True))

    def read_body(self, max_bytes: int, on_body: Callable[[bytes | None], None]) -> None:
        """Ask for the body. on_body is called once, unless on_abort is: with None for a longer one.

        That is answered 413 here.
        """
        self._http.read_body(max_bytes, on_body)

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Answer. Content-Length is added, but to 304. Does nothing when the peer has gone."""
        if not self.answered:
            self.answered = True
            self._http.respond(self, status, headers, body)

    def switch_protocols(self, headers: Headers) -> "tuple[Connection, bytes]":
        """Answer 101, and give the connection away with what was read ahead."""
        self.answered = True
        return self._http.switch_protocols(headers)
