"""The Adapter: what a namespace asks of the world, and the adapter of a single node.

Delivery guarantee: within one node, packets to one socket arrive in the order in which they were
emitted, each at most once, and all of them while its session lives (volatile packets excepted).
Local delivery happens inside the call; a remote part may come later, in order.

What has an effect and no answer is plain: an emit never waits. What asks other nodes is async.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import trio

from trio_socketio.acks import Ack
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.acks import Awaited, GatheredAcks
from trio_socketio.socketio.remote_socket import SocketDetails, describe
from trio_socketio.socketio.room_hooks import WatchedRooms

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer
    from trio_socketio.socketio.registry import Function
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)


class Target(msgspec.Struct, frozen=True, gc=False):
    """Whom a broadcast is for, and how it goes there: a value that can travel to other nodes.

    Args:
        rooms: sockets in any of them; none is the whole namespace.
        excluded: but not sockets in any of these.
        volatile: drop it for those who cannot take it at once.
        local: this node only.
        compress: whether transports that compress may compress it.
        timeout_s: how long answers may take; None is the default of what asks.
    """

    rooms: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    volatile: bool = False
    local: bool = False
    compress: bool = True
    timeout_s: float | None = None

    def fits(self, rooms: AbstractSet[str]) -> bool:
        """Whether a socket that is in rooms, its own included, is one of them."""
        return (not self.rooms or not rooms.isdisjoint(self.rooms)) and rooms.isdisjoint(
            self.excluded
        )


EVERYBODY = Target()
"""All sockets of a namespace."""


class Adapter:
    """One node, in memory: the default, and the base of those that reach further.

    Args:
        namespace: whose sockets it serves.
    """

    recovers: ClassVar[bool] = False
    """Whether it keeps sessions and what their clients miss: state_recovery asks for that.

    Such an adapter overrides what stands under "recovery". ``namespace.server.recovery`` says
    whether the option is on.
    """

    def __init__(self, namespace: "Namespace") -> None:
        self._namespace = namespace

    async def start(self) -> None:
        """Reach the other nodes: awaited before anybody joins the namespace. Here, nothing.

        Raises:
            Exception: it cannot; the server does not start, or the client is refused whose
                namespace it is.
        """
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The namespace or its server is at its end: nobody is in it, and nothing will be asked.

        Called once. A server that serves again makes new adapters.
        """

    # -- recovery

    def create_socket(
        self,
        peer: "Peer",
        socket_id: str,
        auth: dict[str, Any],
        restored: "SavedSession | None",
    ) -> "Socket":
        """A socket whose client can come back: asked of an adapter that recovers.

        Args:
            peer: the session.
            socket_id: its own, or that of the socket that it goes on with.
            auth: the payload of the CONNECT.
            restored: what restore_session gave.
        """
        raise NotImplementedError

    async def persist_session(self, session: "SavedSession") -> None:
        """Keep what a client that lost its connection needs to go on: here, nothing is kept."""
        await trio.lowlevel.checkpoint()

    async def restore_session(self, pid: str, offset: str | None) -> "SavedSession | None":
        """Hand out a session that was kept, once; None when it is unknown, or too much was missed.

        Args:
            pid: what the client calls it; shaped like one, otherwise unchecked.
            offset: of the last packet that the client has; None when it names none.
        """
        await trio.lowlevel.checkpoint()
        return None

    # -- membership

    def add(self, socket: "Socket", room: str) -> None:
        """A socket joins a room."""
        self._namespace.rooms.add(socket, room)

    def remove(self, socket: "Socket", room: str) -> None:
        """A socket leaves a room."""
        self._namespace.rooms.remove(socket, room)

    def remove_all(self, socket: "Socket") -> None:
        """A socket leaves the namespace."""
        self._namespace.rooms.remove_all(socket)

    def on(self, event: str) -> "Callable[[Function], Function]":
        """Register a plain function that is told of this node's rooms.

        "create_room" and "delete_room" are called with the room, "join_room" and "leave_room" with
        the room and the socket's id. Every socket is in the room of its own id.

        Raises:
            LocalProtocolError: there is no such event, or the function is async.
        """
        rooms = self._namespace.rooms
        if not isinstance(rooms, WatchedRooms):
            rooms = self._namespace.rooms = WatchedRooms(rooms, self._namespace.workers)
        return rooms.on(event)

    # -- emitting

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """Send an event to the sockets of target.

        Args:
            arguments: the event's name, then what goes with it.
            target: see Target.
        Returns:
            How many sockets of this node were selected.
        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was.
        """
        packet = self._namespace.encode_event(arguments, None)
        chosen = self._choose(packet, arguments, target)
        if target.volatile:
            for socket in chosen:
                socket.session.send_volatile(packet)
        else:
            for socket in chosen:
                socket.session.send(packet)
        return len(chosen)

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float
    ) -> list[Ack]:
        """Send an event to the sockets of target, and wait until each has answered.

        Returns:
            The answers, in the order in which they came.
        Raises:
            AckTimeout: see GatheredAcks.
            LocalProtocolError: see broadcast.
        """
        acks = GatheredAcks()
        with self.asking(arguments, target, acks) as count:
            acks.expect(count)
            return await acks.wait(timeout_s)

    @contextmanager
    def asking(self, arguments: list[Any], target: Target, acks: Awaited) -> Iterator[int]:
        """Ask this node's sockets of target; at the end of the block nobody is waited for.

        A volatile question is put to those who can take it at once, and to no others.

        Args:
            arguments: see broadcast.
            target: see Target.
            acks: told each answer.
        Returns:
            How many were asked.
        Raises:
            LocalProtocolError: see broadcast.
        """
        ack_id = self._namespace.next_ack_id()
        packet = self._namespace.encode_event(arguments, ack_id)
        asked: list[Socket] = []
        for socket in self._choose(packet, arguments, target):
            if target.volatile and not socket.session.is_writable:
                socket.session.drop()
                continue
            socket.session.send(packet)
            socket.expect_ack(ack_id, acks)
            asked.append(socket)
        try:
            yield len(asked)
        finally:
            for socket in asked:
                socket.forget_ack(ack_id)

    def _choose(
        self, packet: "Outgoing", arguments: list[Any], target: Target
    ) -> "Collection[Socket]":
        if not target.compress:
            packet.compress = False
        if self._namespace.overheard:  # before anything is sent: what listens may do anything
            self.overhear(arguments, target)
        return self._namespace.rooms.select(target.rooms, target.excluded)

    def overhear(self, arguments: list[Any], target: Target) -> None:
        """Call who listens to what goes out to the sockets of target."""
        for socket in list(self.select(target)):
            if socket in self._namespace.overheard:
                socket.overhear(arguments)

    def select(self, target: Target) -> "Collection[Socket]":
        """This node's sockets of target."""
        return self._namespace.rooms.select(target.rooms, target.excluded)

    # -- doing something to many

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Put the sockets of target into rooms, each as far as max_rooms_per_socket lets it."""
        rooms = tuple(rooms)
        for socket in list(self.select(target)):
            try:
                socket.join(rooms)
            except LocalProtocolError as error:  # the others shall not suffer
                log.warning("sockets_join: %s", error)

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Take the sockets of target out of rooms."""
        rooms = tuple(rooms)
        for socket in list(self.select(target)):
            for room in rooms:
                socket.leave(room)

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """Put the sockets of target out of the namespace, or with close out of all of them.

        A client that is on its way in counts: it would come in right behind.
        """
        for joining in tuple(self._namespace.joinings):
            if joining.socket is not None and target.fits(joining.socket.early_rooms):
                joining.socket.disconnect(close)
        for socket in list(self.select(target)):
            socket.disconnect(close)

    # -- asking

    async def node_count(self) -> int:
        """How many nodes there are, this one included."""
        await trio.lowlevel.checkpoint()
        return 1

    async def sockets(self, target: Target) -> set[str]:
        """The public ids of the sockets of target."""
        await trio.lowlevel.checkpoint()
        return {socket.public_id for socket in self.select(target)}

    async def socket_rooms(self, socket_id: str) -> frozenset[str] | None:
        """The rooms of a socket, its own included; None when nobody knows it."""
        await trio.lowlevel.checkpoint()
        socket = self._namespace.rooms.find(socket_id)
        return None if socket is None else socket.rooms

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        """What there is to know of the sockets of target.

        Raises:
            AckTimeout: a node did not answer in time; the sockets of the others are with it.
        """
        await trio.lowlevel.checkpoint()
        return [describe(socket) for socket in self.select(target)]

    # -- from server to server

    def server_side_emit(self, arguments: list[Any]) -> None:
        """Send an event to the same namespace of every other node: here, of none."""

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        """Send an event to every other node, and wait for the answer of each: here, none.

        Raises:
            AckTimeout: a node did not answer in time; the answers of the others are with it.
        """
        await trio.lowlevel.checkpoint()
        return []


AdapterFactory = Callable[["Namespace"], Adapter]
