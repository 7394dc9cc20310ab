"""Reads the packets of one session, by parser and revision, and hands them to its participant."""

from math import inf
from typing import TYPE_CHECKING

import trio

from trio_socketio.codec.attachments import MAX_ATTACHMENTS
from trio_socketio.codec.parsers import JSON
from trio_socketio.codec.socket_packet import Packet, PacketType, Reassembly, decode_packet
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.socketio.intake import Receive, weigh_msgpack, weigh_text
from trio_socketio.socketio.participant import Participant
from trio_socketio.socketio.revisions import REVISION_4, REVISION_5, cut_query

if TYPE_CHECKING:
    from trio_socketio.engine.listener import Listener
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.entrance import Directory
    from trio_socketio.socketio.host import Host

_EVENT = PacketType.EVENT  # looking a member up in its Enum costs as much as decoding a packet


class JsonReader:
    """Listens to a session whose client speaks JSON: binary follows in messages of its own.

    Args:
        participant: the client.

    Attributes:
        holder: the client, whose attachments are weighed.
    """

    __slots__ = ("_intake", "_reassembly", "_sockets", "holder")

    def __init__(self, participant: Participant) -> None:
        self.holder = participant
        self._sockets = participant.sockets
        self._intake = participant.host.intake
        self._reassembly: Reassembly | None = None

    # -- Listener

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """See Listener. The hot path.

        Args:
            packet: as it came.
            weight: of a packet that was put off and whose turn it is now.
        """
        if self._reassembly is not None:  # SIO5-54
            raise RemoteProtocolError("text before the attachments of a binary packet are complete")
        if not weight:
            weight = len(packet)
            if weight > self._intake.weigh_above:
                weight = weigh_text(packet)
                if self._intake.put_off(self.holder, self.receive_text, packet, weight):
                    return
        decoded = decode_packet(packet)
        socket = self._sockets.get(decoded.namespace)
        if decoded.type is _EVENT and socket is not None:  # as Participant.receive_packet would
            events, arguments = socket._events, decoded.data
            if events is None:
                events = socket._open_events()
            handler = events.handlers.get(arguments[0])
            if handler is not None:  # as Events.receive would: a call for each event is saved
                arguments[0] = socket
                events.dispatch(handler, arguments, decoded.ack_id, weight)
            else:
                events.receive(socket, arguments, decoded.ack_id, weight)
            return
        decoded.weight = weight
        if self.holder.revision.has_queries:
            cut_query(decoded)
        if decoded.attachments:  # SIO5-57: else it is complete
            self._expect_attachments(decoded)
        else:
            self.holder.receive_packet(decoded)

    def receive_binary(self, data: bytes) -> None:
        """See Listener."""
        reassembly = self._reassembly
        if reassembly is None:  # SIO5-55
            raise RemoteProtocolError("binary that no packet announced")
        packet = reassembly.receive_attachment(data)
        if packet is None:
            self._intake.collect(self, len(data))
        else:
            self._reassembly = None
            self._intake.stop_collecting(self, reassembly.weight)
            packet.weight = reassembly.weight + len(data)
            self.holder.receive_packet(packet)

    def session_closed(self, reason: str) -> None:
        """See Listener."""
        self.drop_collected()
        self.holder.session_closed(reason)

    def next_deadline(self) -> float:
        """See Listener."""
        expires_at = inf if self._reassembly is None else self._reassembly.expires_at
        return min(self.holder.join_by, expires_at)

    def expire(self, now: float) -> None:
        """See Listener."""
        if self.holder.join_by <= now:
            _give_up(self.holder)
        else:
            self.drop_collected()
            self.holder.session.lose("parse error")

    # -- attachments

    def _expect_attachments(self, packet: Packet) -> None:
        participant = self.holder
        if not participant.takes_events(packet.namespace):
            participant.receive_packet(packet)  # refused, or tolerated without its attachments
            if not participant.session.is_open:
                return
        options = participant.host.options
        self._reassembly = Reassembly(
            packet,
            MAX_ATTACHMENTS * options.engine.max_http_buffer_size_bytes,
            trio.current_time() + options.sockets.attachments_timeout_s,
        )
        participant.session.reschedule()
        self._intake.collect(self, packet.weight)

    @property
    def collected(self) -> int:
        """See Collector."""
        return 0 if self._reassembly is None else self._reassembly.weight

    def drop_collected(self) -> None:
        """See Collector."""
        reassembly, self._reassembly = self._reassembly, None
        if reassembly is not None:
            self._intake.stop_collecting(self, reassembly.weight)


class WholePacketReader:
    """Listens to a session whose client speaks another parser: each message is a whole packet.

    Args:
        participant: the client.
    """

    __slots__ = ("_participant",)

    def __init__(self, participant: Participant) -> None:
        self._participant = participant

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """See JsonReader."""
        weight = weight or self._weigh(self.receive_text, packet)
        if weight:
            self._receive(self._participant.host.parser.decode_text(packet), weight)

    def receive_binary(self, data: bytes, weight: int = 0) -> None:
        """See JsonReader.receive_text."""
        weight = weight or self._weigh(self.receive_binary, data)
        if weight:
            self._receive(self._participant.host.parser.decode_binary(data), weight)

    def _weigh(self, receive: Receive, packet: bytes) -> int:
        """The weight of a packet; 0 when it was put off."""
        intake = self._participant.host.intake
        if len(packet) <= intake.weigh_above:
            return len(packet) or 1
        weight = weigh_msgpack(packet)
        return 0 if intake.put_off(self._participant, receive, packet, weight) else weight

    def _receive(self, packet: Packet, weight: int) -> None:
        if packet.attachments:
            raise RemoteProtocolError("a packet whose attachments nobody would put in")
        packet.weight = weight
        self._participant.receive_packet(packet)

    def session_closed(self, reason: str) -> None:
        """See Listener."""
        self._participant.session_closed(reason)

    def next_deadline(self) -> float:
        """See Listener."""
        return self._participant.join_by

    def expire(self, now: float) -> None:
        """See Listener."""
        _give_up(self._participant)


def _give_up(participant: Participant) -> None:
    """The client has not joined anything in time (SIO5-10)."""
    participant.join_by = inf
    participant.session.close("forced server close")


def open_reader(host: "Host", namespaces: "Directory", session: "Session") -> "Listener":
    """Listen to a session in the way that its client speaks."""
    if host.parser is not JSON:
        return WholePacketReader(Participant(host, namespaces, session, REVISION_5))
    if session.protocol != 3:
        return JsonReader(Participant(host, namespaces, session, REVISION_5))
    participant = Participant(host, namespaces, session, REVISION_4)
    participant.connect("/", {})  # SIO4-01: these clients do not ask for it
    return JsonReader(participant)
