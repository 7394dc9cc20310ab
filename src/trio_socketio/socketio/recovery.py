"""Connection state recovery, in memory: a client that was lost goes on where it was.

What is emitted is logged with whom it was for, and its event tells its offset to the client. When a
connection breaks, the session is kept: the socket's id, rooms and data. A client that comes back in
time names its session (the pid, a secret) and the last offset that it has; it gets its socket back,
and what it missed. Two questions decide whether it can:

- what has it? The offset says so. It may be an old one, though: in a quiet room nothing may have
  come for hours. But a client that answered a ping has all that was sent before the ping.
- what is it missing? Packets are logged for as long as a session may need them. If one has been
  dropped before that, for there were too many, nobody knows, and a new session begins.
"""

from math import inf
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.engine.session import MAX_PAUSE_S
from trio_socketio.socketio.adapter import Adapter, Target
from trio_socketio.socketio.broadcast import check_event
from trio_socketio.socketio.flagged_socket import FlaggedSocket
from trio_socketio.socketio.packet_log import Destination, PacketLog
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.net.deadlines import Deadlines, Entry
    from trio_socketio.options import ServerOptions
    from trio_socketio.socketio.handlers import Workers
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer

RECOVERABLE: Final = frozenset(
    (
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "forced server close",
    )
)
"""Reasons of a disconnect after which the client may come back to what it had."""

MAX_CHANGES: Final = 1000
"""Of a socket's rooms, that are remembered for as long as older packets are logged."""


class RoomChange(msgspec.Struct, frozen=True, gc=False):
    """A socket joined or left a room.

    Args:
        number: of the last packet before.
        room: which.
        was_member: whether it was in it before.
    """

    number: int
    room: str
    was_member: bool


class SavedSession(msgspec.Struct):
    """What is kept of a socket whose client may come back.

    Args:
        pid: what the client calls it; a secret.
        id: of the socket.
        namespace: name of it.
        rooms: that the socket was in, without its own.
        data: what the program remembers of the client.
        received: number of a packet; the client has it and all before it.
        confirmed: the same, as the heartbeat tells.
        blind: number of a packet; nobody knows any more in which rooms the socket was before it.
        changes: of its rooms, in order.
        ends_at: when it is given up, on trio's clock.
    """

    pid: str
    id: str
    namespace: str
    rooms: frozenset[str]
    data: dict[str, Any]
    received: int
    confirmed: int
    blind: int
    changes: tuple[RoomChange, ...]
    ends_at: float


class Recovery:
    """The log and the sessions of a server, all namespaces together, while it serves.

    Args:
        options: bound them.
        deadlines: end sessions.
    """

    def __init__(self, options: "ServerOptions", deadlines: "Deadlines") -> None:
        self.skip_middlewares = options.state_recovery_skip_middlewares
        self.disconnection_s = options.state_recovery_max_disconnection_s
        # A live client has answered a ping that was sent no longer ago than this.
        self.heartbeat_s = options.ping_interval_s + 2 * options.ping_timeout_s + MAX_PAUSE_S
        self.missed_bound_bytes = 4 * options.output_bound_bytes  # at 8 clients are given up
        self.log = PacketLog(
            options.state_recovery_max_packets,
            options.state_recovery_max_bytes,
            self.disconnection_s + self.heartbeat_s,
        )
        self._max_sessions = options.state_recovery_max_sessions
        self._sessions: dict[str, tuple[SavedSession, Namespace]] = {}  # by pid, oldest first
        self._deadlines = deadlines
        self._stopped = False
        self.recovered = 0  # sessions that were gone on with
        self.expired = 0  # sessions that were given up
        self.refused = 0  # wishes to go on that were not granted
        self.deadline_entry: Entry | None = None

    @property
    def session_count(self) -> int:
        """Sessions that may be asked for."""
        return len(self._sessions)

    def log_packet(
        self, packet: Outgoing, destinations: "Iterable[Destination]", target: Target
    ) -> None:
        """Add a packet to the log."""
        self.log.add(packet, destinations, target.rooms, target.excluded, trio.current_time())
        if self.deadline_entry is None:
            self._deadlines.schedule(self)

    def keep(self, session: SavedSession, namespace: "Namespace") -> None:
        """Keep a session until it is asked for, or its time runs out."""
        self._sessions[session.pid] = (session, namespace)
        if self._stopped:
            self.end(session.pid)
            return
        if len(self._sessions) > self._max_sessions:
            self.end(next(iter(self._sessions)))
        self._deadlines.schedule(self)

    def find(self, pid: str) -> SavedSession | None:
        """The session of that pid, if its time has not run out."""
        session, _ = self._sessions.get(pid, (None, None))
        return session if session and session.ends_at > trio.current_time() else None

    def release(self, pid: str) -> None:
        """A session has found its client: nobody else can ask for it."""
        del self._sessions[pid]

    def end(self, pid: str) -> None:
        """Nobody will go on with a session any more."""
        session, namespace = self._sessions.pop(pid)
        self.expired += 1
        handler = namespace.expiry_handler
        if handler is not None:
            namespace.workers.submit(ServerSideEvent(namespace, handler, [session], None))

    def stop(self) -> None:
        """End all sessions, and those that come: they would not outlive the server."""
        self._stopped = True
        for pid in tuple(self._sessions):
            self.end(pid)

    # -- Expiring

    def next_deadline(self) -> float:
        """See Expiring."""
        session, _ = next(iter(self._sessions.values()), (None, None))
        return min(session.ends_at if session else inf, self.log.next_deadline())

    def expire(self, now: float) -> None:
        """See Expiring."""
        self.log.trim(now)
        while self._sessions:
            pid, (session, _) = next(iter(self._sessions.items()))
            if session.ends_at > now:
                break
            self.end(pid)


