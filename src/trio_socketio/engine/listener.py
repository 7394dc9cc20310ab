"""What a session hands its messages to."""

from math import inf
from typing import Final, Protocol


class Listener(Protocol):
    """Takes what a session receives. Called inside a turn; an exception closes the session."""

    def receive_text(self, packet: bytes) -> None:
        """A text message: UTF-8, the type character in front."""

    def receive_binary(self, data: bytes) -> None:
        """A binary message."""

    def session_closed(self, reason: str) -> None:
        """The session has ended; called once, after the batch in which it did."""

    def next_deadline(self) -> float:
        """When expire is due, on trio's clock; infinity for never."""

    def expire(self, now: float) -> None:
        """Called at or after next_deadline."""


class _Nobody:
    """The listener of a session that has not opened yet, or has ended."""

    def receive_text(self, packet: bytes) -> None:
        """The session was closed by an earlier packet of the same batch."""

    def receive_binary(self, data: bytes) -> None:
        """See receive_text."""

    def session_closed(self, reason: str) -> None:
        """The session was refused before it had a listener."""

    def next_deadline(self) -> float:
        """Never."""
        return inf

    def expire(self, now: float) -> None:
        """Never called."""


NOBODY: Final = _Nobody()
"""Listens while nobody else does."""
