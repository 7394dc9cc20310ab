"""The interface of what handles the bytes that arrive on a connection."""

from typing import Final, Protocol


class Receiver(Protocol):
    """Handles what a connection reads.

    Its methods are called in a turn of the poller, which contains what they raise.
    """

    def receive_data(self, data: bytes) -> None:
        """Take bytes that arrived; never none."""

    def receive_more(self) -> None:
        """Go on with what earlier calls left. Called once for each Connection.call_again."""

    def connection_lost(self, reason: str) -> None:
        """Take note that the peer is gone, or was given up.

        Called at most once, and not after Connection.finish or abort.
        """


class _Nobody:
    """The receiver of a connection that is being closed; it throws everything away."""

    def receive_data(self, data: bytes) -> None:
        """Throw the bytes away: the connection is only drained."""

    def receive_more(self) -> None:
        """Do nothing."""

    def connection_lost(self, reason: str) -> None:
        """Do nothing: the end was expected."""


NOBODY: Final = _Nobody()
