"""Counts what clients do against rates: everything that an event uses up, or nothing of it."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final, NamedTuple

from trio_socketio.im.rules import denial
from trio_socketio.im.rules.denial import Denied, show
from trio_socketio.im.rules.policy import SharedRate
from trio_socketio.protocol.token_bucket import TokenBuckets, TokenRate
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX

_LONG: Final = 64
"""Names of rooms with more characters are counted by their hashes, so that they take little."""


class Charge(NamedTuple):
    """What an event uses up of one rate.

    Args:
        reason: of the denial if the rate does not allow it.
        name: of the event, room or namespace, for the denial.
        key: of the bucket.
        rate: of the bucket; a shared one has a bucket for each user besides.
        tokens: how many.
    """

    reason: str
    name: str
    key: tuple[str, ...]
    rate: TokenRate | SharedRate
    tokens: int = 1


def room_key(place: str, room: str) -> tuple[str, ...]:
    """Return the key of the bucket of a room of a namespace."""
    return ("room", place, room if len(room) <= _LONG else str(hash(room)))


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

    def __init__(self, buckets: TokenBuckets[tuple[str, ...]], clock: Callable[[], float]) -> None:
        self.buckets = buckets
        self.clock = clock

    def take_shared(
        self, key: tuple[str, ...], who: str, rate: SharedRate, tokens: int = 1
    ) -> bool:
        """Take tokens that many users share, if there are so many for this one."""
        now, buckets = self.clock(), self.buckets
        own_wait_s = buckets.take((*key, who), rate.own, now, tokens)
        if own_wait_s and buckets.wait_for_half(key, rate.all, now, tokens):
            return False
        if not buckets.take(key, rate.all, now, tokens):
            return True
        if not own_wait_s:
            buckets.give_back((*key, who), rate.own, tokens)
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
            wait((*key, who), rate.own, now, count), wait(key, rate.all, now, count)
        )
        if not within_share_s:
            return 0.0
        return min(within_share_s, self.buckets.wait_for_half(key, rate.all, now, count))


def deny(charge: Charge, wait_s: float) -> Denied:
    """Return the denial of a charge (RULE-21).

    Args:
        charge: that cannot be made now.
        wait_s: the time after which it can be; infinite if it never can.
    """
    if wait_s == inf:
        rate = charge.rate if isinstance(charge.rate, TokenRate) else charge.rate.own
        return Denied(charge.reason, _MOST[charge.reason](charge.name, rate.capacity), None)
    return denial.too_often(charge.reason, _TOO_OFTEN[charge.reason](charge.name), wait_s)


def _show_room(room: str) -> str:
    if room.startswith(USER_ROOM_PREFIX):
        return f"the user {show(room.removeprefix(USER_ROOM_PREFIX))}"
    return f"the room {show(room)}"


_TOO_OFTEN: Final[dict[str, Callable[[str], str]]] = {
    denial.EVENT_RATE: lambda event: f"you send the event {show(event)} too often",
    denial.USER_RATE: lambda _: "you send too many events",
    denial.NAMESPACE_RATE: lambda place: f"there are too many events in {place}",
    denial.JOIN_RATE: lambda _: "you enter rooms too often",
    denial.ROOM_RATE: lambda room: f"there are too many messages to {_show_room(room)}",
}
_MOST: Final[dict[str, Callable[[str, int], str]]] = {
    denial.JOIN_RATE: lambda _, most: f"you can enter at most {most} rooms at a time",
    denial.ROOM_RATE: lambda room, most: (
        f"you can send at most {most} messages at a time to {_show_room(room)}"
    ),
}
"""By reason, for charges of more than one token."""
