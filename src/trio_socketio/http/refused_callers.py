"""Counts and logs requests from callers who have no access."""

import logging
from typing import TYPE_CHECKING, Final

from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.http.request import Request
    from trio_socketio.net.driving import Timetable

log = logging.getLogger(__name__)

_REASONS: Final = {
    "host": "its Host header does not name this port (hosts in [admin])",
    "origin": "a page of another origin has sent it",
    "token_missing": "it has no bearer token in its Authorization header",
    "token_wrong": "there is no such token",
}


class RefusedCallers:
    """The refused requests to a port whose callers have no access (OPS-11).

    Attributes:
        counts: the number of requests by reason: host, origin, token_missing and token_wrong.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_REASONS, 0)
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    def begin(self, deadlines: "Timetable") -> None:
        """From now on, sum up the requests that are not logged one by one."""
        self._lines = SampledLog(log, logging.WARNING, REFUSALS, deadlines)

    def end(self) -> None:
        """Log the last sum."""
        self._lines.flush()

    def refused(self, request: "Request", reason: str) -> None:
        """Count and log a request that is being refused.

        Args:
            request: the request.
            reason: a key of counts.
        """
        self.counts[reason] += 1
        if self._lines.admits(f"refused requests ({reason})"):
            # The token and the headers are not shown, because the sender has chosen them.
            where = request.address or "a Unix socket"
            log.warning("refused a request from %s: %s", where, _REASONS[reason])
