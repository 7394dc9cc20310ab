"""Decides whether a connection to Redis is alive, by messages that it publishes to itself.

A probe is a PUBLISH to a channel that only this connection is subscribed to. It proves what a PING
does not: that messages still arrive. Each probe is judged some seconds after it was sent:

===========================  ===================================================================
its message has come back    BACK
nothing at all was read      MISSED: the server or the network stands still
the reply came, no message   MISSED: the subscriber is starved
something else was read      BEHIND: the answer may lie behind input that we have not read yet
===========================  ===================================================================

After BACK and MISSED the next probe is sent. The second miss in a row ends the connection.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_MISSES: Final = 2
MAX_BEHIND: Final = 6
"""How often in a row we may be behind before that, too, is a miss."""


class Verdict(Enum):
    """What is known of a probe."""

    BACK = auto()
    MISSED = auto()
    BEHIND = auto()


@dataclass(slots=True)
class Liveness:
    """The probes of one connection.

    Args:
        misses: how many in a row were missed.
        sent: how many were sent. The payload of a probe is its number.
    """

    misses: int = 0
    sent: int = 0
    _behind: int = 0
    _came_back: int = 0
    _answered: int = 0
    _read_bytes: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether the connection has to end (REDIS-31)."""
        return self.misses >= MAX_MISSES

    def next_probe(self, read_bytes: int) -> int:
        """Return the number of a probe that is sent now.

        Args:
            read_bytes: how many bytes were read on the connection until now.
        """
        self.sent += 1
        self._read_bytes = read_bytes
        return self.sent

    def answered(self) -> None:
        """Note that Redis has replied to a probe. Replies come in the order of the probes."""
        self._answered += 1

    def came_back(self) -> None:
        """Note that the message of the last probe has arrived."""
        self._came_back = self.sent

    def judge(self, read_bytes: int) -> Verdict:
        """Judge the probe that was sent last.

        Args:
            read_bytes: how many bytes were read on the connection until now.
        """
        stands_still = read_bytes == self._read_bytes
        self._read_bytes = read_bytes
        if self._came_back >= self.sent:
            self.misses = self._behind = 0
            return Verdict.BACK
        if not stands_still and self._answered < self.sent and self._behind < MAX_BEHIND:
            self._behind += 1
            return Verdict.BEHIND  # REDIS-32
        self._behind = 0
        self.misses += 1
        return Verdict.MISSED
