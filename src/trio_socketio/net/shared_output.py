"""Output of a turn that many connections send alike: kept, and joined, once for all of them."""

from collections.abc import Callable
from typing import Final, Protocol

from trio_socketio.net.driving import Flushable, Owner
from trio_socketio.protocol.connection import IDLE, QUEUED, SHARED, Output

MAX_BYTES: Final = 1 << 16
"""How much it holds. What comes behind it is written anew, so the bounds of each connection are
looked at again (RUN-46, BND-11)."""
MAX_BYTES_BEFORE: Final = 1 << 17
"""How much output a connection may have in front of it."""


class Sharer(Flushable, Protocol):
    """A connection, as far as output that it shares is concerned."""

    owner: Owner
    _output: Output
    _out: list[bytes]
    _out_bytes: int
    _shared: "SharedOutput | None"

    def write(self, data: bytes) -> None:
        """Have data sent at the end of the turn."""


class SharedOutput:
    """The end of the output of many connections.

    As long as none of them has sent it, pieces can be added for all at once. A connection to which
    something else is written is detached first, with a copy of what there is so far, because what
    is written to one connection is sent in order.

    Args:
        piece: the first piece.
        on_end: called once, when it takes no more pieces.

    Attributes:
        pieces: in order.
        byte_count: the size of all pieces.
        detached: the connections that no longer share it. What is added from then on has to be
            written to each of them.
    """

    __slots__ = ("_data", "_on_end", "_sharers", "byte_count", "detached", "pieces")

    def __init__(self, piece: bytes, on_end: Callable[[], object]) -> None:
        self.pieces = [piece]
        self.byte_count = len(piece)
        self.detached: list[Sharer] = []
        self._on_end = on_end
        self._sharers = 0
        self._data: bytes | None = None  # once it takes no more

    @property
    def is_open(self) -> bool:
        """Whether it takes more pieces: some connection shares it, and none has sent it."""
        return self._sharers > 0 and self._data is None

    def add(self, piece: bytes) -> bool:
        """Add a piece for all that share it. Returns False, and adds nothing, if that is over."""
        byte_count = self.byte_count + len(piece)
        if byte_count > MAX_BYTES or not self.is_open:
            return False
        self.pieces.append(piece)
        self.byte_count = byte_count
        return True

    def attach(self, connection: Sharer) -> bool:
        """Make it the end of a connection's output, at the end of the turn.

        Returns:
            False if it cannot be, because the peer is slow, or too much was written before, or our
            direction is closed. A connection that shares other output is detached from that anyway.
        """
        if connection._shared is not None:
            connection._shared.detach(connection)
        if connection._output is IDLE:
            connection.owner.poller.mark_dirty(connection)
        elif connection._output is not QUEUED or connection._out_bytes > MAX_BYTES_BEFORE:
            return False
        connection._output = SHARED
        connection._shared = self
        self._sharers += 1
        return True

    def detach(self, connection: Sharer) -> None:
        """Give a connection that shares it a copy of what it holds."""
        connection._shared = None
        connection._output = QUEUED
        connection._out += self.pieces
        connection._out_bytes += self.byte_count
        self.detached.append(connection)
        self._sharers -= 1
        if not self._sharers and self._data is None:
            self._on_end()

    def take(self) -> bytes:
        """Return all pieces in one, for a connection that sends them now."""
        data = self._data
        if data is None:
            data = self._data = b"".join(self.pieces)
            self._on_end()
        return data
