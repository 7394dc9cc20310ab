"""Sends to many sockets: an immutable chain that selects them, each step a new one."""

from collections.abc import Collection, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trio_socketio.acks import Ack, check_timeout
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S
from trio_socketio.socketio.remote_socket import RemoteSocket, SocketDetails
from trio_socketio.socketio.target import EVERYBODY, Target

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers


class Reaching(Protocol):
    """What a broadcast asks of an adapter; see Adapter."""

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """See Adapter."""

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float
    ) -> list[Ack]:
        """See Adapter."""

    async def fetch_sockets(self, target: Target) -> Collection[SocketDetails]:
        """See Adapter."""

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """See Adapter."""

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """See Adapter."""

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """See Adapter."""


class Audience(Protocol):
    """A namespace, or what stands for many. Its adapter may change until serving begins."""

    @property
    def adapter(self) -> Reaching:
        """Knows its sockets."""

    @property
    def _workers(self) -> "Workers":
        """Know the thread that serves."""


class Broadcast:
    """A choice of sockets: of a whole namespace, or of some rooms of it.

    A namespace, a parent of namespaces and a server are broadcasts to everybody in them.

    Args:
        audience: whose sockets.
        target: which of them, and the flags.
    """

    __slots__ = ("_audience", "_target")

    def __init__(self, audience: Audience, target: Target = EVERYBODY) -> None:
        self._audience = audience
        self._target = target

    # -- the receivers

    def to(self, rooms: str | Iterable[str]) -> "Broadcast":
        """The sockets in rooms; in a chain, those too.

        Raises:
            LocalProtocolError: a room is not text.
        """
        return self._with(rooms=(*self._target.rooms, *names(rooms)))

    def in_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """The same as to."""
        return self.to(rooms)

    def except_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """But not the sockets in rooms. Raises as `to` does."""
        return self._with(excluded=(*self._target.excluded, *names(rooms)))

    @property
    def local(self) -> "Broadcast":
        """This node's sockets only."""
        return self._with(local=True)

    # -- the flags

    @property
    def volatile(self) -> "Broadcast":
        """Drop the event for those who cannot take it at once."""
        return self._with(volatile=True)

    def compress(self, compress: bool) -> "Broadcast":
        """Whether transports that compress may compress the event; they may, if not told."""
        return self._with(compress=compress)

    def timeout(self, timeout_s: float) -> "Broadcast":
        """How long answers may take.

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
        """Send an event to each socket once, and wait for an answer of each.

        Those who leave meanwhile are not waited for, but are missing in the end. A volatile
        question is put to those who can take it at once, and to no others.

        Returns:
            The first argument of each answer, in the order in which they came.
        Raises:
            AckTimeout: some have not answered in time, or have left; ``responses`` are the others'.
            LocalProtocolError: see emit.
        """
        acks = await self.gather_acks(event, *arguments, timeout_s=timeout_s)
        return [answer for _, answer in acks]

    async def gather_acks(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Ack]:
        """The same as emit_with_ack, for those who want to know who has answered.

        Returns:
            The public id and the first argument of each client that answered, in the order in which
            the answers came.
        Raises:
            AckTimeout: some have not answered in time, or have left; ``acks`` are the others'.
            LocalProtocolError: see emit.
        """
        self._audience._workers.check_thread()
        check_event(event)
        target = self._target if timeout_s is None else self.timeout(timeout_s)._target
        return await self._audience.adapter.broadcast_with_ack(
            [event, *arguments], target, target.timeout_s or DEFAULT_ACK_TIMEOUT_S
        )

    # -- the sockets themselves

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """The sockets, on whatever node, as they are now."""
        self._audience._workers.check_thread()
        everybody = Broadcast(self._audience)
        found = await self._audience.adapter.fetch_sockets(self._target)
        return [RemoteSocket(everybody.to(details.id), details) for details in found]

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the sockets into rooms. Raises as `to` does."""
        self._audience._workers.check_thread()
        self._audience.adapter.add_sockets(self._target, names(rooms))

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the sockets out of rooms. Raises as `to` does."""
        self._audience._workers.check_thread()
        self._audience.adapter.remove_sockets(self._target, names(rooms))

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the sockets out of the namespace, or with ``close`` out of all, and hang up."""
        self._audience._workers.check_thread()
        self._audience.adapter.disconnect_sockets(self._target, close=close)

    def _with(self, **changes: Any) -> "Broadcast":
        return Broadcast(self._audience, msgspec.structs.replace(self._target, **changes))


def names(rooms: str | Iterable[str]) -> tuple[str, ...]:
    """One room or several.

    Raises:
        LocalProtocolError: a room is not text. Clients would never be found in it.
    """
    if isinstance(rooms, str):
        return (rooms,)
    given: Any = rooms  # whatever its type says
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
        raise LocalProtocolError(f"a room is text, not {given!r}")
    several = tuple(given)
    for room in several:
        if not isinstance(room, str):
            raise LocalProtocolError(f"a room is text, not {room!r}")
    return several


def check_event(event: str) -> None:
    """Refuse names that mean something else on the other side, and what is no name at all.

    Raises:
        LocalProtocolError: it is one of them.
    """
    if not isinstance(event, str):  # official clients hang up on it
        raise LocalProtocolError(f"an event's name is text, not {event!r}")
    if event in RESERVED_EVENTS:
        raise LocalProtocolError(f"the event name {event!r} is reserved")