class RecoveringAdapter(Adapter):
    """See Adapter. Logs what it sends, and keeps sessions; one node, in memory.

    Args:
        namespace: whose sockets it serves.
        recovery: of the server.
    """

    recovers = True

    def __init__(self, namespace: "Namespace", recovery: Recovery) -> None:
        super().__init__(namespace)
        self.recovery = recovery
        self._log = recovery.log
        self._name = namespace.name

    # -- membership

    def add(self, socket: Socket, room: str) -> None:
        """See Adapter."""
        was_member = room in (socket.joined or ())
        super().add(socket, room)
        if not was_member and isinstance(socket, RecoverableSocket):
            socket.note_change(room, was_member=False)

    def remove(self, socket: Socket, room: str) -> None:
        """See Adapter."""
        was_member = room in (socket.joined or ())
        super().remove(socket, room)
        if was_member and isinstance(socket, RecoverableSocket):
            socket.note_change(room, was_member=True)

    # -- emitting

    def broadcast(self, arguments: list[Any], target: Target) -> None:
        """See Adapter."""
        namespace = self._namespace
        if namespace.overheard:
            namespace.encode_event(arguments, None)  # nobody hears of what cannot be sent
            self.overhear(arguments, target)
        packet = self._mark(arguments, volatile=target.volatile, compress=target.compress)
        chosen = namespace.rooms.select(target.rooms, target.excluded)
        if target.volatile:
            for socket in chosen:
                socket.session.send_volatile(packet)
            return
        destinations: list[Destination] = [(self._name, room) for room in target.rooms]
        if not destinations:
            destinations = [(self._name,)]
        self.recovery.log_packet(packet, destinations, target)
        for socket in chosen:
            socket.session.send(packet)

    def emit_to(
        self, socket: "RecoverableSocket", arguments: list[Any], *, volatile: bool, compress: bool
    ) -> None:
        """Send an event to one socket, or to the one that goes on in its place.

        Raises:
            LocalProtocolError: see broadcast.
        """
        if socket.is_overheard:
            self._namespace.encode_event(arguments, None)
            socket.overhear(arguments)
        packet = self._mark(arguments, volatile=volatile, compress=compress)
        live = socket if socket.connected else self._namespace.sockets.get(socket.id)
        if live is None and (volatile or socket.saved_until <= trio.current_time()):
            socket.session.drop()
        elif volatile and live is not None:
            live.session.send_volatile(packet)
        else:
            self.recovery.log_packet(packet, [(self._name, socket.id, "")], _ALONE)
            if live is not None:
                live.session.send(packet)

    def _mark(self, arguments: list[Any], *, volatile: bool, compress: bool) -> Outgoing:
        """An event with its offset; a volatile one, which is not logged, has the last.

        Official clients take any text at the end of an event for its offset.
        """
        offset = self._log.offset(self._log.last if volatile else self._log.last + 1)
        packet = self._namespace.encode_event([*arguments, offset], None)
        packet.compress = compress
        return packet

    # -- sessions

    def create_socket(
        self,
        peer: "Peer",
        socket_id: str,
        auth: dict[str, Any],
        restored: SavedSession | None,
    ) -> Socket:
        """See Adapter."""
        return RecoverableSocket(self._namespace, peer, socket_id, auth, self, restored)

    async def persist_session(self, session: SavedSession) -> None:
        """See Adapter."""
        self.recovery.keep(session, self._namespace)
        await trio.lowlevel.checkpoint()

    async def restore_session(self, pid: str, offset: str | None) -> SavedSession | None:
        """See Adapter."""
        session = self._claim(pid, offset)
        if session is None:
            self.recovery.refused += 1
        await trio.lowlevel.checkpoint()
        return session

    def _claim(self, pid: str, offset: str | None) -> SavedSession | None:
        recovery, log = self.recovery, self._log
        session = recovery.find(pid)
        number = log.number_of(offset)
        if session is None or session.namespace != self._name or number > log.last:
            return None
        # An offset from before the session is of another: official clients keep it.
        received = max(number, session.received)
        known = max(log.dropped, session.blind)
        session.received = max(received, known)
        missed_bytes = sum(packet.byte_count() for packet in self.missed(session))
        if max(received, session.confirmed) < known or missed_bytes > recovery.missed_bound_bytes:
            recovery.end(pid)
            return None
        recovery.release(pid)
        return session

    def missed(self, session: SavedSession) -> list[Outgoing]:
        """What was sent to a session, and its client has not got, in order."""
        rooms = {session.id, *session.rooms}
        names = {*rooms, *(change.room for change in session.changes)}
        destinations: list[Destination] = [(self._name, room) for room in names]
        destinations += [(self._name,), (self._name, session.id, "")]
        changes = list(session.changes)
        missed = []
        for logged in reversed(self._log.find(session.received, destinations)):
            while changes and changes[-1].number >= logged.number:
                change = changes.pop()  # back to what was before
                (rooms.add if change.was_member else rooms.discard)(change.room)
            if logged.is_for(rooms):
                missed.append(logged.packet)
        missed.reverse()
        return missed

    def save(self, socket: "RecoverableSocket") -> SavedSession:
        """What has to be kept of a socket that is leaving."""
        now = trio.current_time()
        certain = now - self.recovery.heartbeat_s
        confirmed = self._log.position_at(certain) if socket.entered_at <= certain else 0
        return SavedSession(
            pid=socket.pid,
            id=socket.id,
            namespace=self._name,
            rooms=socket.rooms - {socket.id},
            data=socket.data,
            received=socket.received,
            confirmed=confirmed,
            blind=socket.blind,
            changes=socket.list_changes(),
            ends_at=now + self.recovery.disconnection_s,
        )


