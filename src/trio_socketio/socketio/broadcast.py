"""Whom to emit to: an immutable chain, each step a new one."""

from collections.abc import Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trio_socketio.acks import Ack
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.socketio.adapter import EVERYBODY, Target
from trio_socketio.socketio.remote_socket import RemoteSocket

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.adapter import Adapter

SERVER_RESERVED = frozenset(("connect", "connection", "new_namespace"))
"""Names that no server may send to another."""


class HasAdapter(Protocol):
    """A namespace, or what stands for many. Its adapter may change until serving begins."""

    @property
    def adapter(self) -> "Adapter":
        """Knows its sockets."""

    @property
    def workers(self) -> "Workers":
        """Know the thread that serves."""


class Broadcasting:
    """What can speak to many sockets: a server, a namespace, and a choice of sockets."""

    __slots__ = ()

    def _everybody(self) -> "Broadcast":
        raise NotImplementedError

    # -- whom

    def to(self, rooms: str | Iterable[str]) -> "Broadcast":
        """The sockets in rooms; in a chain, those too."""
        return self._everybody().to(rooms)

    def in_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """The same as to."""
        return self.to(rooms)

    def except_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """But not the sockets in rooms."""
        return self._everybody().except_(rooms)

    @property
    def local(self) -> "Broadcast":
        """This node's sockets only."""
        return self._everybody().local

    # -- how

    @property
    def volatile(self) -> "Broadcast":
        """Drop the event for those who cannot take it at once."""
        return self._everybody().volatile

    def compress(self, compress: bool) -> "Broadcast":
        """Whether transports that compress may compress the event; they may, if not told."""
        return self._everybody().compress(compress)

    def timeout(self, timeout_s: float) -> "Broadcast":
        """How long answers may take."""
        return self._everybody().timeout(timeout_s)

    # -- what

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event to each socket once. Never blocks.

        Returns:
            How many sockets of this node were selected; other nodes are not asked.
        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        return self._everybody().emit(event, *arguments)

    def send(self, *arguments: Any) -> int:
        """Emit "message"."""
        return self.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """Send an event to each socket once, and wait until all have answered.

        Clients that leave meanwhile are not waited for, but are missing in the end. A volatile
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
        return await self._everybody().gather_acks(event, *arguments, timeout_s=timeout_s)

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """The sockets, on whatever node, as they are now."""
        return await self._everybody().fetch_sockets()

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the sockets into rooms."""
        self._everybody().sockets_join(rooms)

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the sockets out of rooms."""
        self._everybody().sockets_leave(rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the sockets out of the namespace, or with ``close`` out of all, and hang up."""
        self._everybody().disconnect_sockets(close)


class Broadcast(Broadcasting):
    """A choice of sockets of one namespace."""

    __slots__ = ("_owner", "_target")

    def __init__(self, owner: "HasAdapter", target: Target = EVERYBODY) -> None:
        self._owner = owner
        self._target = target

    @property
    def target(self) -> Target:
        """Whom it reaches, and how: a value."""
        return self._target

    def _everybody(self) -> "Broadcast":
        return self

    def to(self, rooms: str | Iterable[str]) -> "Broadcast":
        """Also the sockets in rooms."""
        return self._with(rooms=(*self._target.rooms, *names(rooms)))

    def except_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """But not the sockets in rooms."""
        return self._with(excluded=(*self._target.excluded, *names(rooms)))

    @property
    def local(self) -> "Broadcast":
        """This node's sockets only."""
        return self._with(local=True)

    @property
    def volatile(self) -> "Broadcast":
        """Drop the event for those who cannot take it at once."""
        return self._with(volatile=True)

    def compress(self, compress: bool) -> "Broadcast":
        """Whether transports that compress may compress the event."""
        return self._with(compress=compress)

    def timeout(self, timeout_s: float) -> "Broadcast":
        """How long answers may take."""
        return self._with(timeout_s=check_timeout(timeout_s))

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event to each chosen socket once.

        Returns:
            How many sockets of this node were selected; other nodes are not asked.
        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        workers = self._owner.workers
        if get_ident() != workers.thread:
            workers.check_thread()
        check_event(event)
        return self._owner.adapter.broadcast([event, *arguments], self._target)

    async def gather_acks(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Ack]:
        """See Broadcasting."""
        self._owner.workers.check_thread()
        check_event(event)
        target = self._target if timeout_s is None else self.timeout(timeout_s)._target
        return await self._owner.adapter.broadcast_with_ack(
            [event, *arguments], target, target.timeout_s or DEFAULT_ACK_TIMEOUT_S
        )

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """See Broadcasting."""
        self._owner.workers.check_thread()
        everybody = Broadcast(self._owner)
        found = await self._owner.adapter.fetch_sockets(self._target)
        return [RemoteSocket(everybody, details) for details in found]

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """See Broadcasting."""
        self._owner.workers.check_thread()
        self._owner.adapter.add_sockets(self._target, names(rooms))

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """See Broadcasting."""
        self._owner.workers.check_thread()
        self._owner.adapter.remove_sockets(self._target, names(rooms))

    def disconnect_sockets(self, close: bool = False) -> None:
        """See Broadcasting."""
        self._owner.workers.check_thread()
        self._owner.adapter.disconnect_sockets(self._target, close=close)

    def _with(self, **changes: Any) -> "Broadcast":
        return Broadcast(self._owner, msgspec.structs.replace(self._target, **changes))


def names(rooms: str | Iterable[str]) -> tuple[str, ...]:
    """One room or several.

    Raises:
        LocalProtocolError: a room is no text. Clients would never be found in it.
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
