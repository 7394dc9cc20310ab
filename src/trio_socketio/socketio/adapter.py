"""The adapter: what a namespace asks of its own and of other nodes. Here, of this node alone.

Delivery guarantee: within one node, packets to one socket arrive in the order in which they were
emitted, each at most once, and all of them while its session lives (volatile packets excepted).
Local delivery happens inside the call; a remote part may come later, in order.

A method that has an effect and no answer is plain, because an emit never waits. A method that asks
other nodes is async.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trio_socketio.acks import Ack, Keep
from trio_socketio.engine.ids import name_client
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio import server_side
from trio_socketio.socketio.acks import Awaited, GatheredAcks
from trio_socketio.socketio.remote_socket import ClientDetails, HandshakeDetails, SocketDetails
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
    """The namespace of an adapter, as far as the adapter needs it."""

    rooms: "Rooms[Socket]"
    """The sockets of this node, by room."""

    @property
    def name(self) -> str:
        """The name; starts with a slash."""

    @property
    def _workers(self) -> "Workers":
        """The workers that run user code."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes the packets of the namespace."""

    @property
    def _registry(self) -> "Registry":
        """The registrations of the namespace."""

    @property
    def _recovery(self) -> "NamespaceRecovery | None":
        """Logs what is sent; None while state_recovery is off."""

    @property
    def _overheard(self) -> set[object]:
        """The sockets that have listeners of what is sent to them."""

    @property
    def _joinings(self) -> "Iterable[Applicant]":
        """The clients that are joining."""


class Applicant(Protocol):
    """A client that is joining the namespace; see Joining."""

    @property
    def socket(self) -> "Socket | None":
        """Its socket; None until the namespace has been found."""


