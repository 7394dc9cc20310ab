"""Sends the events of one namespace, and knows which acknowledgements are awaited."""

from collections import deque
from typing import Any, Protocol

from trio_socketio.acks import PendingAck
from trio_socketio.client.session import ClientSession
from trio_socketio.client.settings import Settings
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import PacketType
from trio_socketio.errors import BufferFull, LocalProtocolError, SessionClosed
from trio_socketio.protocol.membership import Membership, State


class Wire(Protocol):
    """The connection of the client, as an outbox needs it."""

    @property
    def settings(self) -> Settings:
        """The settings that the program asked for."""

    @property
    def session(self) -> ClientSession | None:
        """The current session; None while there is no connection."""

    def count_dropped(self, number: int, why: str) -> None:
        """Count packets that were not sent and will not be.

        Args:
            number: of the packets.
            why: for the log; if it is empty, nothing is logged.
        """


class Outbox:
    """Sends packets at once while the namespace is joined, and keeps them for later while not.

    Args:
        name: of the namespace.
        machine: knows whether the namespace is joined.
        wire: the connection.
    """

    def __init__(self, name: str, machine: Membership, wire: Wire) -> None:
        parser = wire.settings.parser
        self._machine = machine
        self._wire = wire
        self._encode_event = parser.arguments_encoder(PacketType.EVENT, name)
        self._encode_ack = parser.arguments_encoder(PacketType.ACK, name)
        self._kept: deque[tuple[Outgoing, PendingAck | None]] = deque()
        self._kept_bytes = 0
        self._pending: dict[int, PendingAck] = {}
        self._next_ack_id = 0  # never used twice, so a late answer matches no event

    # -- sending

    def emit(self, arguments: list[Any]) -> None:
        """Send an event, now or after the CONNECT.

        Args:
            arguments: name first.
        Raises:
            LocalProtocolError: they cannot be sent, or are more than the server takes.
            BufferFull: too much waits already.
        """
        self._send(self._encode_event(arguments, None), None)

    def emit_volatile(self, arguments: list[Any]) -> None:
        """Send an event if it can leave at once; drop and count it otherwise.

        Raises:
            LocalProtocolError: see emit.
        """
        packet = self._encode_event(arguments, None)
        session = self._open_session()
        if session is not None and session.output.is_empty:
            session.send(packet)
        else:
            self._wire.count_dropped(1, "")

    def answer(self, values: list[Any], ack_id: int) -> None:
        """Acknowledge an event of the server.

        The caller makes sure that the event came in this session, because in another one the id may
        belong to another event. An answer that cannot be sent any more is dropped, counted and
        logged.

        Raises:
            LocalProtocolError: see emit.
            BufferFull: see emit.
        """
        packet = self._encode_ack(values, ack_id)
        session = self._open_session()
        if session is None:
            self.drop_answer()
        else:
            session.send(packet)

    def drop_answer(self) -> None:
        """Count an answer whose event had come on a connection that is lost (CLI-23)."""
        self._wire.count_dropped(1, "an answer came after the connection was lost")

    def flush(self) -> None:
        """Send what was kept, because the namespace has been joined (CLI-22, CLI-25)."""
        kept, self._kept, self._kept_bytes = self._kept, deque(), 0
        session = self._open_session()
        for packet, pending in kept:
            if session is None:  # it is closing: the next joining will send it
                self._keep(packet, pending, bounded=False)
                continue
            try:
                session.send(packet, bounded=False)
            except LocalProtocolError as error:  # this server does not take as much
                self._wire.count_dropped(1, str(error))
                if pending is not None:
                    pending.fail(error)
            else:
                if pending is not None:
                    pending.sent = True

    def _open_session(self) -> ClientSession | None:
        """Return the session if what is sent now may arrive in the namespace (CLI-05)."""
        session = self._wire.session
        joined = self._machine.state is State.JOINED
        return session if joined and session is not None and session.is_open else None

    def _send(self, packet: Outgoing, pending: PendingAck | None) -> None:
        session = self._open_session()
        if session is None:
            self._keep(packet, pending, bounded=True)
            return
        session.send(packet)
        if pending is not None:
            pending.sent = True

    def _keep(self, packet: Outgoing, pending: PendingAck | None, *, bounded: bool) -> None:
        size = packet.byte_count()
        bound = self._wire.settings.options.output_bound_bytes
        if bounded and self._kept_bytes + size > bound:  # CLI-43
            raise BufferFull(f"{self._kept_bytes} bytes wait for the connection already")
        self._kept.append((packet, pending))
        self._kept_bytes += size

    # -- acknowledgements

    @property
    def awaits_answers(self) -> bool:
        """Whether a task waits for an acknowledgement."""
        return bool(self._pending)

    def ask(self, arguments: list[Any]) -> tuple[int, PendingAck]:
        """Send an event that asks for an acknowledgement, now or after the CONNECT.

        Args:
            arguments: name first.
        Returns:
            The id of the acknowledgement, and what waits for it. The caller calls `forget`.
        Raises:
            LocalProtocolError: see emit.
            BufferFull: see emit.
        """
        ack_id, pending = self._next_ack_id, PendingAck()
        self._send(self._encode_event(arguments, ack_id), pending)
        self._next_ack_id += 1
        self._pending[ack_id] = pending
        return ack_id, pending

    def forget(self, ack_id: int, pending: PendingAck) -> None:
        """Stop waiting for an answer. If its event was not sent yet, it will not be sent."""
        del self._pending[ack_id]
        if pending.sent:
            return
        for item in self._kept:
            if item[1] is pending:
                self._kept.remove(item)
                self._kept_bytes -= item[0].byte_count()
                return

    def receive_answer(self, ack_id: int, arguments: list[Any]) -> None:
        """Hand an answer to the task that waits for it. A late one is ignored."""
        pending = self._pending.get(ack_id)
        if pending is not None:  # CLI-15
            pending.receive(arguments)

    # -- the end

    def fail_sent(self, reason: str) -> None:
        """Fail what was sent and not answered, because the connection is lost (CLI-23)."""
        for pending in self._pending.values():
            if pending.sent:
                pending.fail(SessionClosed(reason))

    def fail_all(self, reason: str) -> int:
        """Fail all that waits for an answer, and drop what was kept.

        Returns:
            How many packets were kept and have never been sent.
        """
        for pending in self._pending.values():
            pending.fail(SessionClosed(reason))
        unsent = len(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        return unsent
