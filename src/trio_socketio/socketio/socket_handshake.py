"""How a socket came to be: the request that opened its session, and its CONNECT."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_socketio.socketio.peer import Peer


class SocketHandshake:
    """How a socket came to be.

    Args:
        peer: its session.
        auth: the payload of its CONNECT.
    """

    __slots__ = ("_peer", "auth")

    def __init__(self, peer: "Peer", auth: dict[str, Any]) -> None:
        self._peer = peer
        self.auth = auth

    @property
    def headers(self) -> dict[str, str]:
        """Of the request that opened the session; names in lower case."""
        return self._peer.session.handshake.headers

    @property
    def query(self) -> dict[str, str]:
        """Of the request that opened the session."""
        return self._peer.session.handshake.query

    @property
    def url(self) -> str:
        """Of the request that opened the session."""
        return self._peer.session.handshake.url

    @property
    def address(self) -> str:
        """The client's, as far as trusted proxies tell."""
        return self._peer.session.handshake.address

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS."""
        return self._peer.session.handshake.secure

    @property
    def issued_s(self) -> float:
        """When the session was opened, seconds since 1970."""
        return self._peer.session.handshake.issued_s
