"""The queue of packets that a session has to send."""

from typing import Final

import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import BufferFull

PONG: Final = Outgoing(b"3")
"""The answer to an Engine.IO ping. The program has not sent it, so its loss is not counted."""


class Output:
    """Packets that wait for the transport, and those that it is sending.

    Args:
        bound_bytes: the limit for both together; a packet above it is refused.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._waiting: list[Outgoing] = []
        self._sending: list[Outgoing] = []
        self._bytes = 0  # those that are being sent included
        self._work = trio.Event()
        self._drained = trio.Event()
        self._has_ended = False

    @property
    def has_work(self) -> bool:
        """Whether a packet waits for the transport."""
        return bool(self._waiting)

    @property
    def unsent(self) -> int:
        """The number of packets that the network has not taken as far as we know, without PONGs.

        Some of those that a transport was sending when it failed may have arrived.
        """
        return sum(packet is not PONG for packet in (*self._sending, *self._waiting))

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is being sent."""
        return self._bytes == 0

    def add(self, packet: Outgoing, *, bounded: bool) -> None:
        """Queue a packet.

        Args:
            packet: is sent after those that wait.
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
        """Hand over all packets that wait. The caller sends them, and calls `sent` as it goes."""
        packets, self._waiting = self._waiting, []
        self._sending = packets
        return packets

    def sent(self, number: int) -> None:
        """Note that the network has taken that many of the packets that were handed over."""
        self._bytes -= sum(packet.byte_count() for packet in self._sending[:number])
        self._sending = self._sending[number:]
        if not self._bytes:
            self._drained.set()

    def wake(self) -> None:
        """Make `wait_work` return although nothing waits."""
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
        """Note that the session has ended, and wake the tasks in `wait_drained`."""
        self._has_ended = True
        self._drained.set()
