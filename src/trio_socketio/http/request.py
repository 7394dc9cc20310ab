"""A request, as the code that answers it sees it."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, Self
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from trio_socketio.net.connection import Connection

_PLAIN_QUERY: Final = re.compile(r"(?:[-A-Za-z0-9_.]+=[-A-Za-z0-9_.]*(?:&|\Z))*").fullmatch
"""Matches a query string in which nothing is escaped, and each parameter has a name and a value."""
_PAIRS: Final = re.compile(r"([^=&]+)=([^&]*)").findall
"""Finds the parameters of such a query string."""

_AUTHORITY: Final = re.compile(r"\*|[^/?]*://[^/?]*/?")

Headers = Sequence[tuple[bytes, bytes]]


class FixedHeaders(tuple[tuple[bytes, bytes], ...]):
    """Headers that many answers have in common.

    Attributes:
        lines: the headers as they are sent, which are encoded once.
    """

    lines: bytes

    def __new__(cls, *headers: tuple[bytes, bytes]) -> Self:
        """Encode the headers."""
        self = super().__new__(cls, headers)
        self.lines = encode_headers(headers)
        return self


def encode_headers(headers: Headers) -> bytes:
    """Write headers as lines, each with its end."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class Exchange(Protocol):
    """The part of HTTP that has read a request and writes its answer."""

    connection: "Connection"

    def read_body(self, max_bytes: int, on_body: Callable[[bytes | None], None]) -> None:
        """Read the body of the current request, as Request.read_body does."""

    def respond(self, request: "Request", status: int, headers: Headers, body: bytes) -> None:
        """Answer a request, or do nothing if it is not the current one any more."""

    def pass_on(self, request: "Request", data: bytes, *, is_last: bool, closes: bool) -> None:
        """Send a piece of an answer, as Request.pass_on does."""

    def switch_protocols(self, headers: Headers) -> "tuple[Connection, bytes]":
        """Answer the current request with 101, as Request.switch_protocols does."""

    def take_over(self) -> "tuple[Connection, bytes]":
        """Give the connection away, as Request.take_over does."""


class Request:
    """One request whose head has arrived.

    It has 14 attributes: what was sent, where it came from, and what has become of it.

    Args:
        http: reads the body, and sends the answer.
        method, target: as they were sent, in ASCII.
        headers: by their names in lower case; the values of a repeated header are joined by commas.

    Attributes:
        address, secure: those of the connection; of a request that another node has forwarded,
            those of the connection to that node.
        is_forwarded: whether another node has forwarded it.
        path, query_text: the parts of the target, as they were sent.
        query: the query's parameters; of a repeated name the last counts, as in the reference.
        answered: whether it was answered, or cannot be any more.
        on_release: called when the peer asks for an answer now to a request that waits.
        on_abort: called once if the peer goes away, or sends nonsense, before the answer.
        attached: set and read only by the code that took the request, to keep something with it.
    """

    __slots__ = (
        "_http",
        "address",
        "answered",
        "attached",
        "headers",
        "is_forwarded",
        "method",
        "on_abort",
        "on_release",
        "path",
        "query",
        "query_text",
        "secure",
        "target",
    )

    def __init__(self, http: Exchange, method: str, target: str, headers: dict[str, str]) -> None:
        self._http = http
        self.method = method
        self.target = target
        self.headers = headers
        connection = http.connection
        self.address = connection.address
        self.secure = connection.secure
        self.is_forwarded = False  # nothing that a client sends changes that: FWD-32
        self.answered = False
        self.on_abort: Callable[[], None] | None = None
        self.on_release: Callable[[], None] | None = None
        self.attached: Any
        if not target.startswith("/"):  # the absolute form, which clients of a proxy send
            target = "/" + _AUTHORITY.sub("", target, count=1)
        self.path, _, self.query_text = target.partition("?")
        self.query = self.parse_query(self.query_text)

    @property
    def connection(self) -> "Connection":
        """The connection, which may carry other requests too."""
        return self._http.connection

    @staticmethod
    def parse_query(text: str) -> dict[str, str]:
        """Decode the parameters of a query string; of a repeated name the last counts."""
        if _PLAIN_QUERY(text):
            return dict(_PAIRS(text))
        return dict(parse_qsl(text, keep_blank_values=True))

    def read_body(self, max_bytes: int, on_body: Callable[[bytes | None], None]) -> None:
        """Ask for the body.

        Args:
            max_bytes: a longer body is refused with 413, which ends the connection.
            on_body: called once with the body, or with None if it was refused. It is not called if
                on_abort is.
        """
        self._http.read_body(max_bytes, on_body)

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Answer the request. Does nothing if it was answered before, or the peer has gone.

        Args:
            status: one of error_answers.PHRASES.
            headers: without Content-Length, which is added unless the status is 304.
            body: not sent to HEAD.
        """
        if not self.answered:
            self.answered = True
            self._http.respond(self, status, headers, body)

    def release(self) -> None:
        """Ask whoever has the request for an answer now."""
        if not self.answered and self.on_release is not None:
            self.on_release()

    def pass_on(self, data: bytes, *, is_last: bool, closes: bool = False) -> None:
        """Send a piece of an answer that somebody else has framed, with its status line and head.

        Args:
            data: the next bytes.
            is_last: whether they end the answer. Until then on_abort may be called.
            closes: whether the answer says that no other one follows on the connection.
        """
        if not self.answered:
            self.answered = is_last
            self._http.pass_on(self, data, is_last=is_last, closes=closes)

    def take_over(self) -> "tuple[Connection, bytes]":
        """Return the connection, and the bytes that were read after the request.

        Nothing is answered: the caller speaks for this side from now on.
        """
        self.answered = True
        return self._http.take_over()

    def switch_protocols(self, headers: Headers) -> "tuple[Connection, bytes]":
        """Answer 101; return the connection, and the bytes that were read after the request."""
        self.answered = True
        return self._http.switch_protocols(headers)
