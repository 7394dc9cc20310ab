"""Notices that a lease has ended, before the program goes on as if it still held it.

A process can stand still for longer than its lease lasts, because it was stopped, its machine was
asleep, or a handler has blocked it. By then others may have taken over its work. So the poller
reads the clock before it handles or sends anything more, and has the holder of the lease give up
first. A process that is stopped between reading the clock and the action itself still completes
that action, and nothing else.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""The time after which a holder that has failed is called again. As long as it has not given up,
two nodes may hold what the lease was for."""

# LEASE-55: CLOCK_MONOTONIC stands still while the machine is suspended; other machines go on.
boottime: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Returns the seconds since the machine was started, including those in which it slept."""


class Fence:
    """The time from which the holder of a lease may no longer rely on it.

    Args:
        fences: the fences that the poller watches.
    """

    __slots__ = ("_at", "_fences", "_passed")

    def __init__(self, fences: "Fences | None" = None) -> None:
        self._fences = Fences() if fences is None else fences
        self._at = inf
        self._passed: Callable[[], None] = _ignore

    @property
    def at(self) -> float:
        """The time, on the clock of `boottime`; infinity while there is no lease.

        A holder that has renewed its lease must check whether the old time has passed before it
        sets a new one, because its task may run before the poller does.
        """
        return self._at

    @at.setter
    def at(self, at: float) -> None:
        self._at = at
        self._fences.arrange(self)

    def use(self, passed: Callable[[], None]) -> None:
        """Have a plain function called when the time has come.

        It is called once, before anything more is handled or sent; `at` is then infinity until it
        is set again. A session that the function marks for closing ends before anything more of it
        is handled or sent. If the function raises, it is called again after RETRY_S.
        """
        self._passed = passed

    def close(self) -> None:
        """Forget the function and the time."""
        self._passed = _ignore
        self.at = inf


class Fences:
    """All fences of a program, for its poller.

    Args:
        clock: in seconds; see `boottime`.

    Attributes:
        at: the earliest of their times. The poller reads the clock only if it is finite.
        changed: called when the time of a fence was set.
        failures: how many exceptions the functions have raised. Each was logged.
        followers: called when a fence was passed, after its own function.
    """

    __slots__ = ("_clock", "_fences", "at", "changed", "failures", "followers")

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._fences: list[Fence] = []  # those with a time
        self.at = inf
        self.changed: Callable[[], None] = _ignore
        self.failures = 0
        self.followers: list[Callable[[], None]] = []

    def arrange(self, fence: Fence) -> None:
        """Note that the time of a fence has changed."""
        if fence in self._fences:
            self._fences.remove(fence)
        if fence.at < inf:
            self._fences.append(fence)
        self.at = min((one.at for one in self._fences), default=inf)
        self.changed()

    def is_passed(self) -> bool:
        """Whether `look` has to be called before anything is handled or sent."""
        return self.at < inf and self._clock() >= self.at

    def look(self) -> bool:
        """Call the function of each fence whose time has come; return whether there was one."""
        now = self._clock()
        if now < self.at:
            return False
        for fence in [one for one in self._fences if one.at <= now]:
            fence.at = inf  # LEASE-42
            if not self._call(fence._passed) and fence.at == inf:
                fence.at = now + RETRY_S  # LEASE-44
        for follow in self.followers:
            self._call(follow)
        return True

    def _call(self, function: Callable[[], None]) -> bool:
        try:
            function()
        except BaseException:
            self.failures += 1
            log.exception("the end of a lease was not dealt with: this is a defect")
            return False
        return True


def _ignore() -> None:
    """Do nothing: the default of a callback."""
