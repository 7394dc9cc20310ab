"""Token buckets, by key: a limit on how often something may happen.

A bucket holds `burst` tokens and regains `per_s` of them in a second; what happens takes one, or as
many as happen at once.
A bucket is kept as the time at which it will be full again, so it needs no refilling, and a bucket
that is full need not be kept at all. The number of buckets is bounded.
"""

from collections.abc import Hashable, Sequence
from itertools import islice
from math import inf
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

SLACK_S: Final = 1e-7
"""A token that is due within this time is there. It is above the rounding of large clocks."""

ENOUGH: Final = 1000
"""How many full buckets are forgotten at once."""

Key = TypeVar("Key", bound=Hashable)

Draw: TypeAlias = tuple[Key, float, float]
"""One token of a bucket: its key, and the two times of its rate. It is a plain tuple, which CPython
unpacks much faster than a named one."""


class TokenRate(NamedTuple):
    """The rate of a bucket.

    Args:
        interval_s: the time in which a token comes.
        fill_s: the time in which an empty bucket becomes full.
    """

    interval_s: float
    fill_s: float

    @property
    def capacity(self) -> int:
        """How many tokens a full bucket holds."""
        return int((self.fill_s + SLACK_S) / self.interval_s)


def token_rate(per_s: float, burst: float) -> TokenRate:
    """Return the rate of a bucket.

    Args:
        per_s: how many tokens come in a second; above zero.
        burst: how many tokens a full bucket holds; 1 or more.
    """
    return TokenRate(1 / per_s, burst / per_s)


def draw_of(key: Key, rate: TokenRate) -> Draw[Key]:
    """Return what `TokenBuckets.draw` takes for one token of a bucket."""
    return (key, rate.interval_s, rate.fill_s)


class TokenBuckets(Generic[Key]):
    """Buckets, each with its key. The rate is an argument, so it may change between two calls.

    Args:
        most: how many buckets are kept that are not full. Beyond it the one that was used least
            recently is forgotten, as if it were full (RULE-19).

    Attributes:
        evicted: how many buckets were forgotten that were not full.
        most: may be changed at any time.
    """

    __slots__ = ("_full_at", "_pop", "_room", "evicted", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.evicted = 0
        self._full_at: dict[Key, float] = {}  # least recently used first
        self._pop = self._full_at.pop  # to look it up takes a tenth of what `draw` does
        self._room = 0  # how many keys may come before full buckets are looked for again

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, rate: TokenRate, now: float, count: int = 1) -> float:
        """Take tokens.

        Args:
            key: of the bucket.
            rate: of the bucket.
            now: seconds on the caller's clock.
            count: how many.
        Returns:
            0 if there were so many; otherwise nothing was taken, and it is the time in seconds
            after which there will be, infinite if a full bucket does not hold so many.
        """
        interval_s, fill_s = rate
        full_at = self._full_at.pop(key, now)
        if full_at < now:
            full_at = now
        elif full_at > now + fill_s:  # the rate was changed
            full_at = now + fill_s
        taken_s = interval_s * count
        wait_s = full_at + taken_s - now - fill_s
        if wait_s > SLACK_S:
            self._full_at[key] = full_at
            return wait_s if taken_s <= fill_s + SLACK_S else inf
        if len(self._full_at) >= self.most:
            self._make_room(now, 1)
        self._full_at[key] = full_at + taken_s
        return 0.0

    def draw(self, draws: Sequence[Draw[Key]], now: float) -> bool:
        """Take a token of each of several buckets, or none of any if one of them has none.

        It is `take`, for all of them in one call: events are counted on the path of a message.

        Args:
            draws: see Draw; each of another bucket.
            now: seconds on the caller's clock.
        Returns:
            Whether they were taken.
        """
        full_at_of, pop = self._full_at, self._pop
        latest = now + SLACK_S
        for key, interval_s, fill_s in draws:
            full_at = pop(key, now)
            if full_at <= now:  # a full bucket has a token
                full_at_of[key] = now + interval_s
                continue
            full_at += interval_s
            if full_at - latest > fill_s:
                full_at_of[key] = min(full_at - interval_s, now + fill_s)  # as in `take`
                self._undo(draws, key, now)
                return False
            full_at_of[key] = full_at
        if len(full_at_of) > self.most:
            self._make_room(now, 0)
        return True

    def _undo(self, draws: Sequence[Draw[Key]], end: Key, now: float) -> None:
        """Put back what was drawn before a bucket had no token."""
        for key, interval_s, _ in draws:
            if key is end:
                break
            self._full_at[key] -= interval_s
        if len(self._full_at) > self.most:
            self._make_room(now, 0)

    def give_back(self, key: Key, rate: TokenRate, count: int = 1) -> None:
        """Put back tokens that were taken a moment ago."""
        full_at = self._full_at.get(key)
        if full_at is not None:
            self._full_at[key] = full_at - rate.interval_s * count

    def wait(self, key: Key, rate: TokenRate, now: float, count: int = 1) -> float:
        """Return what `take` would, and take nothing."""
        return self._wait(key, rate, now, count, rate.fill_s)

    def wait_for_half(self, key: Key, rate: TokenRate, now: float, count: int = 1) -> float:
        """Return the time after which a bucket has half of its tokens left when some were taken.

        Returns:
            0 if that is so now; infinite if they are more than half of what it holds.
        """
        return self._wait(key, rate, now, count, rate.fill_s / 2)

    def _wait(self, key: Key, rate: TokenRate, now: float, count: int, usable_s: float) -> float:
        taken_s = rate.interval_s * count
        if taken_s > usable_s + SLACK_S:
            return inf
        used_s = min(max(self._full_at.get(key, now) - now, 0.0), rate.fill_s)
        wait_s = used_s + taken_s - usable_s
        return wait_s if wait_s > SLACK_S else 0.0

    def _make_room(self, now: float, coming: int) -> None:
        """Forget the buckets that are full, or else those that were used least recently.

        Args:
            now: seconds on the caller's clock.
            coming: how many buckets are about to be added.

        To look through 100,000 takes some milliseconds. So it ends when enough were found, and if
        they were not, a quarter as many keys may come before it is done again.
        """
        self._room -= 1
        if self._room <= 0:
            full = list(islice((key for key, at in self._full_at.items() if at <= now), ENOUGH))
            for key in full:
                del self._full_at[key]
            self._room = 0 if len(full) == ENOUGH else self.most // 4
        while len(self._full_at) + coming > max(self.most, 1):
            oldest = next(iter(self._full_at))
            if self._full_at.pop(oldest) > now:
                self.evicted += 1
