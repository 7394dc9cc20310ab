"""A namespace: its sockets and rooms, its middleware, its handlers."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from trio_socketio.codec.socket_packet import Packet, PacketType, encode_header, encode_packet
from trio_socketio.engine.hooks import is_async
from trio_socketio.errors import ConnectRefused, LocalProtocolError
from trio_socketio.socketio.adapter import Target
from trio_socketio.socketio.broadcast import Broadcast
from trio_socketio.socketio.handlers import Handler, Workers
from trio_socketio.socketio.rooms import Rooms
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.net.poller import Poller
    from trio_socketio.socketio.peer import Peer
    from trio_socketio.socketio.server import Server

Function = TypeVar("Function", bound=Callable[..., Any])

_CONNECTION = "connection"


class Namespace:
    """A channel of the server that clients join by name.

    Args:
        server: owns it.
        name: begins with a slash.
    """

    def __init__(self, server: "Server", name: str) -> None:
        self.server = server
        self.name = name
        self.event_header = encode_header(PacketType.EVENT, name)
        self.ack_header = encode_header(PacketType.ACK, name)
        self.rooms = Rooms()
        self.handlers: dict[str | int | float, Handler] = {}
        self.workers: Workers = server.workers
        self.adapter = server.create_adapter(self)
        self._middleware: list[Callable[[Socket], Any]] = []
        self._connection_handler: Handler | None = None
        self._ack_id = 0

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

    # -- registering

    def use(self, function: Function) -> Function:
        """Register middleware: called with a socket that wants to join, in order of registration.

        Plain or async. Raise ConnectRefused to keep the client out.
        """
        self._middleware.append(function)
        return function

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """Register the handler of an event, called with the socket and the event's arguments.

        "connection" is called with a socket that has joined; "disconnecting" and "disconnect" with
        the socket and the reason. What a handler returns answers the client's acknowledgement:
        None no argument, a tuple several, anything else one.

        Args:
            event: its name.
            concurrent: events of one socket need not wait for each other; for async handlers.
        Raises:
            LocalProtocolError: the event has a handler already, or a client could never send it.
        """

        def register(function: Function) -> Function:
            handler = Handler(event, function, concurrent=concurrent)
            if event == _CONNECTION:
                if self._connection_handler is not None:
                    raise LocalProtocolError(f"{self.name} has a handler of {event!r} already")
                self._connection_handler = handler
                return function
            if event in self.handlers:
                raise LocalProtocolError(f"{self.name} has a handler of {event!r} already")
            if event in ("connect", "connect_error", "newListener", "removeListener"):
                raise LocalProtocolError(f"the event name {event!r} is reserved; use 'connection'")
            self.handlers[event] = handler
            return function

        return register

    # -- emitting

    def to(self, rooms: str | Iterable[str]) -> Broadcast:
        """The sockets in rooms."""
        return Broadcast(self.adapter, Target()).to(rooms)

    in_ = to

    def except_(self, rooms: str | Iterable[str]) -> Broadcast:
        """All sockets but those in rooms."""
        return Broadcast(self.adapter, Target()).except_(rooms)

    @property
    def volatile(self) -> Broadcast:
        """All sockets that can take it at once."""
        return Broadcast(self.adapter, Target(volatile=True))

    @property
    def local(self) -> Broadcast:
        """All sockets of this node."""
        return Broadcast(self.adapter, Target(local=True))

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to every socket.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        Broadcast(self.adapter, Target()).emit(event, *arguments)

    # -- joining

    def connect(self, peer: "Peer", auth: dict[str, Any]) -> Socket:
        """A socket for a client that asks to join; not connected yet."""
        return Socket(self, peer, self.server.new_socket_id(), auth)

    def ask_middleware(self, socket: Socket) -> None:
        """Let the client in or refuse it, now or when async middleware has decided."""
        if any(is_async(function) for function in self._middleware):
            self.workers.submit(_Admission(self, socket))
            return
        try:
            for function in self._middleware:
                self.workers.run(function, socket)
        except Exception as error:
            self.refuse(socket, error)
        else:
            self.admit(socket)

    async def ask_async(self, workers: Workers, socket: Socket) -> None:
        """See ask_middleware; in a worker."""
        try:
            for function in self._middleware:
                if is_async(function):
                    await workers.call_async(function, socket)
                else:
                    workers.run(function, socket)
        except Exception as error:
            self.refuse(socket, error)
        else:
            self.admit(socket)

    def refuse(self, socket: Socket, error: Exception) -> None:
        """Middleware raised; anything but ConnectRefused is a defect that clients are not shown."""
        wanted = socket.peer.is_connecting(socket)
        socket.peer.settle(socket, joined=False)
        if not isinstance(error, ConnectRefused):
            self.workers.log_failure(f"middleware of {self.name}", socket.id, error)
            error = ConnectRefused("Internal server error")
        if wanted:
            answer = {"message": error.message}
            if error.data is not None:
                answer["data"] = error.data
            try:
                socket.peer.refuse(self.name, answer)
            except Exception as fault:  # what it was refused with cannot be sent
                self.workers.log_failure(f"middleware of {self.name}", socket.id, fault)
                socket.peer.refuse(self.name, {"message": "Internal server error"})

    def admit(self, socket: Socket) -> None:
        """Middleware is content: the socket joins, unless its client has left meanwhile."""
        wanted = socket.peer.is_connecting(socket)
        socket.peer.settle(socket, joined=wanted)
        if not wanted:
            return
        socket.connected = True
        self.rooms.sockets[socket.id] = socket
        early, socket.joined = socket.joined, None
        socket.join(early or ())
        socket.session.send(
            encode_packet(Packet(PacketType.CONNECT, self.name, {"sid": socket.id}))
        )
        if self._connection_handler is not None:
            socket.dispatch(self._connection_handler, [socket], None)


class _Admission:
    """Async middleware at work on one socket."""

    __slots__ = ("_namespace", "_socket")

    def __init__(self, namespace: Namespace, socket: Socket) -> None:
        self._namespace = namespace
        self._socket = socket

    async def run(self, workers: Workers) -> None:
        """See Job."""
        await self._namespace.ask_async(workers, self._socket)
