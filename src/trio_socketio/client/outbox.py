"""What one namespace has emitted and is not done with."""

from collections import deque
from typing import Any

from trio_socketio.acks import PendingAck
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import BufferFull, SessionClosed


class Outbox:
    """Packets that wait for the connection, and answers that are waited for.

    Args:
        bound_bytes: of the packets that wait.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._packets: deque[tuple[Outgoing, PendingAck | None]] = deque()
        self._bytes = 0
        self._pending: dict[int, PendingAck] = {}
        self._next_ack_id = 0  # never used twice: a late answer finds nobody

    @property
    def awaits_answers(self) -> bool:
        """Whether somebody waits for an acknowledgement."""
        return bool(self._pending)

    def new_ack_id(self) -> int:
        """An id for an event that asks for an acknowledgement."""
        ack_id, self._next_ack_id = self._next_ack_id, self._next_ack_id + 1
        return ack_id

    def keep(self, packet: Outgoing, pending: PendingAck | None) -> None:
        """Keep a packet until there is a connection.

        Raises:
            BufferFull: too much waits already.
        """
        size = packet.byte_count()
        if self._bytes + size > self._bound_bytes:
            raise BufferFull(f"{self._bytes} bytes wait for the connection already")
        self._packets.append((packet, pending))
        self._bytes += size

    def take(self) -> list[tuple[Outgoing, PendingAck | None]]:
        """All that waits, in order."""
        packets, self._packets, self._bytes = list(self._packets), deque(), 0
        return packets

    def expect(self, ack_id: int, pending: PendingAck) -> None:
        """Its event was sent, or kept."""
        self._pending[ack_id] = pending

    def forget(self, ack_id: int, pending: PendingAck) -> None:
        """Nobody waits for it any more; if its event was not sent, it need not be."""
        del self._pending[ack_id]
        if pending.sent:
            return
        for item in self._packets:
            if item[1] is pending:
                self._packets.remove(item)
                self._bytes -= item[0].byte_count()
                return

    def receive_answer(self, ack_id: int, arguments: list[Any]) -> None:
        """The server answered; an answer nobody waits for is late, and ignored."""
        pending = self._pending.get(ack_id)
        if pending is not None:
            pending.receive(arguments)

    def fail_sent(self, reason: str) -> None:
        """The connection is gone: what was sent by it will not be answered."""
        for pending in self._pending.values():
            if pending.sent:
                pending.fail(SessionClosed(reason))

    def fail_all(self, reason: str) -> int:
        """Nothing will be sent or answered any more; gives how many packets were never sent."""
        for pending in self._pending.values():
            pending.fail(SessionClosed(reason))
        return len(self.take())
