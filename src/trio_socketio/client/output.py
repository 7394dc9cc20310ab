"""What one session has to send, in order and bounded."""

import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import BufferFull


class Output:
    """Packets that wait for the transport, and those that it is sending.

    Args:
        bound_bytes: of both together; a packet above it is refused.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._waiting: list[Outgoing] = []
        self._bytes = 0  # those that are being sent included
        self._work = trio.Event()
        self._drained = trio.Event()
        self._has_ended = False

    @property
    def unsent(self) -> int:
        """The number of packets that no transport has taken."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is being sent."""
        return self._bytes == 0

    def add(self, packet: Outgoing, *, bounded: bool) -> None:
        """Queue a packet.

        Args:
            packet: goes out after those that wait.
            bounded: whether it counts against the bound; if not, it was counted before.
        Raises:
            BufferFull: too much waits already.
        """
        size = packet.byte_count()
        if bounded and self._bytes + size > self._bound_bytes:  # CLI-43
            raise BufferFull(f"{self._bytes} bytes wait to be sent already")
        self._waiting.append(packet)
        self._bytes += size
        self._work.set()

    def take(self) -> list[Outgoing]:
        """Hand over all that waits. The caller sends it and then calls `sent`."""
        packets, self._waiting = self._waiting, []
        return packets

    def sent(self, packets: list[Outgoing]) -> None:
        """The network has taken these packets."""
        self._bytes -= sum(packet.byte_count() for packet in packets)
        if not self._bytes:
            self._drained.set()

    def wake(self) -> None:
        """Have `wait_work` return although nothing waits."""
        self._work.set()

    async def wait_work(self) -> None:
        """Wait until a packet is added, or `wake` is called."""
        self._work = trio.Event()
        await self._work.wait()

    async def wait_drained(self) -> None:
        """Wait until nothing waits and nothing is being sent, or the session has ended."""
        while self._bytes and not self._has_ended:
            if self._drained.is_set():  # else others wait for it already
                self._drained = trio.Event()
            await self._drained.wait()

    def end(self) -> None:
        """The session has ended: nobody waits for the network any longer."""
        self._has_ended = True
        self._drained.set()
