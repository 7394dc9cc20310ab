"""A namespace: its sockets and rooms, its middleware, its handlers."""

from typing import TYPE_CHECKING, Any

from trio_socketio.codec.socket_packet import PacketType
from trio_socketio.engine.hooks import is_async
from trio_socketio.engine.verdicts import check_verdict, told_refusal
from trio_socketio.errors import ConnectRefused
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.socketio.adapter import EVERYBODY
from trio_socketio.socketio.broadcast import Broadcast, Broadcasting, check_event
from trio_socketio.socketio.handlers import Workers
from trio_socketio.socketio.registry import Registry, check_server_side
from trio_socketio.socketio.rooms import Rooms
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.net.poller import Poller
    from trio_socketio.socketio.any_listeners import AnyListeners
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
        super().__init__(name)
        self.server = server
        self.parent = parent
        self.rooms = Rooms()
        self.overheard: set[AnyListeners] = set()  # those with listeners of what goes out
        self.workers: Workers = server.workers
        self.speak()
        self.adapter = server.create_adapter(self)
        self.adapter_is_closed = False
        self._ack_id = 0
        self._admitting = 0  # middleware at work

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def speak(self) -> None:
        """Write packets in the way of the server's parser."""
        parser = self.server.parser
        self.encode_event = parser.arguments_encoder(PacketType.EVENT, self.name)
        self.encode_ack = parser.arguments_encoder(PacketType.ACK, self.name)

    def close_adapter(self) -> None:
        """The namespace or the server ends. Once for each adapter; contained."""
        if self.adapter_is_closed:
            return
        self.adapter_is_closed = True
        try:
            self.adapter.close()
        except Exception as error:
            self.workers.log_failure("closing the adapter", self.name, error)

    def renew_adapter(self) -> None:
        """Have another adapter than before."""
        self.close_adapter()
        self.adapter = self.server.create_adapter(self)
        self.adapter_is_closed = False

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

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to every socket.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        check_event(event)
        self.adapter.broadcast([event, *arguments], EVERYBODY)

    # -- between servers

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this namespace on every other node; see on_server_side.

        Raises:
            LocalProtocolError: the name is reserved between servers.
        """
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
        handler = self.server_side_handlers.get(arguments[0])
        if handler is not None:
            self.workers.submit(ServerSideEvent(self, handler, arguments[1:], answer))

    # -- joining

    def connect(
        self, peer: "Peer", auth: dict[str, Any], restored: "SavedSession | None" = None
    ) -> Socket:
        """A socket for a client that asks to join; not connected yet.

        Args:
            peer: its session.
            auth: the payload of its CONNECT.
            restored: the socket goes on where another has left off.
        """
        socket_id = restored.id if restored else peer.new_socket_id(self.name)
        if self.server.recovery is not None and self.adapter.recovers and peer.recovers:
            return self.adapter.create_socket(peer, socket_id, auth, restored)
        return Socket(self, peer, socket_id, auth)

    def reserve(self) -> None:
        """Somebody may join soon: a deserted child does not end until release."""
        self._admitting += 1

    def release(self) -> None:
        """See reserve."""
        self._admitting -= 1
        self.end_if_deserted()

    def ask_middleware(self, socket: Socket) -> None:
        """Let the client in or refuse it, now or when async middleware has decided."""
        self._admitting += 1
        if socket.skips_middleware:
            self.admit(socket)
            return
        if any(is_async(function) for function in self.middleware):
            self.workers.submit(_Admission(self, socket))
            return
        try:
            for function in self.middleware:
                check_verdict(self.workers.run(function, socket), function)
        except Exception as error:
            self.refuse(socket, error)
        else:
            self.admit(socket)

    async def ask_async(self, workers: Workers, socket: Socket) -> None:
        """See ask_middleware; in a worker."""
        try:
            for function in self.middleware:
                if not socket.peer.is_connecting(socket):
                    break  # nobody wants to know any more
                if is_async(function):
                    verdict = await workers.call_async(function, socket)
                else:
                    verdict = workers.run(function, socket)
                check_verdict(verdict, function)
        except Exception as error:
            self.refuse(socket, error)
        else:
            self.admit(socket)

    def refuse(self, socket: Socket, error: Exception) -> None:
        """Middleware raised; anything but ConnectRefused is a defect that clients are not shown."""
        self._admitting -= 1
        wanted = socket.peer.is_connecting(socket)
        socket.peer.settle(socket, joined=False)
        socket.stay_out(refused=wanted)
        if not isinstance(error, ConnectRefused):
            # Clients name the children of a parent: all are one for the log.
            name = self.name if self.parent is None else self.parent.name
            self.workers.log_failure(f"middleware of {name}", socket.id, error)
        refusal = told_refusal(error) or ConnectRefused("Internal server error")
        if wanted:
            answer = {"message": refusal.message}
            if refusal.data is not None:
                answer["data"] = refusal.data
            try:
                socket.peer.refuse(self.name, answer)
            except Exception as fault:  # what it was refused with cannot be sent
                self.workers.log_failure(f"middleware of {self.name}", socket.id, fault)
                socket.peer.refuse(self.name, {"message": "Internal server error"})
        self.end_if_deserted()

    def admit(self, socket: Socket) -> None:
        """Middleware is content: the socket joins, unless its client has left meanwhile."""
        self._admitting -= 1
        wanted = socket.peer.is_connecting(socket)
        socket.peer.settle(socket, joined=wanted)
        if not wanted:
            socket.stay_out(refused=False)
            self.end_if_deserted()
            return
        socket.connected = True
        socket.enter()
        if self.connection_handler is not None:
            socket.dispatch(self.connection_handler, [socket], None)

    def end_if_deserted(self) -> None:
        """A child that nobody is in or about to join ends, if the options say so."""
        if (
            self.parent is not None
            and not self.rooms.sockets
            and not self._admitting
            and self.server.options.cleanup_empty_child_namespaces
        ):
            self.server.remove_child(self)


class _Admission:
    """Async middleware at work on one socket."""

    __slots__ = ("_namespace", "_socket")

    def __init__(self, namespace: Namespace, socket: Socket) -> None:
        self._namespace = namespace
        self._socket = socket

    async def run(self, workers: Workers) -> bool:
        """See Job."""
        await self._namespace.ask_async(workers, self._socket)
        return False
