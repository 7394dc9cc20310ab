"""One session in one namespace: a client, as programs handle it.

A socket is made of parts. `Membership` is its state and rooms; an idle socket has no other part.
`Events` queues and dispatches what arrives, `PendingAcks` pairs answers with questions, and
`OutgoingListeners` are told what is sent; they are made on first use. `SocketRecovery` is there
while state_recovery is on. socket_life.py takes the socket into its namespace and out of it.

No part refers to the socket, because that would be a cycle for the garbage collector to find: a
client that leaves gives its memory back at once. Parts are told the socket where they need it.
"""

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError, SessionClosed
from trio_socketio.protocol.socket_life import Life
from trio_socketio.protocol.user_ids import user_room
from trio_socketio.socketio.acks import AnsweringClient, PendingAcks
from trio_socketio.socketio.broadcast import Broadcast, check_event, names
from trio_socketio.socketio.event_roles import EventSender
from trio_socketio.socketio.events import Events
from trio_socketio.socketio.flagged_socket import FlaggedSocket
from trio_socketio.socketio.interception import remove_listener
from trio_socketio.socketio.membership import Membership
from trio_socketio.socketio.outgoing_listeners import OutgoingListeners, check_outgoing
from trio_socketio.socketio.socket_handshake import SocketHandshake
from trio_socketio.socketio.socket_recovery import SocketRecovery
from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.handlers import Function
    from trio_socketio.socketio.interception import Listener
    from trio_socketio.socketio.place import Place
    from trio_socketio.socketio.revisions import Revision
    from trio_socketio.socketio.saved_session import SavedSession

# Names of the module: looking a member up in its Enum costs as much as decoding a packet.
_ACCEPTED: Final = Life.ACCEPTED
_JOINED: Final = Life.JOINED
_LEFT: Final = Life.LEFT


class SocketClient(EventSender, AnsweringClient, Protocol):
    """The client of a socket; at run time a Participant, which has the contracts."""

    @property
    def session(self) -> "Session":
        """The session with the client."""

    @property
    def revision(self) -> "Revision":
        """The revision of Socket.IO that the client speaks."""

    def accept(self, socket: "Socket") -> None:
        """Tell the client that it is connected."""

    def departs(self, socket: "Socket") -> None:
        """Have a socket that takes no more packets leave when the batch is done."""

    def forget(self, socket: "Socket") -> None:
        """Forget a socket that has left its namespace."""

    def put_out(self, socket: "Socket", reason: str) -> None:
        """Put the client out of one namespace, or refuse it if it is still joining."""

    def disconnect_all(self) -> None:
        """Put the client out of every namespace, and hang up."""


