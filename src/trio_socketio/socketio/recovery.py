"""Connection state recovery, in memory: a client that was lost goes on where it was.

Each packet is logged together with its receivers, and the event tells its offset to the client.
When a connection breaks, the session is saved: the socket's id, rooms and data. A client that comes
back in time names its session by the pid, a secret, and the last offset that it has. It gets its
socket back, and the packets that it missed (RECOVER-01). Two questions decide whether that is
possible:

- Which packets does the client have? The offset says so, but it may be old: in a quiet room nothing
  may have come for hours. A client that answered a ping has everything that was sent before the
  ping.
- Which packets is it missing? They are logged for as long as a session may need them. If one of
  them was dropped earlier, because there were too many, nobody knows, and the client starts a new
  session.
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
"""One session may take at most this fraction of the bytes for all saved sessions."""


class KeptSessions:
    """The saved sessions that are kept in memory, oldest first, bounded in number and weight.

    Args:
        max_sessions: how many there may be.
        max_bytes: how much they may weigh together.

    Attributes:
        byte_count: how much they weigh together.
    """

    __slots__ = ("_by_pid", "_max_bytes", "_max_sessions", "byte_count")

    def __init__(self, max_sessions: int, max_bytes: int) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        # With its weight, because the program may change the data of a session later.
        self._by_pid: dict[str, tuple[SavedSession, Registry, int]] = {}
        self.byte_count = 0

    def __len__(self) -> int:
        return len(self._by_pid)

    def __contains__(self, pid: str) -> bool:
        return pid in self._by_pid

    def __iter__(self) -> "Iterator[str]":
        """Iterate over the pids."""
        return iter(self._by_pid)

    def get(self, pid: str) -> "SavedSession | None":
        """Return the session with this pid, or None."""
        kept = self._by_pid.get(pid)
        return None if kept is None else kept[0]

    def belongs_to(self, pid: str, registry: "Registry") -> bool:
        """Whether the session with this pid is one of the namespace with this registry."""
        return self._by_pid[pid][1] is registry

    def add(self, session: "SavedSession", registry: "Registry") -> bool:
        """Keep a session.

        Returns:
            Whether it is light enough; one that is not would cost many other clients their
            sessions.
        """
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
        """Whether the oldest session has to go."""
        return len(self._by_pid) > self._max_sessions or self.byte_count > self._max_bytes


class Recovery:
    """The log and the saved sessions of a server, all namespaces together, while it serves.

    Args:
        options: the bounds.
        deadlines: wake it when sessions expire.
        heartbeat_s: a live client has answered a ping that was sent no longer ago than this.
        missed_bound_bytes: how much a client may have missed.

    Attributes:
        expired: the number of sessions that were given up.
        recovered: the number of sessions that clients went on with.
        refused: the number of clients that came back and had to start a new session.
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
        self.recovered = 0
        self.expired = 0
        self.refused = 0
        self.deadline_entry: Entry | None = None

    @property
    def session_bytes(self) -> int:
        """How much the saved sessions weigh."""
        return self._sessions.byte_count

    @property
    def session_count(self) -> int:
        """The number of saved sessions."""
        return len(self._sessions)

    def log_packet(
        self, packet: "Outgoing", destinations: "Iterable[Destination]", target: "Target"
    ) -> None:
        """Add a packet to the log."""
        self.log.add(packet, destinations, target.rooms, target.excluded, trio.current_time())
        if self.deadline_entry is None:
            self._deadlines.schedule(self)

    def keep(self, session: "SavedSession", registry: "Registry") -> None:
        """Keep a session until its client asks for it, or it expires (RECOVER-05, BND-16).

        Args:
            session: to keep.
            registry: of its namespace, which holds the handler of expired sessions.
        """
        is_light = self._sessions.add(session, registry)
        if self._stopped or not is_light:
            self.end(session.pid)
            return
        while self._sessions.is_too_much():
            self.end(next(iter(self._sessions)))
        self._deadlines.schedule(self)

    def find(self, pid: str) -> "SavedSession | None":
        """Return the session with this pid, unless it has expired."""
        session = self._sessions.get(pid)
        return session if session and session.ends_at > trio.current_time() else None

    def release(self, pid: str) -> None:
        """Hand a session out to its client, which alone can ask for it."""
        self._sessions.pop(pid)

    def end(self, pid: str) -> None:
        """Give up a session that is kept here."""
        self.tell_expired(*self._sessions.pop(pid))

    def tell_expired(self, session: "SavedSession", registry: "Registry") -> None:
        """Count a session that was given up, wherever it was kept, and call the handler."""
        self.expired += 1
        handler = registry.expired
        if handler is not None:
            registry.workers.submit(ServerSideEvent(registry.name, handler, [session], None))

    def end_all_of(self, registry: "Registry") -> None:
        """Give up the sessions of a namespace that is removed.

        They must not be recovered in another namespace of the same name (JOIN-32).
        """
        for pid in tuple(self._sessions):
            if self._sessions.belongs_to(pid, registry):
                self.end(pid)

    def stop(self) -> None:
        """Give up all sessions, and those still to come: they would not outlive the server."""
        self._stopped = True
        for pid in tuple(self._sessions):
            self.end(pid)

    # -- Expiring

    def next_deadline(self) -> float:
        """When the oldest session expires, or the log's oldest packet is too old."""
        oldest = self._oldest()
        return min(inf if oldest is None else oldest.ends_at, self.log.next_deadline())

    def expire(self, now: float) -> None:
        """Drop the packets that are too old, and give up the sessions that have expired."""
        self.log.trim(now)
        while (oldest := self._oldest()) is not None and oldest.ends_at <= now:
            self.end(oldest.pid)

    def _oldest(self) -> "SavedSession | None":
        return self._sessions.get(next(iter(self._sessions), ""))
