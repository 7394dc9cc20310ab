"""Logs the failures of user code without filling the log."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from trio_socketio.runtime.verdicts import RefusalReturned

log = logging.getLogger(__name__)

IN_FULL: Final = 5
"""How many failures of one kind are logged with their traceback; later ones are summed up."""
INTERVAL_S: Final = 60.0
"""The time between two such sums. After as long without a failure, tracebacks are logged again."""
MAX_KINDS: Final = 1000
"""How many kinds are remembered; the one that began first is summed up and forgotten first."""


class _Kind:
    """The failures of one function with one class of exception."""

    __slots__ = ("in_full", "last_at", "sum_at", "untold")

    def __init__(self) -> None:
        self.in_full = 0  # how many were logged with a traceback
        self.untold = 0  # how many were not logged since the last line
        self.last_at = 0.0
        self.sum_at = 0.0


class FailureLog:
    """Logs failures. Its callers count them.

    Args:
        clock: in seconds. It is not trio's, because handlers may fail where trio does not run.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def tell(self, whose: str, socket_id: str, error: BaseException) -> None:
        """Log a failure now, or count it in the next sum (SURF-34).

        Args:
            whose: the function that failed, by a name that the program has given. A name that a
                client can choose must not be in it, because a new name is logged in full at first.
            socket_id: the id of the socket for which it was called; empty if there is none.
            error: what it raised.
        """
        now = self._clock()
        key = whose, type(error).__qualname__
        kind = self._kinds.get(key)
        if kind is None or now - kind.last_at >= INTERVAL_S:
            kind = self._begin(key)
        kind.last_at = now
        if kind.in_full < IN_FULL:
            kind.in_full += 1
            kind.sum_at = now + INTERVAL_S
            whom = f" for socket {socket_id}" if socket_id else ""
            if isinstance(error, RefusalReturned):  # its message says all that a traceback would
                log.error("%s failed%s: %s", whose, whom, error)
            else:
                log.error("%s failed%s", whose, whom, exc_info=error)
            if kind.in_full == IN_FULL:
                log.error("%s: its next failures are summed up every %g s", whose, INTERVAL_S)
        else:
            kind.untold += 1
            if now >= kind.sum_at:
                kind.sum_at = now + INTERVAL_S
                _sum_up(key, kind)

    def flush(self) -> None:
        """Log the sums of what was not logged yet, and forget everything."""
        for key, kind in self._kinds.items():
            _sum_up(key, kind)
        self._kinds.clear()

    def _begin(self, key: tuple[str, str]) -> _Kind:
        old = self._kinds.pop(key, None)
        if old is not None:
            _sum_up(key, old)
        elif len(self._kinds) >= MAX_KINDS:
            oldest = next(iter(self._kinds))
            _sum_up(oldest, self._kinds.pop(oldest))
        kind = self._kinds[key] = _Kind()
        return kind


def _sum_up(key: tuple[str, str], kind: _Kind) -> None:
    if kind.untold:
        log.error("%s failed %d more times with %s", key[0], kind.untold, key[1])
        kind.untold = 0
