"""The request that opened a socket's session, and the credentials of its CONNECT."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Handshake


class SocketHandshake:
    """The request that opened a socket's session, and the payload of its CONNECT.

    Args:
        request: the handshake of the session.
        auth: the payload of the CONNECT.
    """

    __slots__ = ("_request", "auth")

    def __init__(self, request: "Handshake", auth: dict[str, Any]) -> None:
        self._request = request
        self.auth = auth

    @property
    def headers(self) -> dict[str, str]:
        """Of the request that opened the session; names in lower case."""
        return self._request.headers

    @property
    def query(self) -> dict[str, str]:
        """Of the request that opened the session."""
        return self._request.query

    @property
    def url(self) -> str:
        """Of the request that opened the session."""
        return self._request.url

    @property
    def address(self) -> str:
        """The client's, as far as trusted proxies tell."""
        return self._request.address

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS."""
        return self._request.secure

    @property
    def issued_s(self) -> float:
        """When the session was opened, seconds since 1970."""
        return self._request.issued_s
