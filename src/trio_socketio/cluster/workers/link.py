"""The pair of sockets between a program and one of its workers: lines of JSON, both ways."""

import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import trio

from trio_socketio.codec.worker_messages import Order, Report, encode_line
from trio_socketio.errors import RemoteProtocolError

_READ_BYTES: Final = 1 << 16
_SEND_S: Final = 5.0


class LinkLost(Exception):
    """The process at the other end has ended, or does not read."""


class Link:
    """One end of the pair.

    Args:
        sock: the socket, which is closed by `close`.
        max_line_bytes: the longest line that may arrive.
    """

    def __init__(self, sock: socket.socket, max_line_bytes: int) -> None:
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._max_line_bytes = max_line_bytes
        self._sending = trio.Lock()
        self._is_broken = False

    @property
    def is_sending(self) -> bool:
        """Whether a message waits to be taken by the other end."""
        return self._sending.locked()

    async def send(self, message: Order | Report, timeout_s: float = _SEND_S) -> None:
        """Send a message.

        Args:
            message: what to send.
            timeout_s: how long the other end may take to accept it.
        Raises:
            LinkLost: the other end has gone, or has not taken it in time.
        """
        line = encode_line(message)
        with trio.move_on_after(timeout_s):
            async with self._sending:
                if self._is_broken:
                    raise LinkLost("the link is broken")
                try:
                    await self._send_all(line)
                except OSError as error:
                    raise LinkLost(f"the link is broken: {error.strerror}") from None
                except trio.ClosedResourceError:  # we closed it, because the process has ended
                    raise LinkLost("the link is closed") from None
            return
        raise LinkLost(f"the other end has taken nothing for {timeout_s:g} s")

    async def _send_all(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[await self._sock.send(left) :]
            self._is_broken = bool(left)  # what is sent next would follow half a line

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines that arrive, until the other end has closed the link.

        Raises:
            RemoteProtocolError: a line is too long (WORK-05).
        """
        buffer = bytearray()
        searched = 0
        while True:
            try:
                data = await self._sock.recv(_READ_BYTES)
            except OSError:  # reset: the other end has ended with something unread
                return
            if not data:
                return
            buffer += data
            while (end := buffer.find(b"\n", searched)) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                searched = 0
                yield line
            searched = len(buffer)
            if searched > self._max_line_bytes:
                raise RemoteProtocolError(f"a line has more than {self._max_line_bytes} bytes")

    def reading(self) -> "aclosing[AsyncGenerator[bytes, None]]":
        """Return the lines for an ``async with`` block, which ends the reading."""
        return aclosing(self.lines())

    def close(self) -> None:
        """Close it: the other end is told so."""
        self._sock.close()
