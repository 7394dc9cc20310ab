"""Notices that a lease has ended unseen, before the program goes on as if it still held it.

A process can stand still for longer than its lease lasts: it was stopped, its machine was asleep,
or a handler has blocked. By then others may have taken over what it had. So the poller looks at the
clock before it handles or sends anything more, and has the holder of the lease give up first. Only
a process that stands still between that look and the action itself can still be late; what it does
then is what it was about to do when it stopped.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""When a user that has failed is called again: as long as it has not given up, two nodes may hold
what its lease was for."""

# LEASE-55: CLOCK_MONOTONIC stands still while the machine is suspended, but others go on.
boottime: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Returns the seconds since the machine has started, those in which it slept included."""


class Fence:
    """The time from which the holder of a lease may not rely on it any more.

    Args:
        fences: those that the poller looks at.
    """

    __slots__ = ("_at", "_fences", "_passed")

    def __init__(self, fences: "Fences | None" = None) -> None:
        self._fences = Fences() if fences is None else fences
        self._at = inf
        self._passed: Callable[[], None] = _ignore

    @property
    def at(self) -> float:
        """The time, on the clock of `boottime`; infinity while there is no lease.

        A holder that has renewed its lease looks whether the time has come before it sets another,
        because its task may run before the poller does.
        """
        return self._at

    @at.setter
    def at(self, at: float) -> None:
        self._at = at
        self._fences.arrange(self)

    def use(self, passed: Callable[[], None]) -> None:
        """Have a plain function called when the time has come.

        It is called once, before anything more is handled or sent, and after that `at` is infinity
        until it is set again. Whatever the function marks for closing ends before anything more of
        it is handled or sent. One that raises is called again after RETRY_S.
        """
        self._passed = passed

    def close(self) -> None:
        """Forget the user."""
        self._passed = _ignore
        self.at = inf


class Fences:
    """The fences of a program, as its poller sees them.

    Args:
        clock: in seconds; see `boottime`.

    Attributes:
        at: the first of their times. The poller reads the clock only if it is finite.
        changed: called when the time of a fence was set.
        failures: how many exceptions their users have raised. Each was logged.
    """

    __slots__ = ("_clock", "_fences", "at", "changed", "failures")

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._fences: list[Fence] = []  # those with a time
        self.at = inf
        self.changed: Callable[[], None] = _ignore
        self.failures = 0

    def arrange(self, fence: Fence) -> None:
        """Take note that the time of a fence has changed."""
        if fence in self._fences:
            self._fences.remove(fence)
        if fence.at < inf:
            self._fences.append(fence)
        self.at = min((one.at for one in self._fences), default=inf)
        self.changed()

    def is_passed(self) -> bool:
        """Whether nothing may be handled or sent before `look` was called."""
        return self.at < inf and self._clock() >= self.at

    def look(self) -> bool:
        """Call the user of each fence whose time has come. Returns whether there was one."""
        now = self._clock()
        if now < self.at:
            return False
        for fence in [one for one in self._fences if one.at <= now]:
            fence.at = inf  # LEASE-42
            try:
                fence._passed()
            except BaseException:
                self.failures += 1
                log.exception("the end of a lease was not dealt with: this is a defect")
                if fence.at == inf:
                    fence.at = now + RETRY_S  # LEASE-44
        return True


def _ignore() -> None:
    """Stand in for a function that was not given."""
