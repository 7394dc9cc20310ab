"""What reads a connection."""

from typing import Final, Protocol


class Receiver(Protocol):
    """What reads a connection. Its methods are called in a turn, inside the poller's barrier."""

    def receive_data(self, data: bytes) -> None:
        """Bytes arrived; never empty."""

    def receive_more(self) -> None:
        """Go on with bytes that an earlier call left: asked for by Connection.call_again."""

    def connection_lost(self, reason: str) -> None:
        """The peer is gone or was given up; called once, not after close or abort."""


class _Nobody:
    """Receives for a connection that is being closed."""

    def receive_data(self, data: bytes) -> None:
        """Thrown away: the connection was answered and is draining."""

    def receive_more(self) -> None:
        """Nothing was left."""

    def connection_lost(self, reason: str) -> None:
        """Expected."""


NOBODY: Final = _Nobody()
