"""Lines of text on a connection, handed over one at a time; a control socket speaks them."""

from collections.abc import Callable
from time import perf_counter
from typing import Final

from trio_socketio.net.connection import Connection
from trio_socketio.protocol.connection import OPEN

MAX_LINE_BYTES: Final = 1 << 20
_LINES_PER_TURN: Final = 64
_PAUSE_S: Final = 60.0
"""How long a peer may leave our output unconfirmed while its lines are not read."""


class LineReceiver:
    """Cuts what arrives on a connection into lines.

    Args:
        connection: a connection that was just accepted.
        on_line: called with each line, without its line feed, in the connection's turn.
        on_lost: called once with a reason, when the peer has gone or sent too long a line.
        max_line_bytes: the longest line; a longer one ends the connection (RUN-08).
        on_too_long: called when a line is too long; it must end the connection, and may tell the
            peer why first. None ends the connection at once.

    Attributes:
        max_line_bytes: the longest line; it may be changed between two lines.
    """

    __slots__ = (
        "_buffer",
        "_connection",
        "_on_line",
        "_on_lost",
        "_on_too_long",
        "_paused",
        "_searched",
        "max_line_bytes",
    )

    def __init__(
        self,
        connection: Connection,
        on_line: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        max_line_bytes: int = MAX_LINE_BYTES,
        on_too_long: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._on_line = on_line
        self._on_lost = on_lost
        self._on_too_long = on_too_long
        self.max_line_bytes = max_line_bytes
        self._paused = False
        self._buffer = bytearray()
        self._searched = 0  # how many bytes of the buffer are known to hold no line feed

    def pause(self) -> None:
        """Stop reading and handing over lines until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Continue after `pause`, in the connection's next turn."""
        if self._paused:
            self._paused = False
            if self._connection.life is OPEN:
                self._connection.hold_reading()
                self._connection.call_again()

    def receive_data(self, data: bytes) -> None:
        self._buffer += data
        self.receive_more()

    def receive_more(self) -> None:
        connection, buffer = self._connection, self._buffer
        turn_ends = connection.owner.poller.turn_ends
        for _ in range(_LINES_PER_TURN):
            if (
                connection.life is not OPEN
            ):  # a line has ended it; the lines after that are not read
                return
            if self._paused:
                connection.pause_reading(_PAUSE_S)
                return
            end = buffer.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(buffer)
                if self._searched > self.max_line_bytes:  # RUN-08
                    self._refuse()
                else:
                    connection.resume_reading()
                return
            if end > self.max_line_bytes:
                self._refuse()
                return
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            self._searched = 0
            self._on_line(line)
            if perf_counter() > turn_ends:
                break
        if connection.life is not OPEN:
            return
        connection.hold_reading()  # so that other connections get their turn
        connection.call_again()

    def _refuse(self) -> None:
        """End the connection because a line is too long."""
        if self._on_too_long is None:
            self._connection.lose("line too long")
        else:
            self._buffer.clear()
            self._on_too_long()

    def connection_lost(self, reason: str) -> None:
        self._buffer.clear()
        self._on_lost(reason)
