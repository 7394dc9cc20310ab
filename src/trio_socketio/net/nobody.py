"""Receives for a connection that is being closed."""

from typing import Final


class _Nobody:
    """See Receiver."""

    def receive_data(self, data: bytes) -> None:
        """Thrown away: the connection was answered and is draining."""

    def receive_more(self) -> None:
        """Nothing was left."""

    def connection_lost(self, reason: str) -> None:
        """Expected."""


NOBODY: Final = _Nobody()
"""Receives while nobody else does."""
