"""Checks the requests that open a session, and writes the errors that refuse them.

Status, JSON code and message are those of the reference.
"""

import binascii
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Final

from wsproto.utilities import generate_accept_token

from trio_socketio.codec.json_text import encode_json
from trio_socketio.http.forwarded import forwarded
from trio_socketio.http.request import Headers, Request

if TYPE_CHECKING:
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.option_checks import Network


@dataclass(frozen=True, slots=True)
class Refusal:
    """An Engine.IO error.

    Args:
        code: of the reference, 0 to 5.
        message: of the reference; it says what the code means.
        status: of the answer to a plain HTTP request.
        retry_after_s: sent as Retry-After; None leaves the header out.
        upgrade_status: of the answer to a WebSocket handshake.
        upgrade_headers: of that answer.
        reason: a more precise reason than the code gives, for statistics; empty if there is none.

    Spec: Engine.IO v4, "Query parameters".
    """

    code: int
    message: str
    status: int = 400
    retry_after_s: int | None = None
    upgrade_status: int = 400
    upgrade_headers: Headers = ()
    reason: str = ""

    def answer(self, request: Request, headers: Headers = ()) -> None:
        """Answer a plain HTTP request with this error, as JSON."""
        body = encode_json({"code": self.code, "message": self.message})
        own = [(b"Content-Type", b"application/json"), *self._retry_after()]
        request.respond(self.status, [*own, *headers], body)

    def answer_upgrade(self, request: Request) -> None:
        """Answer a WebSocket handshake with this error: the message alone.

        As in the reference the status is 400 whatever the code. It differs only where the client
        should come back later, or has to speak another version of WebSocket.
        """
        status = self.upgrade_status if self.retry_after_s is None else self.status
        own = [(b"Content-Type", b"text/html"), *self.upgrade_headers, *self._retry_after()]
        request.respond(status, own, self.message.encode())

    def _retry_after(self) -> Headers:
        if self.retry_after_s is None:
            return ()
        return ((b"Retry-After", b"%d" % self.retry_after_s),)


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")  # WebTransport too (EIO4-29)
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
FOREIGN_SID: Final = Refusal(1, "Session ID unknown", reason="session of another node")
"""The same for the client; to operators it means that a load balancer misses (OPS-47)."""
BAD_HANDSHAKE_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
STOPPING: Final = Refusal(
    3, "Server shutting down", 503, retry_after_s=1, reason="server shutting down"
)
"""The reference says "Bad request". By 503, a proxy knows that it may ask another node."""
FORBIDDEN: Final = Refusal(4, "Forbidden", 403)
FOREIGN_ORIGIN: Final = Refusal(4, "Forbidden", 403, reason="foreign origin")
UNSUPPORTED_PROTOCOL: Final = Refusal(5, "Unsupported protocol version")

_VERSION: Final = "13"
WRONG_WEBSOCKET: Final = Refusal(
    BAD_REQUEST.code,
    BAD_REQUEST.message,
    upgrade_status=426,
    upgrade_headers=(
        (b"Upgrade", b"websocket"),  # RFC 9110, section 15.5.22: 426 names the protocol
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Version", _VERSION.encode()),
    ),
)
"""The client speaks a version of WebSocket that the server does not (WSP-02)."""


class Handshake:
    """The request that opened a session, kept in little memory.

    Its headers are kept as one text, since a session is idle most of the time and a dict takes
    more.

    Args:
        request: opened the session.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.

    Attributes:
        address: the client's, as far as trusted proxies tell.
        is_forwarded: whether another node has passed on any request of the session.
        issued_s: when the session was opened, seconds since 1970.
        secure: whether the client came over TLS.
        url: path and query, as sent.
    """

    __slots__ = ("_head", "address", "is_forwarded", "issued_s", "secure", "url")

    def __init__(self, request: Request, trusted_proxies: "tuple[Network, ...]") -> None:
        self.url = request.target
        self.is_forwarded = request.is_forwarded
        self.address, self.secure = forwarded(request, trusted_proxies)
        self.issued_s = time()
        self._head = "\n".join([f"{name}:{value}" for name, value in request.headers.items()])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request, names in lower case."""
        if not self._head:
            return {}
        return dict(_split_header(line) for line in self._head.split("\n"))

    def find_header(self, name: str) -> str:
        """Return the value of one header, named in lower case; empty if it was not sent."""
        _, found, rest = f"\n{self._head}".partition(f"\n{name}:")
        return rest.partition("\n")[0] if found else ""

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL."""
        return Request.parse_query(self.url.partition("?")[2])


def _split_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value


def protocol_of(request: Request, options: "EngineOptions") -> int:
    """Return the revision of Engine.IO that a request speaks: 4 or 3, or 0 if it is not served.

    A request without EIO speaks revision 3, as in the reference, if that is served (EIO3-01,
    EIO3-02).
    """
    eio = request.query.get("EIO", "")
    if eio == "4":
        return 4
    return 3 if options.allow_eio3 and eio in ("3", "") else 0


def websocket_headers(request: Request) -> list[tuple[bytes, bytes]] | None:
    """Return the headers of the 101 answer, or None if the handshake is not valid.

    Spec: RFC 6455, section 4.2.1 (WSP-01, WSP-03).
    """
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(binascii.a2b_base64(key.encode("latin-1"), strict_mode=True)) == 16
    except binascii.Error:
        valid = False
    # We would read a body as frames, and a proxy in front of us would not (WSP-03).
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not valid or has_body or headers.get("sec-websocket-version") != _VERSION:
        return None
    return [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", generate_accept_token(key.encode("ascii"))),
    ]


def websocket_refusal(request: Request) -> Refusal:
    """Return the error for a WebSocket handshake that is not valid (WSP-01, WSP-02).

    Spec: RFC 6455, sections 4.2.2 and 4.4.
    """
    version = request.headers.get("sec-websocket-version", _VERSION)
    return BAD_REQUEST if version == _VERSION else WRONG_WEBSOCKET


def is_websocket_upgrade(request: Request) -> bool:
    """Whether the request asks to switch to WebSocket."""
    headers = request.headers
    return (
        "upgrade" in headers  # most requests have none, and this is the cheapest way to tell
        and headers["upgrade"].lower() == "websocket"
        and "upgrade" in headers.get("connection", "").lower()
    )
