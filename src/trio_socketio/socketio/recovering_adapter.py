"""An adapter that logs what it sends, keeps sessions, and knows what each has missed."""

from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.socketio.adapter import Adapter, Target
from trio_socketio.socketio.recoverable_socket import RecoverableSocket
from trio_socketio.socketio.saved_session import SavedSession

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.packet_log import Destination
    from trio_socketio.socketio.peer import Peer
    from trio_socketio.socketio.recovery import Recovery
    from trio_socketio.socketio.socket import Socket

_ALONE: Final = Target()


class RecoveringAdapter(Adapter):
    """See Adapter. Logs what it sends, and keeps sessions; one node, in memory.

    Args:
        namespace: whose sockets it serves.
        recovery: of the server.
    """

    recovers = True

    def __init__(self, namespace: "Namespace", recovery: "Recovery") -> None:
        super().__init__(namespace)
        self.recovery = recovery
        self._log = recovery.log
        self._name = namespace.name

    # -- membership

    def add(self, socket: "Socket", room: str) -> None:
        """See Adapter."""
        was_member = room in (socket.joined or ())
        super().add(socket, room)
        if not was_member and isinstance(socket, RecoverableSocket):
            socket.note_change(room, was_member=False)

    def remove(self, socket: "Socket", room: str) -> None:
        """See Adapter."""
        was_member = room in (socket.joined or ())
        super().remove(socket, room)
        if was_member and isinstance(socket, RecoverableSocket):
            socket.note_change(room, was_member=True)

    # -- emitting

    def broadcast(self, arguments: list[Any], target: Target) -> int:
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
            return len(chosen)
        destinations: list[Destination] = [(self._name, room) for room in target.rooms]
        if not destinations:
            destinations = [(self._name,)]
        self.recovery.log_packet(packet, destinations, target)
        for socket in chosen:
            socket.session.send(packet)
        return len(chosen)

    def emit_to(
        self, socket: RecoverableSocket, arguments: list[Any], *, volatile: bool, compress: bool
    ) -> None:
        """Send an event to one socket, or to the one that goes on in its place.

        Raises:
            LocalProtocolError: see broadcast.
        """
        if socket.is_overheard:
            self._namespace.encode_event(arguments, None)
            socket.overhear(arguments)
        if socket.is_reachable and not socket.connected:
            self._emit_early(socket, arguments, volatile=volatile, compress=compress)
            return
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

    def _emit_early(
        self, socket: RecoverableSocket, arguments: list[Any], *, volatile: bool, compress: bool
    ) -> None:
        """Send to a client that was accepted and has not joined. Nothing of that is recovered.

        Its offset must not claim that the client has what it will be sent on joining.
        """
        offset = self._log.offset(socket.received_so_far)
        packet = self._namespace.encode_event([*arguments, offset], None)
        packet.compress = compress
        if volatile:
            socket.session.send_volatile(packet)
        else:
            socket.session.send(packet)

    def _mark(self, arguments: list[Any], *, volatile: bool, compress: bool) -> "Outgoing":
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
    ) -> "Socket":
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

    def missed(self, session: SavedSession) -> "list[Outgoing]":
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

    def save(self, socket: RecoverableSocket) -> SavedSession:
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