class Adapter:
    """Serves a single node, in memory: the default, and the base of adapters that reach further.

    An adapter for a cluster overrides the methods whose effect goes beyond this node. Local
    membership is always in memory, so this class states the interface as well as the local part of
    it.

    Args:
        namespace: the namespace whose sockets it serves.
    """

    def __init__(self, namespace: AdaptedPlace) -> None:
        self._namespace = namespace
        self._open_events = 0  # of other nodes

    @property
    def needs_start(self) -> bool:
        """Whether `start` has to be awaited: by default, whether a subclass overrides it.

        The adapter of a single node does not, so that joining costs no await there.
        """
        return type(self).start is not Adapter.start

    @property
    def reaches_other_nodes(self) -> bool:
        """Whether there may be sockets beyond this node.

        By default, whether a subclass overrides `node_count`.
        """
        return type(self).node_count is not Adapter.node_count

    @property
    def unpublished(self) -> int:
        """How many messages could not be sent to the other nodes so far.

        Whoever has sent one tells by this whether it is on its way to them.
        """
        return 0

    async def start(self) -> None:
        """Reach the other nodes. Awaited before any client joins the namespace; does nothing here.

        It may take hook_timeout_s, and is cancelled if the namespace ends before.

        Raises:
            Exception: it cannot. The server does not start, or, if it serves already, the clients
                are refused that want to join the namespace; for the next client it is called again.
        """
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Release what `start` has opened: the namespace or its server has ended.

        Called once, when the namespace is empty for good. A server that serves again makes new
        adapters.
        """

    # -- state recovery: where the sessions of lost clients are kept

    async def persist_session(self, session: "SavedSession") -> None:
        """Keep what a client that lost its connection needs to go on: here, in memory.

        An adapter that keeps it elsewhere overrides this method without calling it (RECOVER-12).
        """
        recovery = self._namespace._recovery
        if recovery is not None:
            recovery.keep(session)
        await trio.lowlevel.checkpoint()

    async def restore_session(self, pid: str, offset: str | None) -> "SavedSession | None":
        """Hand out a session that was kept, once; None if it is unknown.

        Whether the client has missed too much to go on is decided by the caller.

        Args:
            pid: names the session; it has the form of a pid, and is otherwise unchecked.
            offset: of the last packet that the client has; None if it names none.
        """
        recovery = self._namespace._recovery
        session = None if recovery is None else recovery.hand_out(pid)
        await trio.lowlevel.checkpoint()
        return session

    # -- membership

    def add(self, socket: "Socket", room: str) -> None:
        """Put a socket into a room."""
        self._namespace.rooms.add(socket, room)

    def remove(self, socket: "Socket", room: str) -> None:
        """Take a socket out of a room."""
        self._namespace.rooms.remove(socket, room)

    def remove_all(self, socket: "Socket") -> None:
        """Take a socket out of all its rooms and out of the namespace."""
        self._namespace.rooms.remove_all(socket)

    def on(self, event: str) -> "Callable[[Function], Function]":
        """Register a plain function that is told about the rooms of this node.

        "create_room" and "delete_room" are called with the room, "join_room" and "leave_room" with
        the room and the socket's id. Every socket is in the room of its own id.

        Raises:
            LocalProtocolError: there is no such event, or the function is async or cannot be called
                so.
        """
        rooms = self._namespace.rooms
        if not isinstance(rooms, WatchedRooms):
            rooms = self._namespace.rooms = WatchedRooms(rooms, self._namespace._workers)
        return rooms.on(event)

    # -- emitting

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """Send an event to the sockets of target.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the sockets, and holds the flags.
        Returns:
            How many sockets of this node were selected.
        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was sent.
        """
        namespace = self._namespace
        recovery = namespace._recovery
        if recovery is None:
            packet = namespace._packets.encode_event(arguments, None)
            self._prepare(packet, arguments, target)
        else:
            if namespace._overheard:
                # First, so that listeners hear of no event that cannot be sent.
                namespace._packets.encode_event(arguments, None)
                self._overhear(arguments, target)
            packet = recovery.log_broadcast(arguments, target)
        if not target.volatile:
            return namespace.rooms.send(packet, target.rooms, target.excluded)
        chosen = self.select(target)
        for socket in chosen:
            socket.session.send_volatile(packet)
        return len(chosen)

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        """Send an event to the sockets of target, and wait until each client has answered.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the sockets, and holds the flags.
            timeout_s: how long answers may take.
            keep: called with each answer when it comes; returns what is kept of it.
        Returns:
            The answers, in the order in which they came.
        Raises:
            AckTimeout: clients have not answered in time, or have left; it holds the answers of the
                others.
            LocalProtocolError: the arguments cannot be sent; nothing was sent.
        """
        acks = GatheredAcks(keep)
        with self.asking(arguments, target, acks) as count:
            acks.expect(count)
            return await acks.wait(timeout_s)

    @contextmanager
    def asking(self, arguments: list[Any], target: Target, acks: Awaited) -> Iterator[int]:
        """Ask the sockets of target on this node. After the block no answer is awaited any more.

        A volatile question goes only to those that can take it at once.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the sockets, and holds the flags.
            acks: told each answer.
        Returns:
            How many sockets were asked.
        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was sent.
        """
        ack_id = self._namespace._packets.next_ack_id()  # SURF-06: one id for all sockets
        packet = self._namespace._packets.encode_event(arguments, ack_id)
        asked: list[Socket] = []
        self._prepare(packet, arguments, target)
        for socket in self.select(target):
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

    def _prepare(self, packet: "Outgoing", arguments: list[Any], target: Target) -> None:
        if not target.compress:
            packet.compress = False
        # Before the sockets are selected, because a listener may do anything, even disconnect them.
        if self._namespace._overheard:
            self._overhear(arguments, target)

    def _overhear(self, arguments: list[Any], target: Target) -> None:
        """Call the listeners of what is sent to the sockets of target."""
        for socket in list(self.select(target)):
            if socket._outgoing is not None:
                socket._outgoing.overhear(socket, arguments)

    def select(self, target: Target) -> "Collection[Socket]":
        """Return the sockets of target on this node."""
        return self._namespace.rooms.select(target.rooms, target.excluded)

    # -- changing many sockets

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Put the sockets of target into rooms, each as far as max_rooms_per_socket allows."""
        rooms = tuple(rooms)
        left_out, reason = 0, ""
        for socket in list(self.select(target)):
            try:
                socket.join(rooms)
            except LocalProtocolError as error:  # one that is full must not keep the others out
                left_out, reason = left_out + 1, str(error)
        if left_out:  # one line, because another node may have asked for it
            log.warning("sockets_join has left out %d sockets; the last one: %s", left_out, reason)

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Take the sockets of target out of rooms."""
        rooms = tuple(rooms)
        for socket in list(self.select(target)):
            for room in rooms:
                socket.leave(room)

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """Put the sockets of target out of the namespace, or with close out of all namespaces.

        A client that is joining counts, because otherwise it would come in right afterwards
        (JOIN-14).
        """
        for joining in tuple(self._namespace._joinings):
            if joining.socket is not None and target.fits(joining.socket._early_rooms):
                joining.socket.disconnect(close)
        for socket in list(self.select(target)):
            socket.disconnect(close)

    # -- questions about sockets

    async def node_count(self) -> int:
        """Return how many nodes there are, this one included."""
        await trio.lowlevel.checkpoint()
        return 1

    async def sockets(self, target: Target) -> set[str]:
        """Return the public ids of the sockets of target."""
        await trio.lowlevel.checkpoint()
        return {socket.public_id for socket in self.select(target)}

    async def socket_rooms(self, socket_id: str) -> frozenset[str] | None:
        """Return the rooms of a socket, its own included; None if no node knows the socket."""
        await trio.lowlevel.checkpoint()
        socket = self._namespace.rooms.find(socket_id)
        return None if socket is None else shown_rooms(socket)

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        """Return descriptions of the sockets of target.

        Raises:
            AckTimeout: a node did not answer in time; it holds the sockets of the others.
        """
        await trio.lowlevel.checkpoint()
        return [describe(socket) for socket in self.select(target)]

    # -- from server to server

    def receive_server_side(
        self, arguments: list[Any], answer: Callable[[Any], None] | None = None
    ) -> bool:
        """Handle an event of another node, in a worker. An adapter for a cluster calls this.

        Args:
            arguments: the event's name, then its arguments.
            answer: called with what the handler returns; not called if the handler fails or there
                is none.
        Returns:
            False if too many events wait for their handlers; then this one is dropped (BUS-32).
        """
        namespace = self._namespace
        namespace._workers.check_thread()
        handler = namespace._registry.server_side.get(arguments[0])
        if handler is None:
            return True
        if self._open_events >= server_side.MAX_OPEN:
            return False
        self._open_events += 1
        event = ServerSideEvent(
            namespace._registry.name, handler, arguments[1:], answer, self._close_event
        )
        namespace._workers.submit(event)
        return True

    def _close_event(self) -> None:
        self._open_events -= 1

    def server_side_emit(self, arguments: list[Any]) -> None:
        """Send an event to the same namespace of every other node; there is none here."""

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        """Send an event to every other node, and wait for one answer of each; there is none here.

        Raises:
            AckTimeout: a node did not answer in time; it holds the answers of the others.
        """
        await trio.lowlevel.checkpoint()
        return []


def describe(socket: "Socket") -> SocketDetails:
    """Describe a socket of this node for others: never with its credentials (JOIN-27).

    A client 1.x or 2.x is shown by its public id, also in its rooms (JOIN-28).
    """
    view = socket.handshake
    handshake = HandshakeDetails(
        headers=view.headers,
        query=view.query,
        url=view.url,
        address=view.address,
        secure=view.secure,
        issued_s=view.issued_s,
    )
    rooms = shown_rooms(socket)
    client = None
    if socket._participant.host.shows_clients:  # AUI-20
        client = ClientDetails(name_client(socket.session.sid), socket.session.transport)
    return SocketDetails(socket.public_id, handshake, rooms, dict(socket.data), socket.user, client)


def shown_rooms(socket: "Socket") -> frozenset[str]:
    """Return the rooms of a socket as others may see them: with its public id (JOIN-28)."""
    if socket.public_id is socket.id:
        return socket.rooms
    return socket.rooms - {socket.id} | {socket.public_id}
