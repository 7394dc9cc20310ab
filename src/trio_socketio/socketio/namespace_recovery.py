"""A namespace's part in state recovery: it marks and logs what is sent, and finds what was missed.

It is plugged into a namespace while state_recovery is on. It works with any adapter, because each
node logs what it delivers to its own sockets, wherever that came from. An adapter may keep sessions
elsewhere (`Adapter.persist_session`, `Adapter.restore_session`); what their clients have missed is
in the log of this node all the same.
"""

from math import inf
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

MAX_MISSED: Final = 10_000
"""Packets of the log that are looked at for one client: more would hold up all the others."""

_ALONE: Final = Target()


class RecoverablePlace(Protocol):
    """The namespace, as far as recovery needs it."""

    @property
    def name(self) -> str:
        """The name of the namespace."""

    @property
    def rooms(self) -> "Rooms[Any]":
        """The index of its sockets and rooms."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes its packets."""

    @property
    def _registry(self) -> "Registry":
        """Holds the handler of expired sessions."""


class RecoverableSocket(Protocol):
    """A socket whose client may come back. The contracts are those of Socket."""

    @property
    def id(self) -> str:
        """The id of the socket."""

    @property
    def public_id(self) -> str:
        """The id that others may see, as in the log."""

    @property
    def connected(self) -> bool:
        """Whether it is in its namespace."""

    @property
    def session(self) -> "Session":
        """The session with the client."""

    @property
    def _is_reachable(self) -> bool:
        """Whether its client knows that it is connected."""

    @property
    def _outgoing(self) -> "OutgoingListeners | None":
        """The listeners of what is sent to it; None if there are none."""


class NamespaceRecovery:
    """Marks and logs what this node sends to the sockets of one namespace.

    Args:
        place: the namespace.
        recovery: the log and the saved sessions of the server.

    Attributes:
        shared: the log and the saved sessions of the server.
    """

    def __init__(self, place: RecoverablePlace, recovery: "Recovery") -> None:
        self.shared = recovery
        self._log = recovery.log
        self._place = place
        self._name = place.name

    # -- sending

    def log_broadcast(self, arguments: list[Any], target: Target) -> "Outgoing":
        """Encode an event for the sockets of target, with its offset, and log it.

        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was logged.
        """
        # RECOVER-11: called for whatever this node delivers, whichever adapter brought it.
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
        """Send an event to a socket, or to the socket that has taken its place after a recovery.

        Args:
            socket: the receiver.
            arguments: the event's name, then its arguments.
            volatile: see Target.
            compress: see Target.
            saved_until: when the session of the socket expires, if it was saved, on trio's clock.
        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        if socket._outgoing is not None:
            # First, so that listeners hear of no event that cannot be sent.
            self._place._packets.encode_event(arguments, None)
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
        """Encode an event with its offset; a volatile event, which is not logged, has the last one.

        It needs one, because official clients take any text at the end of an event for its offset.
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
        """Send an event to a client that was accepted and has not joined. It is not logged.

        Args:
            socket: the receiver.
            arguments: the event's name, then its arguments.
            volatile: see Target.
            compress: see Target.
            received: number of the packet whose offset the event has. A later offset would claim
                that the client has what it will be sent only when it joins.
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
        """Tell that a session which was handed out has expired, since its client did not join."""
        self.shared.tell_expired(session, self._place._registry)

    def keep(self, session: "SavedSession") -> None:
        """Keep a session in memory until its client comes back, or it expires."""
        self.shared.keep(session, self._place._registry)

    def hand_out(self, pid: str) -> "SavedSession | None":
        """Hand out a session that was kept in memory, once (RECOVER-03)."""
        session = self.shared.find(pid)
        if session is None or session.namespace != self._name:
            return None
        self.shared.release(pid)
        return session

    def is_offset(self, offset: str | None) -> bool:
        """Whether a packet of this log can have had this offset."""
        return self._log.number_of(offset) <= self._log.last

    def can_go_on(self, session: "SavedSession", offset: str | None) -> bool:
        """Whether everything that the client of a session has missed is known. If not, it expires.

        Args:
            session: the session; what the client has is noted in it.
            offset: of the last packet that the client has; None if it names none.
        """
        shared, log = self.shared, self._log
        # RECOVER-04: an offset from before this session belongs to another one. Official clients
        # keep the last offset when they get a new pid.
        received = max(log.number_of(offset), session.received)
        known = max(log.dropped, session.blind)
        session.received = max(received, known)
        missed = self.missed(session, MAX_MISSED)
        # RECOVER-05: a new session rather than a gap.
        if (
            missed is None
            or max(received, session.confirmed) < known
            or sum(packet.byte_count() for packet in missed) > shared.missed_bound_bytes
        ):
            shared.tell_expired(session, self._place._registry)
            return False
        return True

    def missed(self, session: "SavedSession", at_most: float = inf) -> "list[Outgoing] | None":
        """Return what was sent to a session and its client has not got, in order (RECOVER-02).

        Args:
            session: the session.
            at_most: how many packets of the log are looked at; if there are more, the answer is
                None.
        """
        rooms = {session.id, *session.rooms}
        names = {*rooms, *(change.room for change in session.changes)}
        destinations: list[Destination] = [(self._name, room) for room in names]
        destinations += [(self._name,), (self._name, session.id, "")]
        changes = list(session.changes)
        found = self._log.find(session.received, destinations, at_most)
        if found is None:
            return None
        missed = []
        for logged in reversed(found):
            while changes and changes[-1].number >= logged.number:
                change = changes.pop()  # undo it: the rooms become those before the change
                (rooms.add if change.was_member else rooms.discard)(change.room)
            if logged.is_for(rooms):
                missed.append(logged.packet)
        missed.reverse()
        return missed
