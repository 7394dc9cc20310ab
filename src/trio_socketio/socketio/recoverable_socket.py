"""A socket whose client may lose the connection, and come back to it."""

from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.socketio.broadcast import check_event
from trio_socketio.socketio.flagged_socket import FlaggedSocket
from trio_socketio.socketio.saved_session import RoomChange
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.adapter import Target
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer
    from trio_socketio.socketio.recovering_adapter import RecoveringAdapter
    from trio_socketio.socketio.saved_session import SavedSession

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
        adapter: "RecoveringAdapter",
        restored: "SavedSession | None",
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
        if get_ident() != self.namespace.workers.thread:
            self.namespace.workers.check_thread()
        if type(event) is not str or event in RESERVED_EVENTS:
            check_event(event)
        self._adapter.emit_to(self, [event, *arguments], volatile=False, compress=True)

    def emit_flagged(self, arguments: list[Any], target: "Target") -> None:
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
    def received_so_far(self) -> int:
        """Number of the last packet that its client has, while it has not joined yet."""
        session = self._restored
        return self._adapter.recovery.log.last if session is None else session.received

    @property
    def skips_middleware(self) -> bool:
        """See Socket."""
        return self._recovered and self._adapter.recovery.skip_middlewares

    def credentials(self) -> dict[str, Any]:
        """See Socket."""
        return {"sid": self.id, "pid": self.pid}

    def _enter_rooms(self) -> None:
        # What the client missed comes before all that is new.
        log = self._adapter.recovery.log
        session, self._restored = self._restored, None
        if session is None:
            self.received = log.last
            super()._enter_rooms()
            self._changes = {}
        else:
            self._adapter.recovery.recovered += 1
            for packet in self._adapter.missed(session):
                self.session.send(packet)
            super()._enter_rooms()
            self.received = session.received
            self.blind = session.blind
            changes = {(c.number, c.room): c.was_member for c in session.changes}
            for room in session.rooms ^ (self.joined or set()):  # by middleware
                changes.setdefault((log.last, room), room in session.rooms)
            self._changes = changes
        self.entered_at = trio.current_time()

    # -- its end

    def _save(self) -> bool:
        if self.reason not in RECOVERABLE:
            return False
        session = self._adapter.save(self)
        self.saved_until = session.ends_at
        self.namespace.workers.submit(_Saving(self._adapter, session))
        return True


class RecoverableFlaggedSocket(FlaggedSocket):
    """See FlaggedSocket."""

    __slots__ = ()

    def emit(self, event: str, *arguments: Any) -> None:
        """See RecoverableSocket.emit."""
        self._socket.namespace.workers.check_thread()
        check_event(event)
        assert isinstance(self._socket, RecoverableSocket)
        self._socket.emit_flagged([event, *arguments], self._target)


class _Saving:
    """A session on its way to where it is kept."""

    __slots__ = ("_adapter", "_session")

    def __init__(self, adapter: "RecoveringAdapter", session: "SavedSession") -> None:
        self._adapter = adapter
        self._session = session

    async def run(self, workers: "Workers") -> bool:
        """See Job."""
        try:
            await workers.call_async(self._adapter.persist_session, self._session)
        except BaseException as error:
            workers.log_failure("keeping a session", self._session.id, error)
        return True
