"""Packets that wait for a GET, within bounds."""

from collections import deque
from typing import TYPE_CHECKING

from trio_socketio.net.connection import HARD_BOUND_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.codec.engine_packet import Outgoing


class Output:
    """What a polling session was given to send and no GET has fetched, in order.

    Args:
        bound_bytes: see ServerOptions.output_bound_bytes.
    """

    __slots__ = ("_bound_bytes", "_packets", "on_drained", "waiting_bytes")

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._packets: deque[Outgoing] | None = None  # an idle session holds none
        self.waiting_bytes = 0
        self.on_drained: Callable[[], None] | None = None  # called once, when all was taken

    def __len__(self) -> int:
        return len(self._packets or ())

    def hold(self, packet: "Outgoing") -> bool:
        """Keep a packet; False if so much waits already that it is not taken.

        An empty queue takes any one packet. The bound holds within a turn and while a GET waits,
        too, since its answer is not made before the turn's end.
        """
        if self.waiting_bytes > HARD_BOUND_FACTOR * self._bound_bytes:
            return False
        if self._packets is None:
            self._packets = deque()
        self._packets.append(packet)
        self.waiting_bytes += packet.byte_count()
        return True

    @property
    def is_over(self) -> bool:
        """Whether more waits than the client may leave lying for long."""
        return self.waiting_bytes > self._bound_bytes

    @property
    def is_hopeless(self) -> bool:
        """Whether so much waits that the client is given no time; one large packet is excused."""
        return self.waiting_bytes > HARD_BOUND_FACTOR * self._bound_bytes and len(self) > 1

    def take(self) -> "list[Outgoing]":
        """All that waits; it is the caller's now."""
        self.waiting_bytes = 0
        packets, self._packets = self._packets, None
        on_drained, self.on_drained = self.on_drained, None
        if on_drained is not None:
            on_drained()
        return list(packets or ())
