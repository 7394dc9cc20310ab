"""The packets that wait for a GET, within bounds."""

from collections import deque
from typing import TYPE_CHECKING

from trio_socketio.net.backlog import HARD_BOUND_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.codec.engine_packet import Outgoing


class Output:
    """The packets that a polling session was given and no GET has fetched yet, in order.

    Args:
        bound_bytes: see ConnectionLimits.output_bound_bytes.

    Attributes:
        packets: those that wait; None if there are none, because an idle session holds no queue.
        on_drained: called once, when everything was taken.
        waiting_bytes: the size of all packets.
    """

    __slots__ = ("_bound_bytes", "on_drained", "packets", "waiting_bytes")

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self.packets: deque[Outgoing] | None = None
        self.waiting_bytes = 0
        self.on_drained: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.packets or ())

    def hold(self, packet: "Outgoing") -> bool:
        """Keep a packet, unless too much waits already.

        An empty queue takes one packet of any size. The bound also holds within a turn and while a
        GET waits, because the GET is answered at the end of the turn only (BND-11).

        Returns:
            Whether it was kept.
        """
        if self.waiting_bytes > HARD_BOUND_FACTOR * self._bound_bytes:
            return False
        if self.packets is None:
            self.packets = deque()
        self.packets.append(packet)
        self.waiting_bytes += packet.byte_count()
        return True

    @property
    def is_over(self) -> bool:
        """Whether more waits than the client may leave unfetched for long."""
        return self.waiting_bytes > self._bound_bytes

    @property
    def is_hopeless(self) -> bool:
        """Whether so much waits that the client is given no time. One large packet is excused."""
        return self.waiting_bytes > HARD_BOUND_FACTOR * self._bound_bytes and len(self) > 1

    def take(self) -> "list[Outgoing]":
        """Hand over all packets, and hold none of them any more."""
        self.waiting_bytes = 0
        packets, self.packets = self.packets, None
        on_drained, self.on_drained = self.on_drained, None
        if on_drained is not None:
            on_drained()
        return list(packets or ())
