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

from trio_socketio.engine.session import MAX_PAUSE_S
from trio_socketio.socketio.packet_log import Destination, PacketLog
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.session_weight import weigh_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.net.deadlines import Deadlines, Entry
    from trio_socketio.options import ServerOptions
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.target import Target

HEAVIEST_SHARE: Final = 64
"""The part of all saved sessions' bytes that one of them may take."""


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
        self._max_bytes = options.state_recovery_max_session_bytes
        # By pid, oldest first, with their weights: the program may change a session's data later.
        self._sessions: dict[str, tuple[SavedSession, Registry, int]] = {}
        self._bytes = 0
        self._deadlines = deadlines
        self._stopped = False
        self.recovered = 0  # sessions that were gone on with
        self.expired = 0  # sessions that were given up
        self.refused = 0  # wishes to go on that were not granted
        self.deadline_entry: Entry | None = None

    @property
    def session_bytes(self) -> int:
        """Weight of those sessions."""
        return self._bytes

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
        weight = weigh_session(session)
        if session.pid in self._sessions:
            self.release(session.pid)
        self._sessions[session.pid] = (session, registry, weight)
        self._bytes += weight
        # One that is too heavy is given up at once: it would cost many others theirs.
        if self._stopped or weight > self._max_bytes // HEAVIEST_SHARE:
            self.end(session.pid)
            return
        while len(self._sessions) > self._max_sessions or self._bytes > self._max_bytes:
            self.end(next(iter(self._sessions)))
        self._deadlines.schedule(self)

    def find(self, pid: str) -> "SavedSession | None":
        """The session of that pid, if its time has not run out."""
        session, _, _ = self._sessions.get(pid, (None, None, 0))
        return session if session and session.ends_at > trio.current_time() else None

    def release(self, pid: str) -> None:
        """A session has found its client: nobody else can ask for it."""
        _, _, weight = self._sessions.pop(pid)
        self._bytes -= weight

    def end(self, pid: str) -> None:
        """Nobody will go on with a session that is kept here any more."""
        session, registry, _ = self._sessions[pid]
        self.release(pid)
        self.tell_expired(session, registry)

    def tell_expired(self, session: "SavedSession", registry: "Registry") -> None:
        """Nobody will go on with a session any more, wherever it was kept."""
        self.expired += 1
        handler = registry.expired
        if handler is not None:
            registry.workers.submit(ServerSideEvent(registry.name, handler, [session], None))

    def give_up(self, pid: str) -> None:
        """The same for one that may have ended already."""
        if pid in self._sessions:
            self.end(pid)

    def stop(self) -> None:
        """End all sessions, and those that come: they would not outlive the server."""
        self._stopped = True
        for pid in tuple(self._sessions):
            self.end(pid)

    # -- Expiring

    def next_deadline(self) -> float:
        """See Expiring."""
        session, _, _ = next(iter(self._sessions.values()), (None, None, 0))
        return min(session.ends_at if session else inf, self.log.next_deadline())

    def expire(self, now: float) -> None:
        """See Expiring."""
        self.log.trim(now)
        while self._sessions:
            pid, (session, _, _) = next(iter(self._sessions.items()))
            if session.ends_at > now:
                break
            self.end(pid)
