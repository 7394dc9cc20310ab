"""Decodes the packets of a session, by parser and revision, and hands them to its participant."""

from math import inf
from typing import TYPE_CHECKING

import trio

from trio_socketio.codec.attachments import MAX_ATTACHMENTS
from trio_socketio.codec.parsers import JSON
from trio_socketio.codec.socket_packet import (
    Packet,
    PacketType,
    Reassembly,
    decode_event,
    decode_packet,
)
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.socketio.intake import SMALL_BYTES, Receive, weigh_msgpack, weigh_text
from trio_socketio.socketio.participant import Participant
from trio_socketio.socketio.revisions import REVISION_4, REVISION_5, cut_query

if TYPE_CHECKING:
    from trio_socketio.engine.listener import Listener
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.entrance import Directory
    from trio_socketio.socketio.host import Host

_EVENT = PacketType.EVENT  # looking a member up in its Enum costs as much as decoding a packet


class JsonReader:
    """Listens to a session whose client speaks JSON: attachments follow in messages of their own.

    Args:
        participant: the client.

    Attributes:
        holder: the client, whose attachments are weighed.
    """

    __slots__ = ("_intake", "_is_counted", "_looks_again", "_reassembly", "_sockets", "holder")

    def __init__(self, participant: Participant) -> None:
        self.holder = participant
        self._sockets = participant.sockets
        self._intake = participant.host.intake
        self._reassembly: Reassembly | None = None
        self._looks_again = False
        self._is_counted = False  # whether Intake counts what is collected

    # -- Listener

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """Decode a packet, and hand it over once its attachments are there. The hot path.

        Args:
            packet: as it came.
            weight: of a packet that was put off and whose turn it is now; 0 for any other.
        Raises:
            RemoteProtocolError: it is not a packet, or no client may send it now.
        """
        if self._reassembly is not None:  # SIO5-54
            raise RemoteProtocolError(
                "a text message before the attachments of a binary packet are complete"
            )
        if (
            len(packet) > SMALL_BYTES
            and len(packet) > self._intake.put_off_above
            and not weight
            and self._intake.put_off(self.holder, self.receive_text, packet, weigh_text)
        ):
            return
        event = decode_event(packet)
        if event is None:
            decoded = decode_packet(packet)
        else:
            namespace, arguments, ack_id = event
            socket = self._sockets.get(namespace)
            # Participant.receive_packet and Events.receive would do the same: two calls are saved.
            if socket is not None:
                events = socket._events
                if events is None:
                    events = socket._open_events()
                handler = events.handlers.get(arguments[0])
                if handler is not None:
                    arguments[0] = socket
                    events.dispatch(handler, arguments, ack_id, 0, packet)
                else:
                    events.receive(socket, arguments, ack_id, 0, packet)
                return
            decoded = Packet(_EVENT, namespace, arguments, ack_id)
        size = len(packet)
        decoded.weight = weigh_text(packet) if size > self._intake.weigh_above else size
        if self.holder.revision.has_queries:
            cut_query(decoded)
        if decoded.attachments:  # SIO5-57: otherwise it is complete
            self._expect_attachments(decoded)
        elif decoded.namespace in self._sockets:
            self.holder.receive_packet(decoded)
        else:  # receive_packet would do the same: each CONNECT is saved a call
            self.holder._receive_unjoined(decoded)

    def receive_binary(self, data: bytes) -> None:
        """Take an attachment, and hand the packet over if that was the last one.

        Raises:
            RemoteProtocolError: no packet has announced it, or it is too much.
        """
        reassembly = self._reassembly
        if reassembly is None:  # SIO5-55
            raise RemoteProtocolError("a binary message that no packet has announced")
        packet = reassembly.receive_attachment(data)
        if packet is None:
            if self._is_counted:
                self._intake.collect(self, len(data))
        else:
            self._reassembly = None
            self._stop_counting(reassembly.weight)
            packet.weight = reassembly.weight + len(data)
            self.holder.receive_packet(packet)

    def session_closed(self, reason: str) -> None:
        """Give up attachments, and let the participant leave its namespaces."""
        self.drop_collected()
        self.holder.session_closed(reason)

    def next_deadline(self) -> float:
        """When the client must have joined, or all attachments must be here."""
        expires_at = inf if self._reassembly is None else self._reassembly.expires_at
        return min(self.holder.join_by, expires_at)

    def expire(self, now: float) -> None:
        """Close a client that has not joined or not sent its attachments in time."""
        if self.holder.join_by <= now:
            _give_up(self.holder)
        else:
            self.drop_collected()
            self.holder.session.lose("parse error")  # SIO5-80

    # -- attachments

    def _expect_attachments(self, packet: Packet) -> None:
        participant = self.holder
        if not participant.takes_events(packet.namespace):
            participant.receive_packet(packet)  # it raises, or ignores the packet
            if not participant.session.is_open:
                return
        host = participant.host
        max_bytes = MAX_ATTACHMENTS * host.options.engine.max_http_buffer_size_bytes
        self._reassembly = Reassembly(packet, max_bytes)
        # Most packets are complete by then, and need neither a deadline nor to be counted.
        if not self._looks_again:
            self._looks_again = True
            host.engine._poller.defer(self._count_incomplete)

    def _count_incomplete(self) -> None:
        """Have a packet whose attachments have not come with it collected under the bounds."""
        self._looks_again = False
        reassembly = self._reassembly
        if reassembly is not None and not self._is_counted:
            participant = self.holder
            timeout_s = participant.host.options.sockets.attachments_timeout_s
            reassembly.expires_at = trio.current_time() + timeout_s  # SIO5-80: for all of them
            participant.session.reschedule()
            self._is_counted = True
            self._intake.collect(self, reassembly.weight)

    def _stop_counting(self, weight: int) -> None:
        if self._is_counted:
            self._is_counted = False
            self._intake.stop_collecting(self, weight)

    @property
    def collected(self) -> int:
        """The weight of a packet that is not complete; 0 if there is none."""
        return 0 if self._reassembly is None else self._reassembly.weight

    def drop_collected(self) -> None:
        """Give up a packet that is not complete."""
        reassembly, self._reassembly = self._reassembly, None
        if reassembly is not None:
            self._stop_counting(reassembly.weight)


