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
        on_too_long: called instead of on_lost when a line is too long, and ends the connection
            itself; it may tell the peer why.
        on_end: called once when the peer sends nothing more, after its last line, though it may
            still read; it ends the connection itself. Without it, the peer has gone then.

    Attributes:
        max_line_bytes: the longest line; it may be changed between two lines.
        has_ended: whether the peer sends nothing more.
    """

    __slots__ = (
        "_buffer",
        "_connection",
        "_on_end",
        "_on_line",
        "_on_lost",
        "_on_too_long",
        "_paused",
        "_searched",
        "has_ended",
        "max_line_bytes",
    )

    def __init__(
        self,
        connection: Connection,
        on_line: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        max_line_bytes: int = MAX_LINE_BYTES,
        on_too_long: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._on_line = on_line
        self._on_lost = on_lost
        self._on_too_long = on_too_long
        self._on_end = on_end
        if on_end is not None:
            connection.on_end = self._receive_end
        self.has_ended = False
        self.max_line_bytes = max_line_bytes
        self._paused = False
        self._buffer = bytearray()
        self._searched = 0  # how many bytes of the buffer are known to hold no line feed

    def pause(self) -> None:
        """Stop reading and handing over lines until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Continue after `pause`, in the connection's next turn."""
        if self._paused and not self.has_ended:
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

    def _receive_end(self) -> None:
        """Read no more: the peer sends nothing more (RUN-41)."""
        self.has_ended = True
        self._connection.pause_reading(_PAUSE_S)  # a hang-up is still noticed
        if self._on_end is not None:
            self._on_end()

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
