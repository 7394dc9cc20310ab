"""What user code raises: kept away from the program, and logged without filling the log."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from trio_socketio.runtime.verdicts import RefusalReturned

log = logging.getLogger(__name__)

IN_FULL: Final = 5
"""Failures of one kind that are told with their traceback; later ones are summed up."""
INTERVAL_S: Final = 60.0
"""Between two such sums; after so long without a failure, tracebacks are told again."""
MAX_KINDS: Final = 1000
"""Kinds that are told apart, for names of dynamic namespaces have no end."""


class _Kind:
    """Failures of one handler with one class of exception."""

    __slots__ = ("in_full", "last_at", "sum_at", "untold")

    def __init__(self) -> None:
        self.in_full = 0  # told with a traceback
        self.untold = 0  # since the last line
        self.last_at = 0.0
        self.sum_at = 0.0


class FailureLog:
    """Tells failures. Who calls it counts them.

    Args:
        clock: in seconds; handlers may fail where no trio runs.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def tell(self, whose: str, socket_id: str, error: BaseException) -> None:
        """Tell a failure now, or with the next sum.

        Args:
            whose: the function that failed, as the program knows it: one client must not be able to
                make up new ones, for each is told in full at first.
            socket_id: whom it failed for; empty where there is no socket.
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
            if isinstance(error, RefusalReturned):  # its message names the place
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
        """Tell what is left, and forget everything."""
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
        log.error("%s failed %d times more with %s", key[0], kind.untold, key[1])
        kind.untold = 0