class WholePacketReader:
    """Listens to a session whose client has another parser: a message is a packet (MSGPACK-04).

    Args:
        participant: the client.
    """

    __slots__ = ("_participant",)

    def __init__(self, participant: Participant) -> None:
        self._participant = participant

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """Decode a text packet, and hand it over.

        Args:
            packet: as it came.
            weight: of a packet that was put off and whose turn it is now; 0 for any other.
        Raises:
            RemoteProtocolError: it is not a packet, or no client may send it now.
        """
        weight = weight or self._weigh(self.receive_text, packet)
        if weight:
            self._receive(self._participant.host.parser.decode_text(packet), weight)

    def receive_binary(self, data: bytes, weight: int = 0) -> None:
        """Decode a binary packet, and hand it over; otherwise as `receive_text`.

        Raises:
            RemoteProtocolError: it is not a packet, or no client may send it now.
        """
        weight = weight or self._weigh(self.receive_binary, data)
        if weight:
            self._receive(self._participant.host.parser.decode_binary(data), weight)

    def _weigh(self, receive: Receive, packet: bytes) -> int:
        """Return the weight of a packet, or 0 if it was put off."""
        intake = self._participant.host.intake
        if len(packet) <= intake.weigh_above:
            return len(packet) or 1
        if intake.put_off(self._participant, receive, packet, weigh_msgpack):
            return 0
        return weigh_msgpack(packet)

    def _receive(self, packet: Packet, weight: int) -> None:
        if packet.attachments:
            raise RemoteProtocolError(
                "a packet that announces attachments, which this parser keeps inside"
            )
        packet.weight = weight
        self._participant.receive_packet(packet)

    def session_closed(self, reason: str) -> None:
        """Let the participant leave its namespaces."""
        self._participant.session_closed(reason)

    def next_deadline(self) -> float:
        """When the client must have joined a namespace."""
        return self._participant.join_by

    def expire(self, now: float) -> None:
        """Close a client that has not joined a namespace in time."""
        _give_up(self._participant)


def _give_up(participant: Participant) -> None:
    """Close a client that has not joined a namespace in time (SIO5-10)."""
    participant.join_by = inf
    participant.session.close("forced server close")


def open_reader(host: "Host", namespaces: "Directory", session: "Session") -> "Listener":
    """Return the listener of a session: a reader for the parser and revision of its client."""
    # SIO5-01: these clients are in no namespace before they ask.
    if host.parser is not JSON:
        return WholePacketReader(Participant(host, namespaces, session, REVISION_5))
    if session.protocol != 3:
        return JsonReader(Participant(host, namespaces, session, REVISION_5))
    participant = Participant(host, namespaces, session, REVISION_4)
    participant.connect("/", {})  # SIO4-01: these clients join the main namespace without asking
    return JsonReader(participant)
