"""Counts, logs and tells what clients may not do."""

import logging
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.im.rules.denial import REASONS
from trio_socketio.runtime.sampling import REFUSALS, SampledLog
from trio_socketio.socketio.credentials import ERROR_EVENT
from trio_socketio.socketio.identification import describe_client

if TYPE_CHECKING:
    from trio_socketio.im.rules.denial import Denied
    from trio_socketio.net.driving import Timetable
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

_KINDS: Final = {reason: f"refused by rules, {reason.replace('_', ' ')}" for reason in REASONS}
"""The kinds of lines, by reason."""


class Refusals:
    """What was refused.

    Attributes:
        by_reason: how often, by reason.
    """

    def __init__(self) -> None:
        self.by_reason = dict.fromkeys(REASONS, 0)
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    def begin(self, deadlines: "Timetable") -> None:
        """Sum up lines in time, from now on."""
        self._lines = SampledLog(log, logging.WARNING, REFUSALS, deadlines)

    def flush(self) -> None:
        """Write the sums of the lines that were only counted."""
        self._lines.flush()

    def note(self, socket: "Socket", denied: "Denied") -> "Denied":
        """Count a refusal, and write a line about it unless there are too many (RULE-14, -22)."""
        self.by_reason[denied.reason] += 1
        if self._lines.admits(_KINDS[denied.reason]):
            log.warning(
                "%s in %s was refused (%s): %s",
                describe_client(socket),
                socket.namespace.name,
                denied.reason,
                denied.message,
            )
        return denied


def tell(socket: "Socket", denied: "Denied") -> dict[str, Any]:
    """Tell a client why its event was refused; return the answer if it asks for one (RULE-03)."""
    told = denied.told()
    socket.emit(ERROR_EVENT, told)
    return told
