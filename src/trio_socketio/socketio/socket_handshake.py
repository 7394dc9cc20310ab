"""The request that opened a socket's session, and the credentials of its CONNECT."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Handshake


class SocketHandshake:
    """The request that opened a socket's session, and the payload of its CONNECT.

    Args:
        request: the handshake of the session.
        auth: the payload of the CONNECT.

    Attributes:
        auth: the payload of the CONNECT: the client's credentials.
    """

    __slots__ = ("_request", "auth")

    def __init__(self, request: "Handshake", auth: dict[str, Any]) -> None:
        self._request = request
        self.auth = auth

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request; names in lower case."""
        return self._request.headers

    @property
    def query(self) -> dict[str, str]:
        """The parameters of its URL."""
        return self._request.query

    @property
    def url(self) -> str:
        """Its path and query, as sent."""
        return self._request.url

    @property
    def address(self) -> str:
        """The client's address, as far as trusted proxies tell."""
        return self._request.address

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS."""
        return self._request.secure

    @property
    def issued_s(self) -> float:
        """When the session was opened, seconds since 1970."""
        return self._request.issued_s
