"""A namespace's part in state recovery: what is sent is marked and logged, sessions find it again.

It is plugged into a namespace while state_recovery is on, and works with any adapter, because each
node logs what it delivers to its own sockets, wherever it came from. An adapter may keep sessions
elsewhere (`Adapter.persist_session`, `Adapter.restore_session`); what their clients have missed is
in the log of this node all the same.
"""

from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.outgoing_listeners import OutgoingListeners
    from trio_socketio.socketio.packet_log import Destination
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.recovery import Recovery
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.rooms import Rooms
    from trio_socketio.socketio.saved_session import SavedSession

_ALONE: Final = Target()


class RecoverablePlace(Protocol):
    """The namespace."""

    @property
    def name(self) -> str:
        """Of the namespace."""

    @property
    def rooms(self) -> "Rooms[Any]":
        """Know its sockets."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes its packets."""

    @property
    def _registry(self) -> "Registry":
        """Knows who is told of sessions that expire."""


class RecoverableSocket(Protocol):
    """A socket whose client may come back."""

    @property
    def id(self) -> str:
        """See Socket."""

    @property
    def connected(self) -> bool:
        """See Socket."""

    @property
    def session(self) -> "Session":
        """See Socket."""

    @property
    def _is_reachable(self) -> bool:
        """See Socket."""

    @property
    def _outgoing(self) -> "OutgoingListeners | None":
        """See Socket."""


class NamespaceRecovery:
    """Marks and logs what is sent to the sockets of one namespace of this node.

    Args:
        place: the namespace.
        recovery: the log and the sessions of the server.

    Attributes:
        shared: the log and the sessions of the server.
    """

    def __init__(self, place: RecoverablePlace, recovery: "Recovery") -> None:
        self.shared = recovery
        self._log = recovery.log
        self._place = place
        self._name = place.name

    # -- sending

    def log_broadcast(self, arguments: list[Any], target: Target) -> "Outgoing":
        """Write an event for the sockets of target, with its offset, and log it.

        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was logged.
        """
        # RECOVER-11: whatever adapter it came through, this node delivers it now.
        packet = self._mark(arguments, volatile=target.volatile, compress=target.compress)
        if not target.volatile:
            destinations: list[Destination] = [(self._name, room) for room in target.rooms]
            self.shared.log_packet(packet, destinations or [(self._name,)], target)
        return packet

    def emit_to(
        self,
        socket: RecoverableSocket,
        arguments: list[Any],
        *,
        volatile: bool,
        compress: bool,
        saved_until: float,
    ) -> None:
        """Send an event to one socket, or to the one that goes on in its place.

        Args:
            socket: which.
            arguments: the event's name, then what goes with it.
            volatile: see Target.
            compress: see Target.
            saved_until: when its session ends, if it is saved.
        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        if socket._outgoing is not None:
            self._place._packets.encode_event(arguments, None)  # unsendable: nobody hears of it
            socket._outgoing.overhear(socket, arguments)
        packet = self._mark(arguments, volatile=volatile, compress=compress)
        live = socket if socket.connected else self._place.rooms.sockets.get(socket.id)
        if live is None and (volatile or saved_until <= trio.current_time()):
            socket.session.drop()
        elif volatile and live is not None:
            live.session.send_volatile(packet)
        else:
            self.shared.log_packet(packet, [(self._name, socket.id, "")], _ALONE)
            if live is not None:
                live.session.send(packet)

    def _mark(self, arguments: list[Any], *, volatile: bool, compress: bool) -> "Outgoing":
        """Write an event with its offset; a volatile one, which is not logged, has the last.

        Official clients take any text at the end of an event for its offset.
        """
        offset = self._log.offset(self._log.last if volatile else self._log.last + 1)
        packet = self._place._packets.encode_event([*arguments, offset], None)
        packet.compress = compress
        return packet

    def emit_early(
        self,
        socket: RecoverableSocket,
        arguments: list[Any],
        *,
        volatile: bool,
        compress: bool,
        received: int,
    ) -> None:
        """Send to a client that was accepted and has not joined. Nothing of that is recovered.

        Its offset must not claim that the client has what it will be sent on joining.
        """
        offset = self._log.offset(received)
        packet = self._place._packets.encode_event([*arguments, offset], None)
        packet.compress = compress
        if volatile:
            socket.session.send_volatile(packet)
        else:
            socket.session.send(packet)

    # -- sessions

    def tell_expired(self, session: "SavedSession") -> None:
        """Nobody will go on with a session that was handed out."""
        self.shared.tell_expired(session, self._place._registry)

    def keep(self, session: "SavedSession") -> None:
        """Keep a session in memory until its client comes back, or its time runs out."""
        self.shared.keep(session, self._place._registry)

    def hand_out(self, pid: str) -> "SavedSession | None":
        """Give a session that was kept in memory, once (RECOVER-03)."""
        session = self.shared.find(pid)
        if session is None or session.namespace != self._name:
            return None
        self.shared.release(pid)
        return session

    def is_offset(self, offset: str | None) -> bool:
        """Whether a packet can have had that offset, as far as anybody knows here."""
        return self._log.number_of(offset) <= self._log.last

    def can_go_on(self, session: "SavedSession", offset: str | None) -> bool:
        """Whether all that the client of a session has missed is known. Given up otherwise.

        Args:
            session: notes what the client has.
            offset: of the last packet that the client has; None when it names none.
        """
        shared, log = self.shared, self._log
        # RECOVER-04: an offset from before the session is of another: official clients keep it.
        received = max(log.number_of(offset), session.received)
        known = max(log.dropped, session.blind)
        session.received = max(received, known)
        missed_bytes = sum(packet.byte_count() for packet in self.missed(session))
        # RECOVER-05: no gap, rather a new session.
        if max(received, session.confirmed) < known or missed_bytes > shared.missed_bound_bytes:
            shared.tell_expired(session, self._place._registry)
            return False
        return True

    def missed(self, session: "SavedSession") -> "list[Outgoing]":
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
