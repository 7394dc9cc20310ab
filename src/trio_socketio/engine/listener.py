"""The interface to which a session hands its messages."""

from math import inf
from typing import Final, Protocol, cast

from trio_socketio.errors import LocalProtocolError


class Listener(Protocol):
    """Takes what a session receives. Called inside a turn; an exception closes the session.

    An app that mounts bare Engine.IO implements it; for Socket.IO the readers of socketio/ do.
    """

    def receive_text(self, packet: bytes) -> None:
        """Take a text message: UTF-8, with the type character in front."""

    def receive_binary(self, data: bytes) -> None:
        """Take a binary message."""

    def session_closed(self, reason: str) -> None:
        """The session has ended. Called once, after the batch in which it ended."""

    def next_deadline(self) -> float:
        """When `expire` is due, on trio's clock; infinity for never."""

    def expire(self, now: float) -> None:
        """Called at or after `next_deadline`."""


class _Nobody:
    """The listener of a session that has not opened yet, or has ended."""

    def receive_text(self, packet: bytes) -> None:
        """Ignore it: an earlier packet of the same batch has closed the session."""

    def receive_binary(self, data: bytes) -> None:
        """Ignore it, as `receive_text` does."""

    def session_closed(self, reason: str) -> None:
        """Do nothing: the session was refused before it had a listener."""

    def next_deadline(self) -> float:
        """Return infinity: nothing ever expires."""
        return inf

    def expire(self, now: float) -> None:
        """Do nothing; it is never called."""


NOBODY: Final = _Nobody()
"""The listener of every session that has none of its own."""


def check_listener(listener: object) -> Listener:
    """Return a listener, or refuse what lacks a method that is going to be called.

    Raises:
        LocalProtocolError: a method is missing.
    """
    for name in ("receive_text", "receive_binary", "session_closed", "next_deadline", "expire"):
        if not callable(getattr(listener, name, None)):
            raise LocalProtocolError(f"open_session returned {listener!r}, which has no {name}")
    return cast("Listener", listener)
