"""Counts and logs requests of those who may not ask."""

import logging
from typing import TYPE_CHECKING, Final

from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.http.request import Request
    from trio_socketio.net.driving import Timetable

log = logging.getLogger(__name__)

_REASONS: Final = {
    "host": "its Host header names no host of this port (hosts in [admin] and [control])",
    "origin": "a page of a browser has sent it",
    "token_missing": "it has no bearer token in its Authorization header",
    "token_wrong": "there is no such token",
}


class RefusedCallers:
    """The requests that a port has refused because of who sent them (OPS-11).

    Attributes:
        counts: how many they are, by reason: host, origin, token_missing and token_wrong.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_REASONS, 0)
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    def begin(self, deadlines: "Timetable") -> None:
        """Sum up in the log, from now on, the requests of which it has not told."""
        self._lines = SampledLog(log, logging.WARNING, REFUSALS, deadlines)

    def end(self) -> None:
        """Write the last sum."""
        self._lines.flush()

    def refused(self, request: "Request", reason: str) -> None:
        """Count a request that is being refused, and tell of it.

        Args:
            request: the request.
            reason: one of those that are counted.
        """
        self.counts[reason] += 1
        if self._lines.admits(f"refused requests ({reason})"):
            # Neither the token nor the header is shown; whoever sent them has chosen them.
            where = request.address or "a Unix socket"
            log.warning("refused a request from %s: %s", where, _REASONS[reason])
