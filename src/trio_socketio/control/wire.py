"""Lines on a trio stream, as the client of the control socket reads and writes them."""

from collections.abc import Callable
from typing import Final

import trio

from trio_socketio.errors import SessionClosed
from trio_socketio.runtime.groups import alone

MAX_LINE_BYTES: Final = 4 << 20
"""The longest line that is read. The answer to a batch may be longer than max_line_bytes."""
WAITING_BYTES: Final = 4 << 20
"""With more output than this waiting, `Wire.send` waits."""


class Wire:
    """Sends lines, and reads them.

    Args:
        stream: is closed at the end.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._wake = trio.Event()  # set when there is output
        self._room = trio.lowlevel.ParkingLot()  # for tasks that wait until less output waits
        self._closed = trio.Event()
        self._reason = ""

    async def send(self, message: bytes) -> None:
        """Send a line, as soon as little enough output waits before it.

        Raises:
            SessionClosed: the connection has ended.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._out_bytes > WAITING_BYTES and not self._reason:
            await self._room.park()
        if self._reason:
            raise SessionClosed(self._reason)
        self.send_nowait(message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, message: bytes) -> None:
        """Send a line, however much output waits. Does nothing if the connection has ended."""
        if not self._reason:
            self._out.append(message + b"\n")
            self._out_bytes += len(message) + 1
            self._wake.set()

    def lose(self, reason: str) -> None:
        """Note that the connection has ended."""
        if not self._reason:
            self._reason = reason
            self._closed.set()
            self._wake.set()
            self._room.unpark_all()

    async def wait_closed(self) -> str:
        """Wait until the connection ends; return why."""
        await self._closed.wait()
        return self._reason

    async def run(self, on_line: Callable[[bytes], None], on_closed: Callable[[str], None]) -> None:
        """Read and write until the connection ends; it is closed then.

        Args:
            on_line: called with each line, without its line feed.
            on_closed: called with the reason of the end.
        """
        try:
            async with alone(trio.open_nursery()) as nursery:
                nursery.start_soon(self._read, on_line)
                nursery.start_soon(self._write)
                await self._closed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.lose("the block has ended")
            on_closed(self._reason)
            await trio.aclose_forcefully(self._stream)

    async def aclose(self) -> None:
        """Send all output that waits; the caller bounds the time."""
        while self._out_bytes and not self._reason:
            await self._room.park()
        self.lose("the block has ended")

    async def _read(self, on_line: Callable[[bytes], None]) -> None:
        buffer = bytearray()
        searched = 0
        try:
            while data := await self._stream.receive_some(65536):
                buffer += data
                while not self._reason:
                    end = buffer.find(b"\n", searched)
                    if end < 0:
                        searched = len(buffer)
                        break
                    line = bytes(buffer[:end])
                    del buffer[: end + 1]
                    searched = 0
                    on_line(line)
                if len(buffer) > MAX_LINE_BYTES:
                    self.lose(f"the server has sent a line of more than {MAX_LINE_BYTES} bytes")
                    return
        except trio.BrokenResourceError as error:
            self.lose(f"the connection has broken: {error.__cause__ or error}")
        else:
            self.lose("the server has closed the connection")

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._out:
                    data = b"".join(self._out)
                    self._out.clear()
                    await self._stream.send_all(data)
                    self._out_bytes -= len(data)
                    self._room.unpark_all()
        except trio.BrokenResourceError as error:
            self.lose(f"the connection has broken: {error.__cause__ or error}")
