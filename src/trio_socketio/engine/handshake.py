"""What a request must bring to open a session or to reach one, and how it is refused.

Answers are the reference's: status, JSON code and message.
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
    """An Engine.IO error. Spec: Engine.IO v4, "Query parameters" (codes are the reference's)."""

    code: int
    message: str
    status: int = 400
    retry_after_s: int | None = None
    upgrade_status: int = 400
    upgrade_headers: Headers = ()

    def answer(self, request: Request, headers: Headers = ()) -> None:
        """Refuse a plain HTTP request."""
        body = encode_json({"code": self.code, "message": self.message})
        own = [(b"Content-Type", b"application/json"), *self._retry_after()]
        request.respond(self.status, [*own, *headers], body)

    def answer_upgrade(self, request: Request) -> None:
        """Refuse a WebSocket handshake, with the message alone.

        As in the reference it is 400 whatever the reason, except where the client should come back,
        or speaks another version.
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
BAD_HANDSHAKE_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", 403)
UNSUPPORTED_PROTOCOL: Final = Refusal(5, "Unsupported protocol version")

_VERSION: Final = "13"
WRONG_WEBSOCKET: Final = Refusal(
    BAD_REQUEST.code,
    BAD_REQUEST.message,
    upgrade_status=426,
    upgrade_headers=(
        (b"Upgrade", b"websocket"),  # RFC 9110, section 15.5.22: 426 says to what
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Version", _VERSION.encode()),
    ),
)
"""A version of WebSocket that is not ours (WSP-02)."""


class Handshake:
    """The request that opened a session, kept small.

    Args:
        request: the first one.
        trusted_proxies: networks of the proxies that are believed.
    """

    __slots__ = ("_head", "address", "issued_s", "secure", "url")

    def __init__(self, request: Request, trusted_proxies: "tuple[Network, ...]") -> None:
        self.url = request.target
        self.address, self.secure = forwarded(request, trusted_proxies)
        self.issued_s = time()
        self._head = "\n".join([f"{name}:{value}" for name, value in request.headers.items()])

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        if not self._head:
            return {}
        return dict(_split_header(line) for line in self._head.split("\n"))

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the URL."""
        return Request.parse_query(self.url.partition("?")[2])


def _split_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value


def protocol_of(request: Request, options: "EngineOptions") -> int:
    """The revision of Engine.IO that a request speaks, 4 or 3; 0 for one that is not served.

    Without EIO it is revision 3, as in the reference, if that is served (EIO3-01, EIO3-02).
    """
    eio = request.query.get("EIO", "")
    if eio == "4":
        return 4
    return 3 if options.allow_eio3 and eio in ("3", "") else 0


def websocket_headers(request: Request) -> list[tuple[bytes, bytes]] | None:
    """The headers of a 101 answer; None when the handshake is not valid.

    Spec: RFC 6455, section 4.2.1 (WSP-01, WSP-03).
    """
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(binascii.a2b_base64(key.encode("latin-1"), strict_mode=True)) == 16
    except binascii.Error:
        valid = False
    # A body would be read as frames by us, and as a body by a proxy.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not valid or has_body or headers.get("sec-websocket-version") != _VERSION:
        return None
    return [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", generate_accept_token(key.encode("ascii"))),
    ]


def websocket_refusal(request: Request) -> Refusal:
    """How a WebSocket handshake that is not valid is refused.

    Spec: RFC 6455, sections 4.2.2 and 4.4.
    """
    version = request.headers.get("sec-websocket-version", _VERSION)
    return BAD_REQUEST if version == _VERSION else WRONG_WEBSOCKET


def is_websocket_upgrade(request: Request) -> bool:
    """Whether the request asks for another protocol, and that is WebSocket."""
    headers = request.headers
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in headers.get("connection", "").lower()
    )
