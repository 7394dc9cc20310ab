"""Sends to many sockets: an immutable chain that selects them; each step is a new value."""

from collections.abc import Collection, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S, Ack, Keep, check_timeout
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.remote_socket import RemoteSocket, SocketDetails
from trio_socketio.socketio.target import EVERYBODY, Target

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers


class Reaching(Protocol):
    """The part of an adapter that a broadcast needs. The contracts are those of Adapter."""

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """Send an event to the sockets of target."""

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        """Send an event to the sockets of target, and wait for their answers."""

    async def fetch_sockets(self, target: Target) -> Collection[SocketDetails]:
        """Return descriptions of the sockets of target."""

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Put the sockets of target into rooms."""

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Take the sockets of target out of rooms."""

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """Put the sockets of target out of the namespace, or out of all of them."""


class Audience(Protocol):
    """A namespace, or a parent of namespaces. Its adapter may be replaced until serving begins."""

    @property
    def adapter(self) -> Reaching:
        """Sends to the sockets."""

    @property
    def _workers(self) -> "Workers":
        """Know the thread in which the server serves."""


class Broadcast:
    """A selection of sockets: those of a whole namespace, or of some of its rooms.

    A namespace, a parent of namespaces and a server are broadcasts to all their sockets.

    Args:
        audience: has the sockets.
        target: selects some of them, and holds the flags.
    """

    __slots__ = ("_audience", "_target")

    def __init__(self, audience: Audience, target: Target = EVERYBODY) -> None:
        self._audience = audience
        self._target = target

    # -- the receivers

    def to(self, rooms: str | Iterable[str]) -> "Broadcast":
        """Select the sockets in these rooms; in a chain, those too.

        Raises:
            LocalProtocolError: a room is not text.
        """
        return self._with(rooms=(*self._target.rooms, *names(rooms)))

    def in_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """Do the same as `to`."""
        return self.to(rooms)

    def except_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """Leave out the sockets in these rooms.

        Raises:
            LocalProtocolError: a room is not text.
        """
        return self._with(excluded=(*self._target.excluded, *names(rooms)))

    @property
    def local(self) -> "Broadcast":
        """Select only sockets of this node."""
        return self._with(local=True)

    # -- the flags

    @property
    def volatile(self) -> "Broadcast":
        """Drop the event for clients that cannot take it at once."""
        return self._with(volatile=True)

    def compress(self, compress: bool) -> "Broadcast":
        """Say whether transports that compress may compress the event. By default they may."""
        return self._with(compress=compress)

    def timeout(self, timeout_s: float) -> "Broadcast":
        """Set how long answers may take, in seconds.

        Raises:
            LocalProtocolError: it is not above zero.
        """
        return self._with(timeout_s=check_timeout(timeout_s))

    # -- sending

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event to each socket once. Never blocks.

        Returns:
            How many sockets of this node were selected; other nodes are not asked.
        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        audience = self._audience
        if get_ident() != audience._workers.thread:
            audience._workers.check_thread()
        check_event(event)
        return audience.adapter.broadcast([event, *arguments], self._target)

    def send(self, *arguments: Any) -> int:
        """Emit "message"."""
        return self.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """Send an event to each socket once, and wait for the answer of each client.

        A client that leaves meanwhile is no longer waited for, but its answer is missing in the
        end. A volatile question goes only to clients that can take it at once.

        Args:
            event: the name.
            arguments: of the event.
            timeout_s: how long answers may take; None means what `timeout` has set, or 20 s.
        Returns:
            The first argument of each answer, in the order in which they came.
        Raises:
            AckTimeout: clients have not answered in time, or have left; ``responses`` holds the
                answers of the others.
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        acks = await self.gather_acks(event, *arguments, timeout_s=timeout_s)
        return [answer for _, answer in acks]

    async def gather_acks(
        self,
        event: str,
        *arguments: Any,
        timeout_s: float | None = None,
        keep: Keep | None = None,
    ) -> list[Ack]:
        """Do the same as `emit_with_ack`, and say which clients have answered.

        Args:
            event: the name.
            arguments: of the event.
            timeout_s: how long answers may take; None means what `timeout` has set, or 20 s.
            keep: called with each answer when it comes; returns what is kept of it. By default, all
                answers are kept until the end.
        Returns:
            The public id and the first argument of each client that answered, in the order in which
            the answers came.
        Raises:
            AckTimeout: clients have not answered in time, or have left; ``acks`` holds those of the
                others.
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        self._audience._workers.check_thread()
        check_event(event)
        target = self._target if timeout_s is None else self.timeout(timeout_s)._target
        return await self._audience.adapter.broadcast_with_ack(
            [event, *arguments], target, target.timeout_s or DEFAULT_ACK_TIMEOUT_S, keep
        )

    # -- the sockets themselves

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Describe the selected sockets of all nodes, as they are now."""
        self._audience._workers.check_thread()
        everyone = Broadcast(self._audience)
        found = await self._audience.adapter.fetch_sockets(self._target)
        return [RemoteSocket(everyone.to(details.id), details) for details in found]

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the sockets into rooms.

        Raises:
            LocalProtocolError: a room is not text.
        """
        self._audience._workers.check_thread()
        self._audience.adapter.add_sockets(self._target, names(rooms))

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the sockets out of rooms.

        Raises:
            LocalProtocolError: a room is not text.
        """
        self._audience._workers.check_thread()
        self._audience.adapter.remove_sockets(self._target, names(rooms))

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the clients out of the namespace, or with ``close`` out of all, and hang up."""
        self._audience._workers.check_thread()
        self._audience.adapter.disconnect_sockets(self._target, close=close)

    def _with(self, **changes: Any) -> "Broadcast":
        return Broadcast(self._audience, msgspec.structs.replace(self._target, **changes))


def names(rooms: str | Iterable[str]) -> tuple[str, ...]:
    """Return one room or several as a tuple.

    Raises:
        LocalProtocolError: a room is not text, so that no client would ever be found in it
            (SURF-37).
    """
    if isinstance(rooms, str):
        return (rooms,)
    given: Any = rooms  # mypy would call the check unreachable otherwise
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
        raise LocalProtocolError(f"a room is text, not {given!r}")
    several = tuple(given)
    for room in several:
        if not isinstance(room, str):
            raise LocalProtocolError(f"a room is text, not {room!r}")
    return several


def check_event(event: str) -> None:
    """Refuse a name that is reserved, or that is not text.

    Raises:
        LocalProtocolError: an event cannot have this name.
    """
    if not isinstance(event, str):  # official clients close the connection over such an event
        raise LocalProtocolError(f"an event's name is text, not {event!r}")
    if event in RESERVED_EVENTS:  # SIO5-18
        raise LocalProtocolError(f"the event name {event!r} is reserved")
