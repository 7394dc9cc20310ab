"""Sockets of any node, as values: what is known of a client, and how to reach it."""

from collections.abc import Iterable
from typing import Any, Protocol, Self

import msgspec

from trio_socketio.errors import SessionClosed


class HandshakeDetails(msgspec.Struct, frozen=True):
    """The handshake of a socket as other nodes may see it; compare SocketHandshake.

    The payload of its CONNECT is not part of it: credentials stay on the node that received them.

    Args:
        headers: those of the request that opened the session; names in lower case.
        query: the parameters of that request.
        url: path and query of that request, as sent.
        address: the client's, as far as trusted proxies tell.
        secure: whether the client came over TLS.
        issued_s: when the session was opened, seconds since 1970.
    """

    headers: dict[str, str]
    query: dict[str, str]
    url: str
    address: str
    secure: bool
    issued_s: float


class ClientDetails(msgspec.Struct, frozen=True):
    """The client of a socket, as the Admin UI shows it.

    Args:
        id: the same for all sockets of the client; it does not tell the sid.
        transport: what carries the session: "polling" or "websocket".
    """

    id: str
    transport: str


class SocketDetails(msgspec.Struct, frozen=True):
    """A socket as it is described to another node.

    Args:
        id: the socket's public id.
        handshake: the request that opened its session.
        rooms: those that the socket is in, its own included.
        data: what the program remembers of the client.
        user: the identity of the client; None if there is none.
        client: None unless the node of the socket has an Admin UI.
    """

    id: str
    handshake: HandshakeDetails
    rooms: frozenset[str]
    data: dict[str, Any]
    user: str | None = None
    client: ClientDetails | None = None


class Reach(Protocol):
    """A Broadcast with one receiver. The contracts are those of Broadcast."""

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event."""

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """Send an event, and wait for the answer."""

    def timeout(self, timeout_s: float) -> Self:
        """Set how long answers may take, in seconds."""

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the socket into rooms."""

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the socket out of rooms."""

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the client out of the namespace, or out of all of them."""


class RemoteSocket:
    """A socket of any node, as it was when fetch_sockets asked.

    Its attributes do not change any more, and changing its data changes nothing elsewhere. Its
    methods reach the client through the room of its id, on whatever node it is.

    Attributes:
        id: the socket's public id.
        handshake, rooms, data, user: see SocketDetails.
    """

    __slots__ = ("_reach", "data", "handshake", "id", "rooms", "user")

    def __init__(self, reach: Reach, details: SocketDetails) -> None:
        self.id = details.id
        self.handshake = details.handshake
        self.rooms = details.rooms
        self.data = details.data
        self.user = details.user
        self._reach = reach

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id}>"

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to the client. Never blocks.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        self._reach.emit(event, *arguments)

    def send(self, *arguments: Any) -> None:
        """Emit "message"."""
        self._reach.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Send an event and wait for the client's answer.

        Returns:
            Its first argument; None if it has none.
        Raises:
            AckTimeout: no answer came in time, or the client left before it.
            SessionClosed: no node knows the client any more.
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        answers = await self._reach.emit_with_ack(event, *arguments, timeout_s=timeout_s)
        if not answers:
            raise SessionClosed("no node knows the client any more")
        return answers[0]

    def timeout(self, timeout_s: float) -> "RemoteSocket":
        """Return the same socket with a time for its answers, in seconds."""
        details = SocketDetails(self.id, self.handshake, self.rooms, self.data, self.user)
        return RemoteSocket(self._reach.timeout(timeout_s), details)

    def join(self, rooms: str | Iterable[str]) -> None:
        """Put the socket into rooms."""
        self._reach.sockets_join(rooms)

    def leave(self, rooms: str | Iterable[str]) -> None:
        """Take the socket out of rooms."""
        self._reach.sockets_leave(rooms)

    def disconnect(self, close: bool = False) -> None:
        """Put the client out of this namespace, or with ``close`` out of all, and hang up."""
        self._reach.disconnect_sockets(close)