_ALONE: Final = Target()


class RecoverableSocket(Socket):
    """See Socket. Its client may lose the connection, and go on with another.

    Args:
        namespace: where.
        peer: the session and its other sockets.
        socket_id: see Socket.
        auth: the payload of its CONNECT.
        adapter: of the namespace.
        restored: the session that it goes on with.
    """

    __slots__ = (
        "_adapter",
        "_changes",
        "_recovered",
        "_restored",
        "blind",
        "entered_at",
        "pid",
        "received",
        "saved_until",
    )

    def __init__(
        self,
        namespace: "Namespace",
        peer: "Peer",
        socket_id: str,
        auth: dict[str, Any],
        adapter: RecoveringAdapter,
        restored: SavedSession | None,
    ) -> None:
        super().__init__(namespace, peer, socket_id, auth)
        self._adapter = adapter
        self._restored = restored  # until it has entered
        self._recovered = restored is not None
        self._changes: dict[tuple[int, str], bool] | None = None  # see RoomChange
        self.received = 0
        self.blind = 0
        self.entered_at = inf
        self.saved_until = -inf
        if restored is None:
            self.pid = namespace.server.new_socket_id()
        else:
            self.pid = restored.pid
            self.joined = set(restored.rooms)
            self._data = restored.data

    @property
    def recovered(self) -> bool:
        """See Socket."""
        return self._recovered

    # -- sending

    def emit(self, event: str, *arguments: Any) -> None:
        """See Socket. While the client may come back, it gets what is sent meanwhile then."""
        if type(event) is not str or event in RESERVED_EVENTS:
            check_event(event)
        self._adapter.emit_to(self, [event, *arguments], volatile=False, compress=True)

    def emit_flagged(self, arguments: list[Any], target: Target) -> None:
        """Emit with the flags of a target."""
        self._adapter.emit_to(self, arguments, volatile=target.volatile, compress=target.compress)

    def _flagged(self) -> FlaggedSocket:
        return RecoverableFlaggedSocket(self, self.broadcast.target)

    # -- its rooms

    def note_change(self, room: str, *, was_member: bool) -> None:
        """It has joined or left a room."""
        if self._changes is None or room == self.id:
            return
        log = self._adapter.recovery.log
        self._changes.setdefault((log.last, room), was_member)
        if len(self._changes) > MAX_CHANGES:
            self._changes = {key: was for key, was in self._changes.items() if key[0] > log.dropped}
            if len(self._changes) > MAX_CHANGES // 2:
                self.blind = log.last
                self._changes = {}

    def list_changes(self) -> tuple[RoomChange, ...]:
        """Changes of its rooms that matter to packets in the log."""
        dropped = self._adapter.recovery.log.dropped
        return tuple(
            RoomChange(number, room, was_member)
            for (number, room), was_member in (self._changes or {}).items()
            if number > dropped
        )

    # -- its beginning

    @property
    def skips_middleware(self) -> bool:
        """See Socket."""
        return self._recovered and self._adapter.recovery.skip_middlewares

    def credentials(self) -> dict[str, Any]:
        """See Socket."""
        return {"sid": self.id, "pid": self.pid}

    def enter(self) -> None:
        """See Socket; what the client missed comes before all that is new."""
        log = self._adapter.recovery.log
        session, self._restored = self._restored, None
        if session is None:
            self.received = log.last
            super().enter()
            self._changes = {}
        else:
            self._adapter.recovery.recovered += 1
            missed = self._adapter.missed(session)
            self.peer.accept(self)
            for packet in missed:
                self.session.send(packet)
            self.enter_rooms()
            self.received = session.received
            self.blind = session.blind
            changes = {(c.number, c.room): c.was_member for c in session.changes}
            for room in session.rooms ^ (self.joined or set()):  # by middleware
                changes.setdefault((log.last, room), room in session.rooms)
            self._changes = changes
        self.entered_at = trio.current_time()

    def stay_out(self, *, refused: bool) -> None:
        """See Socket; a session is not used up by a client that was lost once more."""
        session, self._restored = self._restored, None
        if session is not None:
            recovery = self._adapter.recovery
            recovery.keep(session, self.namespace)
            if refused:
                recovery.end(session.pid)

    # -- its end

    def _leave_rooms(self) -> None:
        super()._leave_rooms()
        if self.reason in RECOVERABLE:
            session = self._adapter.save(self)
            self.saved_until = session.ends_at
            self.namespace.workers.submit(_Saving(self._adapter, session))


class RecoverableFlaggedSocket(FlaggedSocket):
    """See FlaggedSocket."""

    __slots__ = ()

    def emit(self, event: str, *arguments: Any) -> None:
        """See RecoverableSocket.emit."""
        check_event(event)
        assert isinstance(self._socket, RecoverableSocket)
        self._socket.emit_flagged([event, *arguments], self._target)


class _Saving:
    """A session on its way to where it is kept."""

    __slots__ = ("_adapter", "_session")

    def __init__(self, adapter: RecoveringAdapter, session: SavedSession) -> None:
        self._adapter = adapter
        self._session = session

    async def run(self, workers: "Workers") -> bool:
        """See Job."""
        try:
            await workers.call_async(self._adapter.persist_session, self._session)
        except Exception as error:
            workers.log_failure("keeping a session", self._session.id, error)
        return True
