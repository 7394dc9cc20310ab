"""What clients are told about their events, and the count of it."""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.im.chat.refusals import OK, Refused
from trio_socketio.runtime.sampling import REFUSALS, SampledLog
from trio_socketio.socketio.credentials import ERROR_EVENT
from trio_socketio.socketio.identification import describe_client
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.net.driving import Timetable

log = logging.getLogger(__name__)

ACCEPTED: Final = "accepted"


class Answers:
    """Tells clients what has become of their events.

    What the methods return is the acknowledgement, for a client that has asked for one. Old clients
    never do, so a refusal is an event as well (CHAT-04).

    Attributes:
        tally: how many events were accepted or refused, by name and result.
    """

    def __init__(self) -> None:
        self.tally: Counter[tuple[str, str]] = Counter()
        self._lines = SampledLog(log, logging.INFO, REFUSALS)

    def begin(self, deadlines: "Timetable") -> None:
        """Write the sums of refusals that are not logged one by one in time: serving begins."""
        self._lines = SampledLog(log, logging.INFO, REFUSALS, deadlines)

    def end(self) -> None:
        """Write the sums that are left."""
        self._lines.flush()

    def accept(self, event: str, **more: Any) -> dict[str, Any]:
        """Answer an event that was done.

        Args:
            event: its name.
            more: what the answer says besides.
        """
        self.tally[event, ACCEPTED] += 1
        return {"errcode": OK, "errmsg": "ok", **more}

    def refuse(
        self, socket: Socket, event: str, error: Refused, reply: str = ERROR_EVENT, **more: Any
    ) -> dict[str, Any]:
        """Answer an event that was refused, or that was done in part.

        Args:
            socket: of the client.
            event: its name.
            error: why.
            reply: the name of the event that tells the client.
            more: what the answer says besides.
        """
        label = error.reason.label
        self.tally[event, label] += 1
        if self._lines.admits(f"{event} refused: {label}"):  # CHAT-25, RULE-22
            log.info(
                "%s of %s in %s refused: %s",
                event,
                describe_client(socket),
                socket.namespace.name,
                error.message,
            )
        errmsg = error.message if reply != ERROR_EVENT else f"{event}: {error.message}"
        told = {"errcode": error.reason.errcode, "errmsg": errmsg, **error.more}
        socket.emit(reply, told)
        return {**told, **more}
