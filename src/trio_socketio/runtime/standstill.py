"""Finds out why the program stood still, to explain the loss of a lease.

A lease is lost because a function blocked the only thread, or because the process did not run: it
was stopped, or its machine was suspended. From inside, a handler that waits without using the
processor looks the same as a process that was stopped while it called that handler. The explanation
says no more than what can be known.
"""

import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.runtime.fence import Fences, boottime

if TYPE_CHECKING:
    from trio_socketio.runtime.deadlines import Deadlines, Entry

PULSE_S: Final = 1.0
"""How often the program reads its clocks while it holds a lease."""
STILL_S: Final = 0.5
"""A pulse that comes later than this shows that the program stood still."""
NOTE_S: Final = 0.1
"""A step that takes longer is remembered, even if it is not slow enough for the log."""

_MOSTLY: Final = 0.8  # a function that computes all the time is interrupted now and then


class Clocks:
    """The clocks whose differences show how time was spent. Each returns seconds."""

    __slots__ = ()

    def total(self) -> float:
        """All time."""
        return boottime()

    def awake(self) -> float:
        """The time for which the machine was not suspended."""
        return time.monotonic()

    def computed(self) -> float:
        """The time for which this thread has used a processor."""
        return time.thread_time()


class Standstill:
    """Reads the clocks once a second while a fence is in use; costs nothing otherwise.

    Args:
        fences: of the program.
        deadlines: those of the program, which call `expire` at each pulse.
        forget: called at each pulse, so that a step from before it is not blamed for a standstill
            after it.
        clocks: the clocks to read.
    """

    __slots__ = (
        "_awake",
        "_clocks",
        "_computed",
        "_deadlines",
        "_due_at",
        "_fences",
        "_forget",
        "_slow_s",
        "_told",
        "_total",
        "_what",
        "deadline_entry",
    )

    def __init__(
        self,
        fences: Fences,
        deadlines: "Deadlines",
        forget: Callable[[], None],
        clocks: Clocks | None = None,
    ) -> None:
        self._fences = fences
        self._deadlines = deadlines
        self._forget = forget
        self._clocks = clocks or Clocks()
        self.deadline_entry: Entry | None = None
        self._due_at = inf  # on trio's clock
        self._total = self._awake = self._computed = 0.0  # at the last pulse
        self._slow_s = 0.0  # the longest step since then
        self._what = ""
        self._told = ""
        fences.changed = self._follow

    def note(self, elapsed_s: float, what: str) -> None:
        """Remember a step that took long.

        Args:
            elapsed_s: its duration.
            what: the words in front of the duration, such as "the handler f of 'e' took".
        """
        if elapsed_s > self._slow_s:
            self._slow_s, self._what = elapsed_s, what

    def describe(self) -> str:
        """Say why the program stood still since its leases were renewed; empty if it did not."""
        if self.deadline_entry is not None:
            self._look()
        return self._told

    # -- the pulse

    def next_deadline(self) -> float:
        """When the next pulse is due, on trio's clock."""
        return self._due_at if self._fences.at < inf else inf

    def expire(self, now: float) -> None:
        """Read the clocks, and begin the next pulse."""
        self._look()
        self._begin()

    def _follow(self) -> None:
        """Begin if a fence is in use now, and forget a standstill that has cost no lease."""
        at = self._fences.at
        if at < inf:
            if self.deadline_entry is None:
                self._begin()
                self._deadlines.schedule(self)
            if at > self._clocks.total():
                self._told = ""

    def _begin(self) -> None:
        clocks = self._clocks
        self._due_at = trio.current_time() + PULSE_S
        self._total, self._awake = clocks.total(), clocks.awake()
        self._computed = clocks.computed()
        self._slow_s = 0.0
        self._forget()

    def _look(self) -> None:
        """Find out whether the pulse is late, and why."""
        clocks = self._clocks
        passed_s = clocks.total() - self._total
        still_s = passed_s - PULSE_S
        if still_s < STILL_S:
            return
        suspended_s = passed_s - (clocks.awake() - self._awake)
        computed_s = min(clocks.computed() - self._computed, passed_s)
        if suspended_s > still_s / 2:  # LEASE-59
            told = f"the machine was suspended for {suspended_s:.1f} s"
        elif self._slow_s > still_s / 2:
            told = f"{self._what} {self._slow_s:.1f} s"  # LEASE-56
            if computed_s < self._slow_s * _MOSTLY:  # LEASE-57
                told += (
                    f", and computed for {computed_s:.1f} s of it: for the rest it has waited "
                    "without letting others run, or the process was stopped or got no processor"
                )
        elif computed_s > still_s / 2:
            told = (
                f"the program computed for {computed_s:.1f} s without letting others run, but in "
                "no handler: perhaps in a task of the app"
            )
        else:  # LEASE-58
            told = (
                f"nothing of the program ran for {still_s:.1f} s: the process was stopped or got "
                "no processor, or a task that is no handler has waited without letting others run"
            )
        self._told = told
