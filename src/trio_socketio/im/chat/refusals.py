"""Why an event of a client is refused, and what the client is told."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.control.methods import read_misfit
from trio_socketio.errors import TrioSocketIOError
from trio_socketio.socketio.credentials import SERVER_ERROR

OK: Final = 0
BAD_PARAMETER: Final = 2
"""The contract's code for what a client has sent; the others are in socketio/credentials.py."""


class Reason(NamedTuple):
    """Why events are refused.

    Args:
        label: names the reason in metrics and in the log.
        errcode: the contract's code.
    """

    label: str
    errcode: int = BAD_PARAMETER


MALFORMED: Final = Reason("malformed")
TOO_MANY: Final = Reason("too_many")
BAD_NAME: Final = Reason("bad_name")
SPOOFED: Final = Reason("spoofed_sender")
OTHER_NAMESPACE: Final = Reason("other_namespace")
NOT_IN_ROOM: Final = Reason("not_in_room")
TOO_MANY_ROOMS: Final = Reason("too_many_rooms")
UNKNOWN_USER: Final = Reason("unknown_user")
NOT_SENT: Final = Reason("not_sent")
UNREACHED: Final = Reason("unreached", SERVER_ERROR)
REJECTED: Final = Reason("rejected")
NOT_ACCEPTED: Final = Reason("not_accepted", SERVER_ERROR)


class Refused(TrioSocketIOError):
    """An event of a client is refused, or was done in part; the client is told why.

    Args:
        reason: why.
        message: what the client is told.
        more: what the client is told besides.
    """

    def __init__(
        self, reason: Reason, message: str, more: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.more = more

    def at(self, place: str) -> "Refused":
        """Return the same refusal, which names the part of the event that it is about."""
        message = f"{place}: {self.message}" if place else self.message
        return Refused(self.reason, message, self.more)


def explain(error: msgspec.ValidationError, place: str) -> Refused:
    """Word an error of msgspec in the terms of JSON, and name the place in the event.

    Args:
        error: from the conversion of an argument.
        place: where the argument stands in the event; empty for the argument itself.
    """
    misfit = read_misfit(str(error))
    return Refused(MALFORMED, misfit.reason).at(".".join(filter(None, (place, misfit.place))))
