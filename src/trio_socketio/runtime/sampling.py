"""Lets the first lines of each kind into the log, and sums up those that come too fast.

Lines that clients can cause at will must neither fill the log nor hide other lines.
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from trio_socketio.net.driving import Timetable

SUM_S: Final = 10.0
"""The time between two sums of the lines of one kind."""
MAX_KINDS: Final = 1000
"""How many kinds are remembered; the one that began first is summed up and forgotten first."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Pace:
    """The pace at which lines of one kind are written.

    Args:
        burst: how many lines at once.
        per_s: how many in each second after that. With 0, no more are written until the kind has
            been quiet for the time between two sums.
    """

    burst: float
    per_s: float


SESSIONS: Final = Pace(100, 100)
"""The pace of the lines about opened sessions, and of those about ended ones."""
REFUSALS: Final = Pace(5, 5)
"""The pace of the lines about refused clients, for each reason. Like SESSIONS, it belongs to the
whole process, as the levels of its loggers do; ``ops.log`` changes both."""


class _Kind:
    """The lines of one kind."""

    __slots__ = ("last_at", "left", "since", "sum_at", "untold")

    def __init__(self, left: float, now: float) -> None:
        self.left = left  # how many may be written now
        self.last_at = now
        self.untold = 0  # how many were only counted since the last sum
        self.since = now  # when the first of them came
        self.sum_at = inf


class Sampler(Generic[Key]):
    """Decides whether a line is written or only counted.

    Args:
        pace: how many lines of each kind are written; it may change at any time.
        sum_s: the time between two sums.
        tell: writes a sum, given the kind, the number of lines, and the seconds in which they came.
        clock: in seconds.
        deadlines: times the sums; it must use the same clock. Without it, a sum waits for the next
            line of its kind, or for `flush`.
    """

    def __init__(
        self,
        pace: Pace,
        sum_s: float,
        tell: Callable[[Key, int, float], None],
        clock: Callable[[], float],
        deadlines: "Timetable | None" = None,
    ) -> None:
        self.deadline_entry: Any = None
        self._pace = pace
        self._sum_s = sum_s
        self._tell = tell
        self._clock = clock
        self._deadlines = deadlines
        self._kinds: dict[Key, _Kind] = {}
        self._sum_at = inf  # when the first of the sums is due

    def admit(self, key: Key) -> int:
        """Decide about a line that is about to be written.

        Returns:
            How many lines of this kind may be written now, this one included. If 0, the line must
            not be written; it was counted for the next sum.
        """
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is None or now - kind.last_at >= self._sum_s:
            kind = self._begin(key, now)
        else:
            pace = self._pace
            kind.left = min(pace.burst, kind.left + (now - kind.last_at) * pace.per_s)
            kind.last_at = now
        left = kind.left
        if left >= 1:
            kind.left = left - 1
            return int(left)
        self._count(key, kind, now)
        return 0

    def flush(self) -> None:
        """Write the sums of all lines that were only counted, and forget every kind."""
        now = self._clock()
        for key, kind in self._kinds.items():
            self._sum_up(key, kind, now)
        self._kinds.clear()
        self._sum_at = inf
        if self._deadlines is not None:
            self._deadlines.forget(self)

    def next_deadline(self) -> float:
        return self._sum_at

    def expire(self, now: float) -> None:
        for key, kind in self._kinds.items():
            if kind.sum_at <= now:
                kind.sum_at = now + self._sum_s if kind.untold else inf
                self._sum_up(key, kind, now)
        self._sum_at = min((kind.sum_at for kind in self._kinds.values()), default=inf)

    def _begin(self, key: Key, now: float) -> _Kind:
        old = self._kinds.pop(key, None)
        if old is not None:
            self._sum_up(key, old, now)
        elif len(self._kinds) >= MAX_KINDS:
            oldest = next(iter(self._kinds))
            self._sum_up(oldest, self._kinds.pop(oldest), now)
        kind = self._kinds[key] = _Kind(self._pace.burst, now)
        return kind

    def _count(self, key: Key, kind: _Kind, now: float) -> None:
        if not kind.untold:
            kind.since = now
        kind.untold += 1
        if kind.sum_at == inf:
            kind.sum_at = now + self._sum_s
            self._sum_at = min(self._sum_at, kind.sum_at)
            if self._deadlines is not None:
                self._deadlines.schedule(self)
        elif now >= kind.sum_at:
            kind.sum_at = now + self._sum_s
            self._sum_up(key, kind, now)

    def _sum_up(self, key: Key, kind: _Kind, now: float) -> None:
        if kind.untold:
            self._tell(key, kind.untold, now - kind.since)
            kind.untold = 0


class SampledLog:
    """Says which lines of a logger are written, and writes the sums of the others (LOG-20).

    A kind is a few words that begin its sum. They must hold no text from a client, because the
    first lines of each new kind are written in full.

    Args:
        log: the logger.
        level: the level of all these lines.
        pace: the pace of each kind.
        deadlines: those of the runtime; see Sampler.
    """

    def __init__(
        self,
        log: logging.Logger,
        level: int,
        pace: Pace,
        deadlines: "Timetable | None" = None,
    ) -> None:
        self._log = log
        self._level = level
        self._sampler = Sampler[str](pace, SUM_S, self._tell, trio.current_time, deadlines)

    def admits(self, kind: str) -> bool:
        """Whether a line of this kind is to be written. If the level is off, nothing is counted."""
        return self._log.isEnabledFor(self._level) and self._sampler.admit(kind) > 0

    def flush(self) -> None:
        """Write the sums of all lines that were only counted."""
        self._sampler.flush()

    def _tell(self, kind: str, number: int, elapsed_s: float) -> None:
        self._log.log(self._level, "%s: %s more in %.0f s", kind, f"{number:,}", elapsed_s)
