"""One session in one namespace: what user code holds of a client."""

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.codec.socket_packet import RESERVED_EVENTS, Packet, PacketType
from trio_socketio.errors import LocalProtocolError, SessionClosed
from trio_socketio.protocol.socket_life import Input, Life, advance
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, Awaited
from trio_socketio.socketio.adapter import Target
from trio_socketio.socketio.broadcast import Broadcast, check_event, names
from trio_socketio.socketio.event_queue import EventQueue
from trio_socketio.socketio.flagged_socket import FlaggedSocket
from trio_socketio.socketio.socket_handshake import SocketHandshake

# Names of the module: looking a member up in its Enum costs as much as decoding a packet.
_ASKING: Final = Life.ASKING
_ACCEPTED: Final = Life.ACCEPTED
_JOINED: Final = Life.JOINED
_LEFT: Final = Life.LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer


class Socket(EventQueue):
    """A client in a namespace.

    Args:
        namespace: where.
        peer: the session and its other sockets.
        socket_id: 20 characters; public, unlike the sid.
        auth: the payload of its CONNECT.

    Attributes:
        id: the room that it is alone in.
        public_id: what others may see, in lists, answers and logs; `to` takes it like the id. It is
            the id itself, except for clients 1.x and 2.x: their ids contain the secret of their
            session.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_data",
        "_frozen_rooms",
        "_life",
        "_user",
        "auth",
        "id",
        "joined",
        "namespace",
        "peer",
        "public_id",
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
        self._life = _ASKING
        self._user: str | None = None
        self.public_id = peer.server.new_socket_id() if peer.ids_are_secret else socket_id
        self.reason = ""
        self.joined: set[str] | None = None
        self._frozen_rooms: frozenset[str] | None = None
        self._data: dict[str, Any] | None = None
        self._outgoing = None
        self._acks: dict[int, Awaited] | None = None
        self._queue = None  # a worker goes through it
        self._pending = 0  # events that wait or run

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self.namespace.name}>"

    # -- what user code sees

    @property
    def connected(self) -> bool:
        """Whether it is in its namespace."""
        return self._life is _JOINED

    @property
    def user(self) -> str | None:
        """The identity of its client; None unless something on its way in has established it."""
        return self._user

    @property
    def handshake(self) -> SocketHandshake:
        """The handshake that opened its session, and the payload of its CONNECT."""
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
            LocalProtocolError: it would be in more rooms than max_rooms_per_socket, or a room is no
                text.
        """
        self.namespace.workers.check_thread()
        limit = self.namespace.server.options.max_rooms_per_socket
        for room in names(rooms):
            joined = self.joined or ()
            if len(joined) >= limit and room not in joined and room != self.id:
                raise LocalProtocolError(f"socket {self.id} is in {limit} rooms already")
            if self._life is _JOINED:
                self.namespace.adapter.add(self, room)
            elif self._life is not _LEFT:
                self.joined = (self.joined or set()) | {room}

    def leave(self, room: str) -> None:
        """Leave a room; not its own.

        Raises:
            LocalProtocolError: the room is no text.
        """
        self.namespace.workers.check_thread()
        if not isinstance(room, str):
            raise LocalProtocolError(f"a room is text, not {room!r}")
        if self._life is _JOINED:
            self.namespace.adapter.remove(self, room)
        elif self._life is not _LEFT and self.joined is not None:
            self.joined.discard(room)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this client. Never blocks.

        Once the client is gone, the event is dropped and counted.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        namespace = self.namespace
        if get_ident() != namespace.workers.thread:
            namespace.workers.check_thread()
        if type(event) is not str or event in RESERVED_EVENTS:
            check_event(event)
        packet = namespace.encode_event([event, *arguments], None)
        if self._outgoing is not None:
            self.overhear([event, *arguments])
        if self._life is _JOINED or self._life is _ACCEPTED:
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
        """Put the client out of this namespace, or with ``close`` out of all, and hang up.

        One that is still on its way in is refused.
        """
        self.namespace.workers.check_thread()
        if self._life is _LEFT:
            return
        if close:
            self.peer.disconnect_all()
        elif not self.peer.refuse_joining(self):
            self.put_out("server namespace disconnect")

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
        self.namespace.workers.check_thread()
        if not self.is_reachable:
            raise SessionClosed(self.reason or "the client has not joined yet", self.id)
        try:
            await self.session.wait_drained()
        except SessionClosed as error:
            raise SessionClosed(error.reason, self.id) from None

    # -- answers of the client

    def receive_ack(self, ack_id: int | None, arguments: list[Any]) -> None:
        """The client answered. What answers nothing that is awaited is ignored (SIO5-28)."""
        pending = None if self._acks is None or ack_id is None else self._acks.pop(ack_id, None)
        if pending is not None:
            self.peer.ack_over()
            pending.receive(arguments, self.public_id)

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

    # -- its beginning

    @property
    def skips_middleware(self) -> bool:
        """Whether it may join without being asked anything."""
        return False

    def credentials(self) -> dict[str, Any]:
        """What the client is told when it is let in."""
        return {"sid": self.id}

    @property
    def is_reachable(self) -> bool:
        """Whether what is emitted to it is sent: its client knows that it is connected."""
        return self._life is _JOINED or self._life is _ACCEPTED

    def identify(self, user: str) -> None:
        """See Joining.identify."""
        self._user = user

    def accept(self) -> None:
        """Tell the client that it is connected, before it has joined."""
        self._life = advance(self._life, Input.ACCEPT)
        self.peer.accept(self)

    def enter(self) -> None:
        """Tell the client that it is connected, and be in the namespace and its early rooms.

        Raises:
            Exception: whatever the adapter raises; it is in no room then.
        """
        if self._life is _ASKING:
            self.peer.accept(self)
        self._life = advance(self._life, Input.ENTER)
        self._enter_rooms()

    def _enter_rooms(self) -> None:
        early, self.joined = self.joined, None
        namespace = self.namespace
        namespace.rooms.enter(self)
        if early:
            try:
                for room in early:
                    namespace.adapter.add(self, room)
            except BaseException:
                namespace.adapter.remove_all(self)
                raise
        if self._outgoing is not None:
            namespace.overheard.add(self)
        if self._life is _LEFT:  # a hook of a room has put it out
            namespace.adapter.remove_all(self)

    @property
    def early_rooms(self) -> set[str]:
        """The rooms that it will be in when it joins."""
        return {self.id, self.public_id, *(self.joined or ())}

    def stay_out(self, reason: str) -> None:
        """It will not join: it was refused, or its client has left."""
        self._leave(reason)
        self._fail_acks()

    # -- its end

    def put_out(self, reason: str) -> None:
        """Tell the client that it is disconnected, and close."""
        packet = Packet(PacketType.DISCONNECT, self.namespace.name)
        self.session.send(self.namespace.server.parser.encode_packet(packet))
        self.close(reason)

    def close(self, reason: str) -> None:
        """Leave every room at once, so that no broadcast follows; the rest after the batch."""
        if self._life is _JOINED:
            self._leave(reason)
            self.peer.departs(self)
            self.namespace.poller.defer(self.leave_namespace)  # whatever fails from here on
            self._leave_rooms()

    def _leave(self, reason: str) -> None:
        self._life = advance(self._life, Input.LEAVE)
        self.reason = reason

    def _leave_rooms(self) -> None:
        namespace = self.namespace
        self._frozen_rooms = frozenset((self.id, *(self.joined or ())))
        try:
            namespace.adapter.remove_all(self)
        except BaseException as error:  # of somebody's adapter: the socket leaves all the same
            namespace.rooms.remove_all(self)
            namespace.workers.log_failure("the adapter", self.id, error)
        if self._outgoing is not None:
            namespace.overheard.discard(self)
        recoverable = self._save()
        if namespace.observers.all:
            namespace.observers.left(self, self.reason, recoverable)

    def _save(self) -> bool:
        """Keep what its client needs to come back; whether it may."""
        return False

    def lose(self, reason: str) -> None:
        """The session has ended; called after the batch."""
        if self._life is _JOINED:
            self._leave(reason)
            self._leave_rooms()
            self.leave_namespace()

    def leave_namespace(self) -> None:
        """Release what waits, then tell the handlers, last of all."""
        self.peer.forget(self)
        self._fail_acks()
        for event in ("disconnecting", "disconnect"):
            handler = self.namespace.handlers.get(event)
            if handler is not None:
                self.dispatch(handler, [self, self.reason], None)
        self.namespace.end_if_deserted()

    def _fail_acks(self) -> None:
        acks, self._acks = self._acks, None
        for pending in (acks or {}).values():
            self.peer.ack_over()
            pending.fail(SessionClosed(self.reason, self.id))
