"""The Adapter: what a namespace asks of the world, and the adapter of a single node.

Delivery guarantee: within one node, packets to one socket arrive in the order in which they were
emitted, each at most once, and all of them while its session lives (volatile packets excepted).
Local delivery happens inside the call; a remote part may come later, in order.

What has an effect and no answer is plain: an emit never waits. What asks other nodes is async.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trio_socketio.acks import Ack
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.acks import Awaited, GatheredAcks
from trio_socketio.socketio.remote_socket import HandshakeDetails, SocketDetails
from trio_socketio.socketio.room_hooks import WatchedRooms
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.handlers import Function
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.rooms import Rooms
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)


class AdaptedPlace(Protocol):
    """The namespace of an adapter, as far as the adapter needs it; see Namespace."""

    rooms: "Rooms[Socket]"
    """The local sockets, by room."""

    @property
    def name(self) -> str:
        """Begins with a slash."""

    @property
    def _workers(self) -> "Workers":
        """Run user code."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes the packets."""

    @property
    def _registry(self) -> "Registry":
        """Knows the handlers."""

    @property
    def _recovery(self) -> "NamespaceRecovery | None":
        """Logs what is sent, while state_recovery is on."""

    @property
    def _overheard(self) -> set[object]:
        """The sockets with listeners of what is sent to them."""

    @property
    def _joinings(self) -> "Iterable[Applicant]":
        """Clients on their way in."""


class Applicant(Protocol):
    """A client on its way into the namespace: a Joining."""

    @property
    def socket(self) -> "Socket | None":
        """See Joining."""


class Adapter:
    """One node, in memory: the default, and the base of those that reach further.

    Args:
        namespace: whose sockets it serves.
    """

    def __init__(self, namespace: AdaptedPlace) -> None:
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

    # -- recovery: where the sessions of lost clients are kept, with the option state_recovery

    async def persist_session(self, session: "SavedSession") -> None:
        """Keep what a client that lost its connection needs to go on: here, in memory."""
        recovery = self._namespace._recovery
        if recovery is not None:
            recovery.keep(session)
        await trio.lowlevel.checkpoint()

    async def restore_session(self, pid: str, offset: str | None) -> "SavedSession | None":
        """Hand out a session that was kept, once; None when it is unknown.

        Whether its client has missed too much is decided by who asks.

        Args:
            pid: what the client calls it; shaped like one, otherwise unchecked.
            offset: of the last packet that the client has; None when it names none.
        """
        recovery = self._namespace._recovery
        session = None if recovery is None else recovery.hand_out(pid)
        await trio.lowlevel.checkpoint()
        return session

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
            rooms = self._namespace.rooms = WatchedRooms(rooms, self._namespace._workers)
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
        namespace = self._namespace
        recovery = namespace._recovery
        if recovery is None:
            packet = namespace._packets.encode_event(arguments, None)
            chosen = self._choose(packet, arguments, target)
        else:
            if namespace._overheard:
                namespace._packets.encode_event(arguments, None)  # unsendable: nobody hears of it
                self._overhear(arguments, target)
            packet = recovery.log_broadcast(arguments, target)
            chosen = namespace.rooms.select(target.rooms, target.excluded)
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
        ack_id = self._namespace._packets.next_ack_id()
        packet = self._namespace._packets.encode_event(arguments, ack_id)
        asked: list[Socket] = []
        for socket in self._choose(packet, arguments, target):
            if target.volatile and not socket.session.is_writable:
                socket.session.drop()
                continue
            socket.session.send(packet)
            socket._open_acks().expect(ack_id, acks)
            asked.append(socket)
        try:
            yield len(asked)
        finally:
            for socket in asked:
                socket._open_acks().forget(ack_id)

    def _choose(
        self, packet: "Outgoing", arguments: list[Any], target: Target
    ) -> "Collection[Socket]":
        if not target.compress:
            packet.compress = False
        if self._namespace._overheard:  # before anything is sent: what listens may do anything
            self._overhear(arguments, target)
        return self._namespace.rooms.select(target.rooms, target.excluded)

    def _overhear(self, arguments: list[Any], target: Target) -> None:
        """Call who listens to what goes out to the sockets of target."""
        for socket in list(self.select(target)):
            if socket._outgoing is not None:
                socket._outgoing.overhear(socket, arguments)

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
        for joining in tuple(self._namespace._joinings):
            if joining.socket is not None and target.fits(joining.socket._early_rooms):
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

    def receive_server_side(
        self, arguments: list[Any], answer: Callable[[Any], None] | None = None
    ) -> None:
        """Another node has sent an event: an adapter calls this. Handled in a worker.

        Args:
            arguments: the event's name, then what goes with it.
            answer: called with what the handler returns; not if it fails, or there is none.
        """
        namespace = self._namespace
        namespace._workers.check_thread()
        handler = namespace._registry.server_side.get(arguments[0])
        if handler is not None:
            name = namespace._registry.name
            namespace._workers.submit(ServerSideEvent(name, handler, arguments[1:], answer))

    def server_side_emit(self, arguments: list[Any]) -> None:
        """Send an event to the same namespace of every other node: here, of none."""

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        """Send an event to every other node, and wait for the answer of each: here, none.

        Raises:
            AckTimeout: a node did not answer in time; the answers of the others are with it.
        """
        await trio.lowlevel.checkpoint()
        return []


def describe(socket: "Socket") -> SocketDetails:
    """What other nodes may know of a socket of this one: never its credentials (JOIN-27)."""
    view = socket.handshake
    handshake = HandshakeDetails(
        headers=view.headers,
        query=view.query,
        url=view.url,
        address=view.address,
        secure=view.secure,
        issued_s=view.issued_s,
    )
    rooms = socket.rooms
    if socket.public_id is not socket.id:
        rooms = rooms - {socket.id} | {socket.public_id}
    return SocketDetails(socket.public_id, handshake, rooms, dict(socket.data), socket.user)
