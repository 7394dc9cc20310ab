"""One session in one namespace: what user code holds of a client."""

import types
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.acks import answer_arguments
from trio_socketio.codec.socket_packet import RESERVED_EVENTS, Packet, PacketType
from trio_socketio.errors import LocalProtocolError, SessionClosed
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, Awaited
from trio_socketio.socketio.adapter import Target
from trio_socketio.socketio.any_listeners import AnyListeners
from trio_socketio.socketio.broadcast import Broadcast, check_event
from trio_socketio.socketio.flagged_socket import FlaggedSocket
from trio_socketio.socketio.socket_handshake import SocketHandshake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Iterable
    from typing import TypeAlias

    from trio_socketio.socketio.handlers import Handler, Workers
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer

    _Event: TypeAlias = tuple[Handler, list[Any], int | None]

OVERLOAD_FACTOR: Final = 4
"""Times the queue bound: how far events may pile up behind a handler that awaits an ack."""


class Socket(AnyListeners):
    """A client in a namespace.

    Args:
        namespace: where.
        peer: the session and its other sockets.
        socket_id: 20 characters; public, unlike the sid.
        auth: the payload of its CONNECT.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_data",
        "_frozen_rooms",
        "_pending",
        "_queue",
        "auth",
        "connected",
        "id",
        "joined",
        "namespace",
        "peer",
        "reason",
        "session",
    )

    def __init__(
        self, namespace: "Namespace", peer: "Peer", socket_id: str, auth: dict[str, Any]
    ) -> None:
        self.id = socket_id
        self.namespace = namespace
        self.handlers = namespace.handlers
        self.peer = peer
        self.session = peer.session
        self.auth = auth
        self.connected = False
        self.reason = ""
        self.joined: set[str] | None = None
        self._frozen_rooms: frozenset[str] | None = None
        self._data: dict[str, Any] | None = None
        self._outgoing = None
        self._acks: dict[int, Awaited] | None = None
        self._queue: deque[_Event] | None = None  # a worker goes through it
        self._pending = 0  # events that wait or run

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self.namespace.name}>"

    # -- what user code sees

    @property
    def handshake(self) -> SocketHandshake:
        """How it came to be."""
        return SocketHandshake(self.peer, self.auth)

    @property
    def recovered(self) -> bool:
        """Whether it goes on where the client's last socket has left off: same id, rooms, data."""
        return False

    @property
    def data(self) -> dict[str, Any]:
        """Anything the program wants to remember of this client."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in, its own included; once disconnected, those it was in."""
        if self._frozen_rooms is not None:
            return self._frozen_rooms
        return frozenset((self.id, *(self.joined or ())))

    def join(self, rooms: "str | Iterable[str]") -> None:
        """Enter rooms; in middleware, as soon as it is let in. Does nothing once disconnected.

        Raises:
            LocalProtocolError: it would be in more rooms than max_rooms_per_socket.
        """
        limit = self.namespace.server.options.max_rooms_per_socket
        for room in (rooms,) if isinstance(rooms, str) else rooms:
            joined = self.joined or ()
            if len(joined) >= limit and room not in joined and room != self.id:
                raise LocalProtocolError(f"socket {self.id} is in {limit} rooms already")
            if self.connected:
                self.namespace.adapter.add(self, room)
            elif not self.reason:
                self.joined = (self.joined or set()) | {room}

    def leave(self, room: str) -> None:
        """Leave a room; not its own."""
        if self.connected:
            self.namespace.adapter.remove(self, room)
        elif not self.reason and self.joined is not None:
            self.joined.discard(room)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this client. Never blocks.

        Once the client is gone, the event is dropped and counted.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        if type(event) is not str or event in RESERVED_EVENTS:
            check_event(event)
        packet = self.namespace.encode_event([event, *arguments], None)
        if self._outgoing is not None:
            self.overhear([event, *arguments])
        if self.connected:
            self.session.send(packet)
        else:
            self.session.drop()

    def send(self, *arguments: Any) -> None:
        """Emit "message"."""
        self.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> Any:
        """Send an event and wait for the client's answer.

        Returns:
            None for no argument, the argument itself, or a tuple of several.
        Raises:
            AckTimeout: no answer in time.
            SessionClosed: the client is gone.
            LocalProtocolError: see emit.
        """
        return await self._flagged().emit_with_ack(event, *arguments, timeout_s=timeout_s)

    def disconnect(self, close: bool = False) -> None:
        """Put the client out of this namespace, or with ``close`` out of all, and hang up."""
        if not self.connected:
            return
        if close:
            self.peer.disconnect_all()
        else:
            packet = Packet(PacketType.DISCONNECT, self.namespace.name)
            self.session.send(self.namespace.server.parser.encode_packet(packet))
            self.close("server namespace disconnect")

    def to(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The others in rooms."""
        return self.broadcast.to(rooms)

    in_ = to

    def except_(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The others, without rooms."""
        return self.broadcast.except_(rooms)

    @property
    def broadcast(self) -> Broadcast:
        """All sockets of the namespace but this one."""
        return Broadcast(self.namespace, Target(excluded=(self.id,)))

    @property
    def local(self) -> Broadcast:
        """The others on this node."""
        return self.broadcast.local

    @property
    def volatile(self) -> FlaggedSocket:
        """Emit through it what may be lost when the client cannot take it at once."""
        return self._flagged().volatile

    def compress(self, compress: bool) -> FlaggedSocket:
        """Emit through it what transports that compress may compress, or may not."""
        return self._flagged().compress(compress)

    def timeout(self, timeout_s: float) -> FlaggedSocket:
        """Ask through it what may take so long to be answered."""
        return self._flagged().timeout(timeout_s)

    def _flagged(self) -> FlaggedSocket:
        return FlaggedSocket(self, self.broadcast.target)

    async def wait_drained(self) -> None:
        """Wait until the client has taken what was sent to it.

        Raises:
            SessionClosed: it is gone.
        """
        if not self.connected:
            raise SessionClosed(self.reason)
        await self.session.wait_drained()

    # -- what arrives

    def receive_event(self, arguments: list[Any], ack_id: int | None) -> None:
        """An event arrived: call its handler, or queue it behind those that run."""
        handler = self.handlers.get(arguments[0])
        if handler is not None:
            arguments[0] = self
            self.dispatch(handler, arguments, ack_id)

    def dispatch(self, handler: "Handler", arguments: list[Any], ack_id: int | None) -> None:
        """Call a plain handler now if nothing is before it; queue any other."""
        if handler.is_async or self._pending:
            self._enqueue(handler, arguments, ack_id)
            return
        try:
            result = self.namespace.workers.call(handler, arguments)
        except Exception as error:
            self.namespace.workers.log_failure(handler, self.id, error)
            return
        if ack_id is not None:
            self._acknowledge(handler, ack_id, result)

    def receive_ack(self, ack_id: int | None, arguments: list[Any]) -> None:
        """The client answered; an answer nobody waits for is late, and ignored."""
        pending = None if self._acks is None or ack_id is None else self._acks.pop(ack_id, None)
        if pending is not None:
            self.peer.ack_over()
            pending.receive(arguments)

    def expect_ack(self, ack_id: int, pending: Awaited) -> None:
        """Tell pending the answer to an event that was sent."""
        if self._acks is None:
            self._acks = {}
        self._acks[ack_id] = pending
        self.peer.ack_awaited()

    def forget_ack(self, ack_id: int) -> None:
        """Wait for an answer no longer."""
        if self._acks is not None and self._acks.pop(ack_id, None) is not None:
            self.peer.ack_over()

    def _acknowledge(self, handler: "Handler", ack_id: int, result: Any) -> None:
        arguments = result if type(result) is tuple else answer_arguments(result)
        try:
            packet = self.namespace.encode_ack(arguments, ack_id)
        except Exception as error:  # a result may be of any class, and fail while it is read
            self.namespace.workers.log_failure(handler, self.id, error)
            return
        if self.connected:
            self.session.send(packet)

    # -- handlers that take their time

    @property
    def is_busy(self) -> bool:
        """Whether events of it wait or run."""
        return self._pending > 0

    @property
    def has_room(self) -> bool:
        """Whether another event may be queued."""
        return self._pending < self.namespace.workers.queue_bound

    def _enqueue(self, handler: "Handler", arguments: list[Any], ack_id: int | None) -> None:
        workers = self.namespace.workers
        self._pending += 1
        if handler.concurrent:
            workers.submit(_ConcurrentEvent(self, handler, arguments, ack_id))
        else:
            if self._queue is not None:
                self._queue.append((handler, arguments, ack_id))
            else:
                self._queue = deque(((handler, arguments, ack_id),))
                workers.submit(self)
        if self._pending >= workers.queue_bound:
            self.peer.queue_full(self._pending)

    def reconsider_queue(self) -> None:
        """See AnyListeners."""
        queue = self._queue or deque()
        for _ in range(len(queue)):  # in place: a worker may be going through it
            handler, arguments, ack_id = queue.popleft()
            queue.append((self.intercepted(handler), arguments, ack_id))

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """See Job: handle what is queued, in order."""
        return self.handle(workers, self._queue or deque())

    def give_up(self) -> int:
        """See EventJob."""
        queue = self._queue or deque()
        count = len(queue)
        queue.clear()
        self._queue = None
        self._pending -= count
        return count

    @types.coroutine
    def handle(self, workers: "Workers", queue: "deque[_Event]") -> "Generator[Any, Any, bool]":
        """Run handlers in a worker, one after the other, and answer. See Job.run.

        One generator for a queue: every call between trio and the handler is paid at each step.
        """
        suspended = False
        try:
            while queue:
                handler, arguments, ack_id = queue.popleft()
                suspended = False
                try:
                    if handler.is_async:
                        workers.running = handler
                        result = workers.begin(handler.function, arguments)
                        if result is workers.suspended:
                            suspended = True
                            result = yield from result
                    else:
                        result = workers.call(handler, arguments)
                except Exception as error:
                    workers.log_failure(handler, self.id, error)
                else:
                    if ack_id is not None:
                        self._acknowledge(handler, ack_id, result)
                finally:
                    self._pending -= 1
                    if self._pending == workers.queue_bound // 2:
                        self.peer.queue_eased()
                if queue and not suspended and workers.is_slice_over():
                    yield from workers.rest()
        except BaseException:  # cancelled: the server has waited long enough
            workers.give_up(self)
            raise
        finally:
            if queue is self._queue:
                self._queue = None
        return suspended

    # -- its beginning

    @property
    def skips_middleware(self) -> bool:
        """Whether it may join without being asked anything."""
        return False

    def credentials(self) -> dict[str, Any]:
        """What the client is told when it is let in."""
        return {"sid": self.id}

    def enter(self) -> None:
        """Join the namespace, and the rooms that it was put into before; tell the client."""
        self.enter_rooms()
        self.peer.accept(self)

    def enter_rooms(self) -> None:
        """See enter."""
        self.namespace.rooms.enter(self)
        if self.is_overheard:
            self.namespace.overheard.add(self)
        early, self.joined = self.joined, None
        self.join(early or ())

    def stay_out(self, *, refused: bool) -> None:
        """It will not join: middleware refused it, or its client is gone."""

    # -- its end

    def close(self, reason: str) -> None:
        """Leave every room at once, so that no broadcast follows; the rest after the batch."""
        if self.connected:
            self.connected = False
            self.reason = reason
            self._leave_rooms()
            self.namespace.poller.defer(self.leave_namespace)

    def _leave_rooms(self) -> None:
        self._frozen_rooms = frozenset((self.id, *(self.joined or ())))
        self.namespace.adapter.remove_all(self)
        if self._outgoing is not None:
            self.namespace.overheard.discard(self)

    def leave_namespace(self) -> None:
        """Leave every room, release what waits, then tell the handlers, last of all."""
        if self._frozen_rooms is None:
            self._leave_rooms()
        self.peer.forget(self)
        acks, self._acks = self._acks, None
        for pending in (acks or {}).values():
            self.peer.ack_over()
            pending.fail(SessionClosed(self.reason))
        for event in ("disconnecting", "disconnect"):
            handler = self.namespace.handlers.get(event)
            if handler is not None:
                self.dispatch(handler, [self, self.reason], None)
        self.namespace.end_if_deserted()


class _ConcurrentEvent:
    """An event whose handler may run beside others of its socket."""

    __slots__ = ("_ack_id", "_arguments", "_handler", "_socket")

    def __init__(
        self, socket: Socket, handler: "Handler", arguments: list[Any], ack_id: int | None
    ) -> None:
        self._socket = socket
        self._handler = handler
        self._arguments = arguments
        self._ack_id = ack_id

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """See Job."""
        handler = self._socket.intercepted(self._handler)
        return self._socket.handle(workers, deque([(handler, self._arguments, self._ack_id)]))

    def give_up(self) -> int:
        """See EventJob."""
        self._socket._pending -= 1
        return 1
