"""The lines of the log about what callers were refused."""

import logging
from typing import TYPE_CHECKING

from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.net.driving import Timetable

log = logging.getLogger(__name__)


class Refusals:
    """Logs what was refused to peers and clients: the first lines of each kind, and sums.

    Callers can cause such lines at will, even before they have given a token (CONTROL-70).
    """

    def __init__(self) -> None:
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    def begin(self, deadlines: "Timetable") -> None:
        """Write the sums when they are due, from now on."""
        self._lines = SampledLog(log, logging.WARNING, REFUSALS, deadlines)

    def end(self) -> None:
        """Write the last sums: the control service ends."""
        self._lines.flush()

    def tell(self, kind: str, message: str, *arguments: object) -> None:
        """Write a line, or count it.

        Args:
            kind: a few words of ours that begin the sum.
            message: with a format for each of the arguments.
            arguments: for the message.
        """
        if self._lines.admits(kind):
            log.warning(message, *arguments)
