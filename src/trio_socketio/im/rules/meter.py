"""Counts what clients do against rates: everything that an event uses up, or nothing of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from trio_socketio.im.rules.charges import Charge
from trio_socketio.im.rules.keys import share_key
from trio_socketio.im.rules.policy import SharedRate
from trio_socketio.protocol.token_bucket import Draw, TokenBuckets, TokenRate


class Shortage(NamedTuple):
    """A charge that cannot be made.

    Args:
        charge: the charge.
        wait_s: the time after which it can be; infinite if it never can, because it is more than
            the bucket holds.
    """

    charge: Charge
    wait_s: float


class Meter:
    """Makes charges.

    Attributes:
        buckets: hold the tokens.
        clock: in seconds.
    """

    __slots__ = ("buckets", "clock")

    def __init__(self, buckets: TokenBuckets[str], clock: Callable[[], float]) -> None:
        self.buckets = buckets
        self.clock = clock

    def draw(self, draws: Sequence[Draw[str]]) -> bool:
        """Take a token of each of several buckets, or none of any if one of them has none."""
        return self.buckets.draw(draws, self.clock())

    def take_shared(self, key: str, who: str, rate: SharedRate, tokens: int = 1) -> bool:
        """Take tokens that many users share, if there are so many for this one."""
        now, buckets, share = self.clock(), self.buckets, share_key(key, who)
        own_wait_s = buckets.take(share, rate.own, now, tokens)
        if own_wait_s and buckets.wait_for_half(key, rate.all, now, tokens):
            return False
        if not buckets.take(key, rate.all, now, tokens):
            return True
        if not own_wait_s:
            buckets.give_back(share, rate.own, tokens)
        return False

    def make(self, who: str, charges: Sequence[Charge]) -> Shortage | None:
        """Make charges: all of them, or none if one cannot be made (RULE-20).

        Args:
            who: does what is charged for.
            charges: each of another bucket.
        Returns:
            None if they were made; otherwise the one that has to wait longest.
        """
        shortage = self.find_shortage(who, charges)
        if shortage is None:
            now = self.clock()
            for _, _, key, rate, tokens in charges:
                if isinstance(rate, TokenRate):
                    self.buckets.take(key, rate, now, tokens)
                else:
                    self.take_shared(key, who, rate, tokens)
        return shortage

    def find_shortage(self, who: str, charges: Sequence[Charge]) -> Shortage | None:
        """Return the charge that has to wait longest; None if all can be made now."""
        now = self.clock()
        found = None
        for charge in charges:
            wait_s = self._find_wait(who, charge, now)
            if wait_s and (found is None or wait_s > found.wait_s):
                found = Shortage(charge, wait_s)
        return found

    def _find_wait(self, who: str, charge: Charge, now: float) -> float:
        """Return the time after which a charge can be made; 0 if it can be now.

        A user that takes more than half of the tokens that many users share is refused once half of
        them are gone (RULE-10).
        """
        key, rate, count = charge.key, charge.rate, charge.tokens
        wait = self.buckets.wait
        if isinstance(rate, TokenRate):
            return wait(key, rate, now, count)
        within_share_s = max(
            wait(share_key(key, who), rate.own, now, count), wait(key, rate.all, now, count)
        )
        if not within_share_s:
            return 0.0
        return min(within_share_s, self.buckets.wait_for_half(key, rate.all, now, count))
