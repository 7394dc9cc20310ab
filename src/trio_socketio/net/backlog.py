"""The output that the kernel has refused, and how long its peer may leave it there."""

from math import inf
from typing import Final

HARD_BOUND_FACTOR: Final = 8
"""A client with this many times its output bound waiting is closed at once."""

_NOTHING: Final = memoryview(b"")


class Backlog:
    """The output that a slow peer has yet to take.

    A connection gets one when the kernel refuses some of its output for the first time, and keeps
    it. Most connections never need one.

    Args:
        bound_bytes: with more than this waiting, the peer has to make progress.
        patience_s: for how long it may make none.

    Attributes:
        unsent: what the kernel has refused; empty when it has taken everything since.
        gives_up_at: when the peer is given up, on trio's clock; infinity while it is not slow.
    """

    __slots__ = ("_bound_bytes", "_leaving_bytes", "_patience_s", "gives_up_at", "unsent")

    def __init__(self, bound_bytes: int, patience_s: float) -> None:
        self._bound_bytes = bound_bytes
        self._patience_s = patience_s
        self._leaving_bytes = 0  # bytes that the peer had not confirmed at the last look
        self.unsent = _NOTHING
        self.gives_up_at = inf

    def take(self) -> memoryview:
        """Remove and return what the kernel has refused."""
        unsent, self.unsent = self.unsent, _NOTHING
        return unsent

    def is_taking(self, leaving_bytes: int) -> bool:
        """Whether the peer has confirmed anything since the last look or partial send.

        Progress cannot be told by when the kernel accepts more: it says that it has room only when
        a third of its buffer is free, which a slow but steady peer may not reach in time; and it
        accepts data without any progress of the peer while it enlarges the buffer.
        """
        before, self._leaving_bytes = self._leaving_bytes, leaving_bytes
        return leaving_bytes < before

    def judge(self, waiting_bytes: int, now: float, *, progress: bool) -> None:
        """Start, restart or stop the time that a peer with this much waiting has (HTTP-40)."""
        if waiting_bytes <= self._bound_bytes:
            self.gives_up_at = inf
        elif progress or self.gives_up_at == inf:
            self.gives_up_at = now + self._patience_s

    def is_too_long(self, waiting_bytes: int) -> bool:
        """Whether so much waits that the peer is given up at once (HTTP-41)."""
        return waiting_bytes > self._bound_bytes * HARD_BOUND_FACTOR
