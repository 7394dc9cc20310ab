"""Token buckets, by key: a limit on how often something may happen.

A bucket holds `burst` tokens and regains `per_s` of them in a second; whatever happens takes one.
A bucket is kept as the time at which it will be full again, so it needs no refilling, and a bucket
that is full need not be kept at all. The number of buckets is bounded.
"""

from collections.abc import Hashable
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

SLACK_S: Final = 1e-7
"""A token that is due within this time is there. It is above the rounding of large clocks."""

ENOUGH: Final = 1000
"""How many full buckets are forgotten at once."""

Key = TypeVar("Key", bound=Hashable)


class TokenRate(NamedTuple):
    """The rate of a bucket.

    Args:
        interval_s: the time in which a token comes.
        fill_s: the time in which an empty bucket becomes full.
    """

    interval_s: float
    fill_s: float


def token_rate(per_s: float, burst: float) -> TokenRate:
    """Return the rate of a bucket.

    Args:
        per_s: how many tokens come in a second; above zero.
        burst: how many tokens a full bucket holds; 1 or more.
    """
    return TokenRate(1 / per_s, burst / per_s)


class TokenBuckets(Generic[Key]):
    """Buckets, each with its key. The rate is an argument, so it may change between two calls.

    Args:
        most: how many buckets are kept that are not full. Beyond it the one that was used least
            recently is forgotten, as if it were full (RULE-19).

    Attributes:
        evicted: how many buckets were forgotten that were not full.
        most: may be changed at any time.
    """

    __slots__ = ("_full_at", "_room", "evicted", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.evicted = 0
        self._full_at: dict[Key, float] = {}  # least recently used first
        self._room = 0  # how many keys may come before full buckets are looked for again

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, rate: TokenRate, now: float) -> float:
        """Take a token.

        Args:
            key: of the bucket.
            rate: of the bucket.
            now: seconds on the caller's clock.
        Returns:
            0 if there was a token; otherwise nothing was taken, and it is the time in seconds after
            which there will be one.
        """
        interval_s, fill_s = rate
        full_at = self._full_at.pop(key, now)
        if full_at < now:
            full_at = now
        elif full_at > now + fill_s:  # the rate was changed
            full_at = now + fill_s
        wait_s = full_at + interval_s - now - fill_s
        if wait_s > SLACK_S:
            self._full_at[key] = full_at
            return wait_s
        if len(self._full_at) >= self.most:
            self._make_room(now)
        self._full_at[key] = full_at + interval_s
        return 0.0

    def keeps_half(self, key: Key, rate: TokenRate, now: float) -> bool:
        """Whether a bucket still has half of its tokens when another one has been taken."""
        used_s = max(self._full_at.get(key, now) - now, 0.0)
        return used_s + rate.interval_s <= rate.fill_s / 2 + SLACK_S

    def _make_room(self, now: float) -> None:
        """Forget the buckets that are full, or else the one that was used least recently.

        To look through 100,000 takes some milliseconds. So it ends when enough were found, and if
        they were not, a quarter as many keys may come before it is done again.
        """
        self._room -= 1
        if self._room <= 0:
            full = list(islice((key for key, at in self._full_at.items() if at <= now), ENOUGH))
            for key in full:
                del self._full_at[key]
            self._room = 0 if len(full) == ENOUGH else self.most // 4
        while len(self._full_at) >= max(self.most, 1):
            oldest = next(iter(self._full_at))
            if self._full_at.pop(oldest) > now:
                self.evicted += 1
