"""A socket's part in state recovery: what its client has, and when it was in which rooms."""

from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.socketio.saved_session import RoomChange, SavedSession

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery, RecoverableSocket

RECOVERABLE: Final = frozenset(
    (
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "service restart",  # of our own, see Session.abort
        "forced server close",
    )
)
"""The disconnect reasons after which a client may go on with its session (RECOVER-06)."""

MAX_CHANGES: Final = 1000
"""How many changes of a socket's rooms are noted while older packets are logged."""


class Keeper(Protocol):
    """Keeps sessions; at run time an Adapter."""

    async def persist_session(self, session: SavedSession) -> None:
        """Keep a session."""


class SocketRecovery:
    """The state of a socket that lets its client lose the connection and go on.

    Args:
        namespace: logs what is sent to the socket.
        restored: the session that the socket goes on with; None for a new one.
        pid: of a new session.

    Attributes:
        pid: names the session to its client; a secret.
        recovered: whether the socket goes on where another one left off.
        saved_until: when the session expires that was saved as the socket left, on trio's clock.
    """

    __slots__ = (
        "_blind",
        "_changes",
        "_entered_at",
        "_namespace",
        "_received",
        "_restored",
        "pid",
        "recovered",
        "saved_until",
    )

    def __init__(
        self, namespace: "NamespaceRecovery", restored: SavedSession | None, pid: str
    ) -> None:
        self._namespace = namespace
        self._restored = restored  # until the socket has entered
        self.pid = pid if restored is None else restored.pid
        self.recovered = restored is not None
        self._changes: dict[tuple[int, str], bool] | None = None  # see RoomChange
        self._received = 0  # see SavedSession
        self._blind = 0  # see SavedSession
        self._entered_at = inf
        self.saved_until = -inf

    def emit(
        self, socket: "RecoverableSocket", arguments: list[Any], *, volatile: bool, compress: bool
    ) -> None:
        """Send an event. A client that is away gets it when it comes back in time.

        Args:
            socket: the socket.
            arguments: the event's name, then its arguments.
            volatile: see Target.
            compress: see Target.
        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        if socket._is_reachable and not socket.connected:
            session, log = self._restored, self._namespace.shared.log
            received = log.last if session is None else session.received
            self._namespace.emit_early(
                socket, arguments, volatile=volatile, compress=compress, received=received
            )
            return
        self._namespace.emit_to(
            socket, arguments, volatile=volatile, compress=compress, saved_until=self.saved_until
        )

    def belongs_to(self, user: str) -> bool:
        """Whether a user may go on with the session that was restored, if one was (JOIN-34).

        Its rooms, and what was missed in them, are for the user that it belonged to. A client that
        is refused for this joins anew when it asks again, because the session is over then.
        """
        return self._restored is None or self._restored.user == user

    # -- entering

    def catch_up(self, session: "Session") -> None:
        """Send what the client has missed, before anything new."""
        if self._restored is None:
            self._received = self._namespace.shared.log.last
        else:
            self._namespace.shared.recovered += 1
            for packet in self._namespace.missed(self._restored) or ():
                session.send(packet)

    def entered(self, rooms: frozenset[str]) -> None:
        """Begin to note changes of rooms: the socket is in its first ones.

        Args:
            rooms: those that it is in.
        """
        session, self._restored = self._restored, None
        changes: dict[tuple[int, str], bool] = {}
        if session is not None:
            self._received = session.received
            self._blind = session.blind
            changes = {(c.number, c.room): c.was_member for c in session.changes}
            last = self._namespace.shared.log.last
            for room in session.rooms ^ (rooms - {session.id}):  # middleware has changed them
                changes.setdefault((last, room), room in session.rooms)
        self._changes = changes
        self._entered_at = trio.current_time()

    # -- rooms

    def note_change(self, room: str, *, was_member: bool) -> None:
        """Note that the socket is about to join or leave a room."""
        if self._changes is None:
            return
        log = self._namespace.shared.log
        self._changes.setdefault((log.last, room), was_member)
        if len(self._changes) > MAX_CHANGES:
            self._changes = {key: was for key, was in self._changes.items() if key[0] > log.dropped}
            if len(self._changes) > MAX_CHANGES // 2:
                self._blind = log.last
                self._changes = {}

    def _list_changes(self) -> tuple[RoomChange, ...]:
        """Return the changes of rooms that matter for packets in the log."""
        dropped = self._namespace.shared.log.dropped
        return tuple(
            RoomChange(number, room, was_member)
            for (number, room), was_member in (self._changes or {}).items()
            if number > dropped
        )

    # -- leaving

    def save(
        self,
        socket_id: str,
        namespace: str,
        rooms: frozenset[str],
        data: dict[str, Any],
        user: str | None,
    ) -> SavedSession:
        """Return what has to be saved of the socket, which has left for a recoverable reason.

        Args:
            socket_id: its id.
            namespace: name of its namespace.
            rooms: those that it was in, without its own.
            data: what the program remembers of the client.
            user: who the client is.
        """
        shared = self._namespace.shared
        now = trio.current_time()
        certain = now - shared.heartbeat_s
        is_certain = self._entered_at <= certain
        self.saved_until = now + shared.disconnection_s
        return SavedSession(
            pid=self.pid,
            id=socket_id,
            namespace=namespace,
            rooms=rooms,
            data=data,
            received=self._received,
            confirmed=shared.log.position_at(certain) if is_certain else 0,
            blind=self._blind,
            changes=self._list_changes(),
            ends_at=self.saved_until,
            user=user,
        )


class Saving:
    """A session on its way to where it is kept.

    Args:
        keeper: keeps it.
        session: the session.
        timeout_s: how long that may take. The number of lost clients is not ours to choose, and
            each of them has a task that waits.
    """

    __slots__ = ("_keeper", "_session", "_timeout_s")

    def __init__(self, keeper: Keeper, session: SavedSession, timeout_s: float) -> None:
        self._keeper = keeper
        self._session = session
        self._timeout_s = timeout_s

    async def run(self, workers: "Workers") -> bool:
        """Have the session kept. If that fails, the client has to start a new one (RECOVER-10).

        Returns:
            False, because the clock was not read.
        """
        try:
            with trio.fail_after(self._timeout_s):
                await workers.call_async(self._keeper.persist_session, self._session)
        except BaseException as error:
            workers.log_failure("keeping a session", self._session.id, error)
        return False
