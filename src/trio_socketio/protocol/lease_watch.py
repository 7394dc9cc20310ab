"""Which leases have ended, as one node sees it that asks for all of them again and again.

A lease is a value that its node changes whenever it renews it. No clock but the watcher's own
judges it, so it does not matter what the clocks of others say, or how they jump. What counts is how
long the watcher has seen the same value, without a break: while nobody can reach the store, nobody
can renew a lease either, and no time passes for any of them.
"""

from collections.abc import Mapping
from math import inf
from typing import Final

_BREAK: Final = 4
"""An answer that comes later than the lease divided by this begins all observations anew."""


class LeaseWatch:
    """Watches leases. All times: seconds on the watcher's clock, which must not stand still.

    Args:
        lease_s: how long a value may stay the same.
    """

    __slots__ = ("_answered_at", "_began_at", "_epoch", "_lease_s", "_seen")

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, tuple[str, float]] = {}  # value and since when, by boot
        self._answered_at = -inf
        self._epoch = 0
        self._began_at = inf

    def note(
        self, leases: Mapping[str, str], epoch: int, asked_at: float, now: float
    ) -> list[tuple[str, str]]:
        """Take an answer of the store.

        Args:
            leases: their values, by boot.
            epoch: of the store.
            asked_at: when it was asked.
            now: when the answer came.
        Returns:
            The boots whose leases have ended, and the values that they had all the time.
        """
        is_broken = now - self._answered_at > self._lease_s / _BREAK
        self._answered_at = now
        if is_broken:  # RSTORE-31
            self._seen.clear()
        if is_broken or epoch != self._epoch:
            self._epoch, self._began_at = epoch, now
        # Since when: the value was there when the answer came, at the latest. Until when: it was
        # there when the question left, at the earliest.
        self._seen = {
            boot: seen if (seen := self._seen.get(boot)) and seen[0] == value else (value, now)
            for boot, value in leases.items()
        }
        return [
            (boot, value)
            for boot, (value, since) in self._seen.items()
            if asked_at - since >= self._lease_s  # RSTORE-30
        ]

    def values(self) -> list[str]:
        """Return the values of all leases, as the store has answered last."""
        return [value for value, _ in self._seen.values()]

    def has_settled(self, now: float) -> bool:
        """Whether the epoch has been the same for a whole lease, without a break."""
        return now - self._began_at >= self._lease_s
