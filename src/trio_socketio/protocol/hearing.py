"""Whether another node is heard while it has requests of this one. Time is an argument.

While there are requests, the other node is sent a pulse now and then, and anything that it says
counts. What was sent after it was heard last may not have reached it: that fails when the node has
been silent for too long, and nothing more is sent to it until it is heard again. What it has been
heard after, it is known to be at work on, and is left alone: a poll may take half a minute.
"""

from collections.abc import Hashable
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

INTERVAL_S: Final = 0.5
SILENCE_S: Final = 1.5

Item = TypeVar("Item", bound=Hashable)


class Due(NamedTuple, Generic[Item]):
    """What is to be done.

    Args:
        failed: the requests that are given up.
        pulse: whether a pulse is to be sent.
    """

    failed: tuple[Item, ...] = ()
    pulse: bool = False


class Hearing(Generic[Item]):
    """The requests that another node has of this one. All times: seconds on the caller's clock.

    Args:
        interval_s: the time between two pulses.
        silence_s: how long the other node may be silent while something waits for it.

    Attributes:
        heard: to be set to True whenever the other node has said anything.
        is_silent: whether nothing may be sent to it.
    """

    __slots__ = (
        "_interval_s",
        "_pulse_at",
        "_requests",
        "_silence_s",
        "_unheard",
        "_unheard_since",
        "heard",
        "is_silent",
    )

    def __init__(self, interval_s: float = INTERVAL_S, silence_s: float = SILENCE_S) -> None:
        self.heard = False
        self.is_silent = False
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._requests: dict[Item, None] = {}
        self._unheard: dict[Item, None] = {}  # those that were sent since it was heard last
        self._unheard_since = inf  # when something was sent to it first since then
        self._pulse_at = inf

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Item, now: float) -> bool:
        """Note that a request is sent.

        Returns:
            Whether next_deadline has come nearer.
        """
        if self.heard:
            self._note_heard()
        self._requests[request] = self._unheard[request] = None
        if self._unheard_since == inf:
            self._unheard_since = now
        if self._pulse_at < inf:
            return False
        self._pulse_at = now + self._interval_s
        return True

    def remove(self, request: Item) -> None:
        """Note that a request was answered or given up."""
        self._requests.pop(request, None)
        self._unheard.pop(request, None)

    def requests(self) -> tuple[Item, ...]:
        """All requests that are under way."""
        return tuple(self._requests)

    def advance(self, now: float) -> Due[Item]:
        """Do what is due."""
        if self.heard:
            self._note_heard()
        failed: tuple[Item, ...] = ()
        if now >= self._unheard_since + self._silence_s:  # FWD-20
            self.is_silent = True
            failed = tuple(self._unheard)
            for request in failed:
                self.remove(request)
        if now < self._pulse_at:
            return Due(failed)
        if not (self._requests or self.is_silent):
            self._pulse_at = self._unheard_since = inf
            return Due(failed)
        self._pulse_at = now + self._interval_s
        if self._unheard_since == inf:
            self._unheard_since = now
        return Due(failed, pulse=True)

    def next_deadline(self) -> float:
        """When `advance` has something to do."""
        silent_at = self._unheard_since + self._silence_s if self._unheard else inf
        return min(self._pulse_at, silent_at)

    def _note_heard(self) -> None:  # FWD-22
        self.heard = self.is_silent = False
        self._unheard.clear()
        self._unheard_since = inf
