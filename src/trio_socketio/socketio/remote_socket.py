"""Clients of any node, as values: what is known of them, and how to reach them."""

from collections.abc import Iterable
from typing import Any, Protocol, Self

import msgspec

from trio_socketio.errors import SessionClosed


class HandshakeDetails(msgspec.Struct, frozen=True):
    """The handshake of a socket as other nodes may see it; see SocketHandshake.

    The payload of its CONNECT is not part of it: credentials stay on the node that got them.

    Args:
        headers: of the request that opened the session; names in lower case.
        query: of that request.
        url: of that request.
        address: the client's.
        secure: whether it came over TLS.
        issued_s: when the session was opened, seconds since 1970.
    """

    headers: dict[str, str]
    query: dict[str, str]
    url: str
    address: str
    secure: bool
    issued_s: float


class SocketDetails(msgspec.Struct, frozen=True):
    """A socket as it travels from node to node.

    Args:
        id: the socket's public id.
        handshake: the request that opened its session.
        user: the identity of its client; None if there is none.
        rooms: it is in, its own included.
        data: what its program remembers of it.
    """

    id: str
    handshake: HandshakeDetails
    rooms: frozenset[str]
    data: dict[str, Any]
    user: str | None = None


class Reach(Protocol):
    """A Broadcast that has one receiver."""

    def emit(self, event: str, *arguments: Any) -> int:
        """See Broadcast."""

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """See Broadcast."""

    def timeout(self, timeout_s: float) -> Self:
        """See Broadcast."""

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """See Broadcast."""

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """See Broadcast."""

    def disconnect_sockets(self, close: bool = False) -> None:
        """See Broadcast."""


class RemoteSocket:
    """A client of any node, as it was when fetch_sockets asked.

    What it says does not change any more, and changing its data changes nothing. What it does
    reaches the client through the room of its id, wherever it is connected.
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
        """See Socket.emit."""
        self._reach.emit(event, *arguments)

    def send(self, *arguments: Any) -> None:
        """Emit "message"."""
        self._reach.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Send an event and wait for the client's answer.

        Returns:
            Its first argument, or None.
        Raises:
            AckTimeout: no answer in time, or the client left before it.
            SessionClosed: no node knows the client any more.
            LocalProtocolError: see Socket.emit.
        """
        answers = await self._reach.emit_with_ack(event, *arguments, timeout_s=timeout_s)
        if not answers:
            raise SessionClosed("no node knows the client any more")
        return answers[0]

    def timeout(self, timeout_s: float) -> "RemoteSocket":
        """The same client, with a time for its answers."""
        details = SocketDetails(self.id, self.handshake, self.rooms, self.data, self.user)
        return RemoteSocket(self._reach.timeout(timeout_s), details)

    def join(self, rooms: str | Iterable[str]) -> None:
        """See Socket.join."""
        self._reach.sockets_join(rooms)

    def leave(self, rooms: str | Iterable[str]) -> None:
        """See Socket.leave."""
        self._reach.sockets_leave(rooms)

    def disconnect(self, close: bool = False) -> None:
        """See Socket.disconnect."""
        self._reach.disconnect_sockets(close)
