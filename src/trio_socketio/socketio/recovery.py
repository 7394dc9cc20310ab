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
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.socketio.packet_log import Destination, PacketLog
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.session_weight import weigh_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.runtime.deadlines import Deadlines, Entry
    from trio_socketio.socketio.options import RecoveryOptions
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.target import Target

HEAVIEST_SHARE: Final = 64
"""The part of all saved sessions' bytes that one of them may take."""


class KeptSessions:
    """The sessions that are kept in memory, oldest first, bounded in number and weight.

    Args:
        max_sessions: how many there may be.
        max_bytes: how much they may weigh together.

    Attributes:
        byte_count: their weight.
    """

    __slots__ = ("_by_pid", "_max_bytes", "_max_sessions", "byte_count")

    def __init__(self, max_sessions: int, max_bytes: int) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        # With their weights, since the program may change a session's data later.
        self._by_pid: dict[str, tuple[SavedSession, Registry, int]] = {}
        self.byte_count = 0

    def __len__(self) -> int:
        return len(self._by_pid)

    def __contains__(self, pid: str) -> bool:
        return pid in self._by_pid

    def __iter__(self) -> "Iterator[str]":
        """Their pids."""
        return iter(self._by_pid)

    def get(self, pid: str) -> "SavedSession | None":
        """The session of that pid."""
        kept = self._by_pid.get(pid)
        return None if kept is None else kept[0]

    def belongs_to(self, pid: str, registry: "Registry") -> bool:
        """Whether the session of that pid is one of that namespace."""
        return self._by_pid[pid][1] is registry

    def add(self, session: "SavedSession", registry: "Registry") -> bool:
        """Keep a session; whether it is not so heavy that it would cost many others theirs."""
        if session.pid in self._by_pid:
            self.pop(session.pid)
        weight = weigh_session(session)
        self._by_pid[session.pid] = (session, registry, weight)
        self.byte_count += weight
        return weight <= self._max_bytes // HEAVIEST_SHARE

    def pop(self, pid: str) -> "tuple[SavedSession, Registry]":
        """Keep a session no longer.

        Returns:
            The session, and the registry of its namespace.
        """
        session, registry, weight = self._by_pid.pop(pid)
        self.byte_count -= weight
        return session, registry

    def is_too_much(self) -> bool:
        """Whether the oldest has to go."""
        return len(self._by_pid) > self._max_sessions or self.byte_count > self._max_bytes


class Recovery:
    """The log and the sessions of a server, all namespaces together, while it serves.

    Args:
        options: bound them.
        deadlines: end sessions.
        heartbeat_s: a live client has answered a ping that was sent no longer ago than this.
        missed_bound_bytes: what a client may have missed.
    """

    def __init__(
        self,
        options: "RecoveryOptions",
        deadlines: "Deadlines",
        heartbeat_s: float,
        missed_bound_bytes: int,
    ) -> None:
        self.skip_middlewares = options.skip_middlewares
        self.disconnection_s = options.max_disconnection_s
        self.heartbeat_s = heartbeat_s
        self.missed_bound_bytes = missed_bound_bytes
        self.log = PacketLog(
            options.max_packets,
            options.max_bytes,
            self.disconnection_s + self.heartbeat_s,
        )
        self._sessions = KeptSessions(options.max_sessions, options.max_session_bytes)
        self._deadlines = deadlines
        self._stopped = False
        self.recovered = 0  # sessions that were gone on with
        self.expired = 0  # sessions that were given up
        self.refused = 0  # wishes to go on that were not granted
        self.deadline_entry: Entry | None = None

    @property
    def session_bytes(self) -> int:
        """What the sessions weigh that may be asked for."""
        return self._sessions.byte_count

    @property
    def session_count(self) -> int:
        """Sessions that may be asked for."""
        return len(self._sessions)

    def log_packet(
        self, packet: "Outgoing", destinations: "Iterable[Destination]", target: "Target"
    ) -> None:
        """Add a packet to the log."""
        self.log.add(packet, destinations, target.rooms, target.excluded, trio.current_time())
        if self.deadline_entry is None:
            self._deadlines.schedule(self)

    def keep(self, session: "SavedSession", registry: "Registry") -> None:
        """Keep a session until it is asked for, or its time runs out.

        Args:
            session: it.
            registry: of its namespace: its handler of expired sessions is told of the end.
        """
        is_light = self._sessions.add(session, registry)
        if self._stopped or not is_light:
            self.end(session.pid)
            return
        while self._sessions.is_too_much():
            self.end(next(iter(self._sessions)))
        self._deadlines.schedule(self)

    def find(self, pid: str) -> "SavedSession | None":
        """The session of that pid, if its time has not run out."""
        session = self._sessions.get(pid)
        return session if session and session.ends_at > trio.current_time() else None

    def release(self, pid: str) -> None:
        """A session has found its client: nobody else can ask for it."""
        self._sessions.pop(pid)

    def end(self, pid: str) -> None:
        """Nobody will go on with a session that is kept here any more."""
        self.tell_expired(*self._sessions.pop(pid))

    def tell_expired(self, session: "SavedSession", registry: "Registry") -> None:
        """Nobody will go on with a session any more, wherever it was kept."""
        self.expired += 1
        handler = registry.expired
        if handler is not None:
            registry.workers.submit(ServerSideEvent(registry.name, handler, [session], None))

    def end_all_of(self, registry: "Registry") -> None:
        """A namespace is removed: its sessions are not those of another of the same name."""
        for pid in tuple(self._sessions):
            if self._sessions.belongs_to(pid, registry):
                self.end(pid)

    def stop(self) -> None:
        """End all sessions, and those that come: they would not outlive the server."""
        self._stopped = True
        for pid in tuple(self._sessions):
            self.end(pid)

    # -- Expiring

    def next_deadline(self) -> float:
        """See Expiring."""
        oldest = self._oldest()
        return min(inf if oldest is None else oldest.ends_at, self.log.next_deadline())

    def expire(self, now: float) -> None:
        """See Expiring."""
        self.log.trim(now)
        while (oldest := self._oldest()) is not None and oldest.ends_at <= now:
            self.end(oldest.pid)

    def _oldest(self) -> "SavedSession | None":
        return self._sessions.get(next(iter(self._sessions), ""))
