"""A namespace: its sockets and rooms, its middleware, its handlers."""

from threading import get_ident
from typing import TYPE_CHECKING, Any

import trio

from trio_socketio.codec.parsers import connect_encoder
from trio_socketio.codec.socket_packet import PacketType
from trio_socketio.engine.ids import SOCKET_ID_CHARACTERS
from trio_socketio.errors import ConnectRefused
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.socketio.adapter import EVERYBODY, Adapter
from trio_socketio.socketio.broadcast import Broadcast, Broadcasting, check_event
from trio_socketio.socketio.registry import Registry, check_server_side
from trio_socketio.socketio.rooms import Rooms
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.runtime.poller import Poller
    from trio_socketio.socketio.any_listeners import AnyListeners
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.parent_namespace import ParentNamespace
    from trio_socketio.socketio.peer import Peer
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.server import Server


class Namespace(Registry, Broadcasting):
    """A channel of the server that clients join by name.

    Args:
        server: owns it.
        name: begins with a slash.
        parent: that made it for a client, and may end it.
    """

    def __init__(
        self, server: "Server", name: str, parent: "ParentNamespace | None" = None
    ) -> None:
        super().__init__(name, server.workers)
        self.server = server
        self.parent = parent
        self.rooms = Rooms()
        self.overheard: set[AnyListeners] = set()  # those with listeners of what goes out
        self.speak()
        self.adapter = server.create_adapter(self)
        self.adapter_is_closed = False
        self.adapter_is_started = not _has_start(self.adapter)
        self._starting = trio.Lock()
        self._ack_id = 0
        self.joinings: dict[Joining, None] = {}  # clients on their way in, oldest first
        self.inherit(server.everywhere)

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def speak(self) -> None:
        """Write packets in the way of the server's parser."""
        parser = self.server.parser
        self.encode_connect = connect_encoder(parser, self.name)
        self.encode_event = parser.arguments_encoder(PacketType.EVENT, self.name)
        self.encode_ack = parser.arguments_encoder(PacketType.ACK, self.name)

    def close_adapter(self) -> None:
        """The namespace or the server ends. Once for each adapter; contained."""
        if self.adapter_is_closed:
            return
        self.adapter_is_closed = True
        try:
            self.adapter.close()
        except BaseException as error:
            self.workers.log_failure("closing the adapter", self.name, error)

    def renew_adapter(self) -> None:
        """Have another adapter than before."""
        self.close_adapter()
        self.adapter = self.server.create_adapter(self)
        self.adapter_is_closed = False
        self.adapter_is_started = not _has_start(self.adapter)

    async def start_adapter(self) -> None:
        """Have the adapter reach the other nodes, once, before anybody joins.

        Raises:
            Exception: whatever the adapter raises.
        """
        async with self._starting:
            if not self.adapter_is_started:
                await self.adapter.start()
                self.adapter_is_started = True

    @property
    def sockets(self) -> dict[str, Socket]:
        """Connected sockets of this node, by id. Do not change it."""
        return self.rooms.sockets

    @property
    def poller(self) -> "Poller":
        """Drives the server."""
        return self.server.engine.poller

    def next_ack_id(self) -> int:
        """An id for an event that asks for an answer, unique among this namespace's sockets."""
        self._ack_id += 1
        return self._ack_id - 1

    # -- emitting

    def _everybody(self) -> Broadcast:
        return Broadcast(self)

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event to every socket.

        Returns:
            How many sockets of this node it was sent to.
        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        if get_ident() != self.workers.thread:
            self.workers.check_thread()
        check_event(event)
        return self.adapter.broadcast([event, *arguments], EVERYBODY)

    # -- between servers

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this namespace on every other node; see on_server_side.

        Raises:
            LocalProtocolError: the name is reserved between servers.
        """
        self.workers.check_thread()
        check_server_side(event)
        self.adapter.server_side_emit([event, *arguments])

    async def server_side_emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> list[Any]:
        """Send an event to this namespace on every other node, and wait for their answers.

        Returns:
            One answer of each other node; none when there is no other.
        Raises:
            AckTimeout: some did not answer in time; ``responses`` are the others'.
            LocalProtocolError: the name is reserved between servers.
        """
        self.workers.check_thread()
        check_server_side(event)
        return await self.adapter.server_side_emit_with_ack(
            [event, *arguments], check_timeout(timeout_s)
        )

    def receive_server_side(
        self, arguments: list[Any], answer: "Callable[[Any], None] | None" = None
    ) -> None:
        """Another node has sent an event: for the adapter. Plain; handled in a worker.

        Args:
            arguments: the event's name, then what goes with it.
            answer: called with what the handler returns; not if it fails, or there is none.
        """
        self.workers.check_thread()
        handler = self.server_side_handlers.get(arguments[0])
        if handler is not None:
            self.workers.submit(ServerSideEvent(self, handler, arguments[1:], answer))

    # -- joining

    def create_socket(
        self, peer: "Peer", auth: dict[str, Any], restored: "SavedSession | None"
    ) -> Socket:
        """A socket for a client that asks to join; it is in no room yet.

        Args:
            peer: its session.
            auth: the payload of its CONNECT.
            restored: the socket goes on where another has left off.
        """
        if restored is not None:
            socket_id = restored.id
        elif peer.ids_are_secret:
            socket_id = peer.new_socket_id(self.name)
        else:
            socket_id = self.server.draw_id(SOCKET_ID_CHARACTERS)
        if self.server.recovery is not None and self.adapter.recovers and peer.recovers:
            return self.adapter.create_socket(peer, socket_id, auth, restored)
        return Socket(self, peer, socket_id, auth)

    def put_everybody_out(self, reason: str) -> list[Socket]:
        """Disconnect all sockets and refuse all clients that are on their way in.

        Returns:
            The sockets, whose handlers may still be at work.
        """
        for joining in tuple(self.joinings):
            joining.refuse(ConnectRefused(reason))
        sockets = list(self.sockets.values())
        for socket in sockets:
            socket.put_out(reason)
        return sockets

    def end_if_deserted(self) -> None:
        """A child that nobody is in or about to join ends, if the options say so."""
        if (
            self.parent is not None
            and not self.rooms.sockets
            and not self.joinings
            and self.server.options.cleanup_empty_child_namespaces
        ):
            self.server.remove_child(self)


def _has_start(adapter: Adapter) -> bool:
    """Whether an adapter has something to start: a single node has not, and must cost nothing."""
    return type(adapter).start is not Adapter.start
