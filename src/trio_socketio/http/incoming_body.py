"""A body that arrives in pieces."""

from typing import Final

from trio_socketio.errors import PayloadTooLarge

MIN_BODY_BYTES_PER_S: Final = 500
"""A body that arrives at this rate is not cut off by a deadline."""


class IncomingBody:
    """Collects the body of one request.

    Args:
        max_bytes: the bound of its length.
        timeout_s: how far it may fall behind MIN_BODY_BYTES_PER_S.
        now: the time, in seconds on the clock of the deadline.
    """

    __slots__ = ("_began", "_bytes", "_max_bytes", "_timeout_s")

    def __init__(self, max_bytes: int, timeout_s: float, now: float) -> None:
        self._bytes = bytearray()  # one buffer, as a list of tiny chunks would take far more memory
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._began = now

    def add(self, data: bytes) -> None:
        """Add the next piece.

        Raises:
            PayloadTooLarge: the body is longer than its bound.
        """
        if len(self._bytes) + len(data) > self._max_bytes:
            raise PayloadTooLarge
        self._bytes += data

    @property
    def deadline(self) -> float:
        """When the next piece must have come (HTTP-28)."""
        return self._began + self._timeout_s + len(self._bytes) / MIN_BODY_BYTES_PER_S

    def joined(self) -> bytes:
        """Return what was collected."""
        return bytes(self._bytes)