class Socket:
    """A client in a namespace.

    Args:
        namespace: the namespace.
        participant: the client, with its session and its other sockets.
        socket_id: 20 characters; public, unlike the sid.
        auth: the payload of the CONNECT.
        restored: the session that it goes on with; None for a new one.

    Attributes:
        id: names the socket; also the room that it is alone in.
        namespace: the Namespace that it is in.
        public_id: what others may see, in lists, answers and logs; `to` takes it like the id. It is
            the id itself except for clients 1.x and 2.x: their ids hold the secret of their
            session.
        session: the connection with the client, shared with the client's other sockets.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_auth",
        "_data",
        "_events",
        "_membership",
        "_outgoing",
        "_participant",
        "_recovery",
        "_user",
        "id",
        "namespace",
        "public_id",
        "session",
    )

    def __init__(
        self,
        namespace: "Place",
        participant: SocketClient,
        socket_id: str,
        auth: dict[str, Any],
        restored: "SavedSession | None" = None,
    ) -> None:
        self.id = socket_id
        self.namespace = namespace
        self.session = participant.session
        revision = participant.revision
        self.public_id = participant.host.draw_id() if revision.names_sockets else socket_id
        self._participant = participant
        self._auth: dict[str, Any] | None = auth
        self._user: str | None = None
        self._data: dict[str, Any] | None = None
        self._membership = Membership()
        self._events: Events | None = None
        self._acks: PendingAcks | None = None
        self._outgoing: OutgoingListeners | None = None
        self._recovery: SocketRecovery | None = None
        if namespace._recovery is not None and revision.recovers:
            pid = participant.host.draw_id()
            self._recovery = SocketRecovery(namespace._recovery, restored, pid)
            if restored is not None:
                self._data = restored.data
                self._membership.joined = set(restored.rooms)

    def __repr__(self) -> str:
        return f"<Socket {self.public_id} of {self.namespace.name}>"

    # -- what is known of the client

    @property
    def connected(self) -> bool:
        """Whether the socket is in its namespace."""
        return self._membership.life is _JOINED

    @property
    def user(self) -> str | None:
        """The identity of the client; None unless a step of its joining has established it."""
        return self._user

    @property
    def handshake(self) -> SocketHandshake:
        """The request that opened the session, and the payload of the CONNECT."""
        if self._auth is None:
            self._auth = {}
        return SocketHandshake(self.session.handshake, self._auth)

    @property
    def recovered(self) -> bool:
        """Whether it goes on where the client's last socket left off: same id, rooms and data."""
        return self._recovery is not None and self._recovery.recovered

    @property
    def data(self) -> dict[str, Any]:
        """Anything that the program wants to remember of this client."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the socket is in, its own included; once disconnected, those it was in."""
        return self._membership.rooms(self.id)

    def join(self, rooms: "str | Iterable[str]") -> None:
        """Enter rooms; in middleware, as soon as the client is let in. Ignored once disconnected.

        Raises:
            LocalProtocolError: it would be in more rooms than max_rooms_per_socket, or a room is
                not text.
        """
        self.namespace._workers.check_thread()
        membership = self._membership
        limit = self._participant.host.options.sockets.max_rooms_per_socket
        rooms = names(rooms)
        joined = membership.joined or ()
        new = {room for room in rooms if room not in joined and room != self.id}
        if new and len(joined) + len(new) > limit:  # before any of them is entered
            raise LocalProtocolError(
                f"socket {self.public_id} would be in more than {limit} rooms, max_rooms_per_socket"
            )
        for room in rooms:
            joined = membership.joined or ()
            if membership.life is _JOINED:
                if self._recovery is not None and room not in joined and room != self.id:
                    self._recovery.note_change(room, was_member=False)
                self.namespace.adapter.add(self, room)
            elif membership.life is not _LEFT:
                membership.join_early(room)

    def leave(self, room: str) -> None:
        """Leave a room. The rooms of the socket's id and of its user cannot be left.

        Raises:
            LocalProtocolError: the room is not text.
        """
        self.namespace._workers.check_thread()
        if not isinstance(room, str):
            raise LocalProtocolError(f"a room is text, not {room!r}")
        if self._user is not None and room == user_room(self._user):  # JOIN-36
            return
        membership = self._membership
        if membership.life is _JOINED:
            if self._recovery is not None and room in (membership.joined or ()):
                self._recovery.note_change(room, was_member=True)
            self.namespace.adapter.remove(self, room)
        elif membership.life is not _LEFT:
            membership.leave_early(room)

    def disconnect(self, close: bool = False) -> None:
        """Put the client out of this namespace, or with ``close`` out of all, and hang up.

        A client that is still joining is refused.
        """
        self.namespace._workers.check_thread()
        if self._membership.life is _LEFT:
            return
        if close:
            self._participant.disconnect_all()
        else:
            self._participant.put_out(self, "server namespace disconnect")

    # -- sending to it

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this client. Never blocks.

        Once the client is gone, the event is dropped and counted; with state_recovery it gets the
        event if it comes back in time.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        namespace = self.namespace
        if get_ident() != namespace._workers.thread:
            namespace._workers.check_thread()
        if type(event) is not str or event in RESERVED_EVENTS:  # SIO5-18
            check_event(event)
        if self._recovery is not None:
            self._recovery.emit(self, [event, *arguments], volatile=False, compress=True)
            return
        packet = namespace._packets.encode_event([event, *arguments], None)
        if self._outgoing is not None:
            self._outgoing.overhear(self, [event, *arguments])
        life = self._membership.life
        if life is _JOINED or life is _ACCEPTED:
            self.session.send(packet)  # SIO5-21: all that is sent to the client goes this way
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
            AckTimeout: no answer came in time.
            SessionClosed: the client is gone.
            LocalProtocolError: see emit; or the timeout is not above zero.
        """
        return await self._flagged().emit_with_ack(event, *arguments, timeout_s=timeout_s)

    @property
    def volatile(self) -> FlaggedSocket:
        """Emits what may be lost if the client cannot take it at once."""
        return self._flagged().volatile

    def compress(self, compress: bool) -> FlaggedSocket:
        """Return what emits events that transports may compress, or may not."""
        return self._flagged().compress(compress)

    def timeout(self, timeout_s: float) -> FlaggedSocket:
        """Return what emits with a time for answers, in seconds; it must be above zero."""
        return self._flagged().timeout(timeout_s)

    def _flagged(self) -> FlaggedSocket:
        return FlaggedSocket(self, Target(excluded=(self.public_id,)))

    async def wait_drained(self) -> None:
        """Wait until the client has taken what was sent to it.

        Raises:
            SessionClosed: the client is gone.
        """
        self.namespace._workers.check_thread()
        if not self._is_reachable:
            raise self._closed()
        try:
            await self.session.wait_drained()
        except SessionClosed as error:
            raise SessionClosed(error.reason, self.public_id) from None

    # -- sending to the others

    @property
    def broadcast(self) -> Broadcast:
        """All sockets of the namespace except this one."""
        return Broadcast(self.namespace, Target(excluded=(self.public_id,)))

    @property
    def local(self) -> Broadcast:
        """The other sockets on this node."""
        return self.broadcast.local

    def to(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The other sockets in these rooms."""
        return self.broadcast.to(rooms)

    in_ = to

    def except_(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The other sockets, except those in these rooms."""
        return self.broadcast.except_(rooms)

    # -- listeners and middleware for every event

    def use(self, function: "Function") -> "Function":
        """Register event middleware: called with each event, as a list of its name and arguments.

        It is plain or async, and runs in order of registration, before the handler, which gets the
        arguments as they are in the list then. An exception drops the event: EventRefused silently,
        any other as a failure. No acknowledgement is sent.

        Raises:
            LocalProtocolError: it cannot be called with a list.
        """
        self.namespace._workers.check_thread()
        events = self._open_events()
        events.intercept().use(function)
        events.reconsider()
        return function

    def on_any(self, listener: "Function") -> "Function":
        """Register a catch-all listener: called with every event's name and arguments.

        It is plain or async, and runs before middleware and the handler, which wait for it. An
        exception is logged and counted, and stops neither.
        """
        self._listen(len(self.listeners_any()), listener)
        return listener

    def prepend_any(self, listener: "Function") -> "Function":
        """Register a catch-all listener before the others; see on_any."""
        self._listen(0, listener)
        return listener

    def off_any(self, listener: "Listener | None" = None) -> None:
        """Remove a catch-all listener, or all of them; one that is not registered is ignored."""
        self.namespace._workers.check_thread()
        interception = None if self._events is None else self._events.interception
        if self._events is not None and interception is not None:
            interception.unlisten(listener)
            self._events.reconsider()

    def listeners_any(self) -> "list[Listener]":
        """Return the catch-all listeners, in the order in which they are called."""
        interception = None if self._events is None else self._events.interception
        return [] if interception is None else list(interception.listeners)

    def _listen(self, place: int, listener: "Listener") -> None:
        self.namespace._workers.check_thread()
        events = self._open_events()
        events.intercept().listen(place, listener)
        events.reconsider()

    def on_any_outgoing(self, listener: "Function") -> "Function":
        """Register an outgoing listener: called with the name and arguments of every event sent.

        It is called before the event is sent, for broadcasts that reach the socket too, but not for
        acknowledgements. An exception is logged and counted, and does not stop the event.

        Raises:
            LocalProtocolError: it is async, and an emit cannot wait for it.
        """
        self._overheard_by(len(self.listeners_any_outgoing()), listener)
        return listener

    def prepend_any_outgoing(self, listener: "Function") -> "Function":
        """Register an outgoing listener before the others; see on_any_outgoing."""
        self._overheard_by(0, listener)
        return listener

    def off_any_outgoing(self, listener: "Listener | None" = None) -> None:
        """Remove an outgoing listener, or all; one that is not registered is ignored."""
        self.namespace._workers.check_thread()
        if self._outgoing is not None:
            remove_listener(self._outgoing.listeners, listener)
            if not self._outgoing.listeners:
                self._outgoing = None
                self.namespace._overheard.discard(self)

    def listeners_any_outgoing(self) -> "list[Listener]":
        """Return the outgoing listeners, in the order in which they are called."""
        return [] if self._outgoing is None else list(self._outgoing.listeners)

    def _overheard_by(self, place: int, listener: "Listener") -> None:
        self.namespace._workers.check_thread()
        check_outgoing(listener)
        if self._outgoing is None:
            self._outgoing = OutgoingListeners(self.namespace._workers)
        self._outgoing.listeners.insert(place, listener)
        if self.connected:
            self.namespace._overheard.add(self)

    # -- for the package

    @property
    def _early_rooms(self) -> set[str]:
        """The rooms that the socket will be in when it joins."""
        return {self.id, self.public_id, *(self._membership.joined or ())}

    @property
    def _is_reachable(self) -> bool:
        """Whether what is emitted to it is sent: its client knows that it is connected."""
        return self._membership.life is _JOINED or self._membership.life is _ACCEPTED

    def _closed(self) -> SessionClosed:
        """Return the error for those who wait for a client that is not reachable."""
        reason = self._membership.reason or "the client has not joined yet"
        return SessionClosed(reason, self.public_id)

    def _open_events(self) -> Events:
        if self._events is None:
            self._events = Events(self.namespace)
        return self._events

    def _open_acks(self) -> PendingAcks:
        if self._acks is None:
            self._acks = PendingAcks(self._participant)
        return self._acks
