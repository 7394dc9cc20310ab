"""Logs the failures of user code without filling the log."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from trio_socketio.runtime.sampling import Pace, Sampler
from trio_socketio.runtime.verdicts import RefusalReturned

log = logging.getLogger(__name__)

IN_FULL: Final = 5
"""How many failures of one kind are logged with their traceback; later ones are summed up."""
INTERVAL_S: Final = 60.0
"""The time between two such sums. After as long without a failure, tracebacks are logged again."""


class FailureLog:
    """Logs failures. Its callers count them.

    Args:
        clock: in seconds. It is not trio's, because handlers may fail where trio does not run.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        # A kind is a function and a class of exception.
        self._sampler = Sampler[tuple[str, str]](Pace(IN_FULL, 0), INTERVAL_S, _sum_up, clock)

    def tell(self, whose: str, socket_id: str, error: BaseException) -> None:
        """Log a failure now, or count it in the next sum (SURF-34).

        Args:
            whose: the function that failed, by a name that the program has given. A name that a
                client can choose must not be in it, because a new name is logged in full at first.
            socket_id: the id of the socket for which it was called; empty if there is none.
            error: what it raised.
        """
        left = self._sampler.admit((whose, type(error).__qualname__))
        if not left:
            return
        whom = f" for socket {socket_id}" if socket_id else ""
        if isinstance(error, RefusalReturned):  # its message says as much as a traceback would
            log.error("%s failed%s: %s", whose, whom, error)
        else:
            log.error("%s failed%s", whose, whom, exc_info=error)
        if left == 1:
            log.error("%s: further failures are summed up every %g s", whose, INTERVAL_S)

    def flush(self) -> None:
        """Log the sums of what was not logged yet, and forget everything."""
        self._sampler.flush()


def _sum_up(key: tuple[str, str], number: int, _: float) -> None:
    log.error("%s failed %d more times with %s", key[0], number, key[1])
