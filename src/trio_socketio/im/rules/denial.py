"""What is told of something that a client may not do."""

from typing import Any, Final, NamedTuple

BAD_PARAMETER: Final = 2
"""The contract's code for what a client must not ask for."""

EVENT: Final = "event_not_allowed"
ROOM: Final = "room_not_allowed"
USER: Final = "user_not_allowed"
CLAIM: Final = "bad_claim"
EVENT_RATE: Final = "event_rate"
USER_RATE: Final = "user_rate"
ROOM_RATE: Final = "room_rate"
NAMESPACE_RATE: Final = "namespace_rate"
JOIN_RATE: Final = "join_rate"
LOGIN_RATE: Final = "login_rate"

REASONS: Final = (
    EVENT,
    ROOM,
    USER,
    CLAIM,
    EVENT_RATE,
    USER_RATE,
    ROOM_RATE,
    NAMESPACE_RATE,
    JOIN_RATE,
    LOGIN_RATE,
)

_MAX_SHOWN: Final = 100


class Denied(NamedTuple):
    """Something that a client may not do, at least not now.

    Args:
        reason: one of REASONS; names it in metrics.
        message: what the client is told.
        retry_after_s: when it may be tried again, in seconds from now; None if retrying cannot
            help.
        number: which of several rooms or users it is about, from 0; None for all of them together.
    """

    reason: str
    message: str
    retry_after_s: float | None
    number: int | None = None

    def told(self) -> dict[str, Any]:
        """Return what the client is told."""
        told: dict[str, Any] = {
            "errcode": BAD_PARAMETER,
            "errmsg": self.message,
            "reason": self.reason,
        }
        if self.retry_after_s is not None:
            told["retry_after_s"] = self.retry_after_s
        return told


def too_often(reason: str, what: str, wait_s: float) -> Denied:
    """Return the denial of something that is done too often.

    Args:
        reason: one of REASONS.
        what: begins the message, in the plural.
        wait_s: the time after which it may be tried again.
    """
    wait_s = max(round(wait_s, 3), 0.001)
    return Denied(reason, f"{what}. Try again in {wait_s:g} s", wait_s)


def show(name: object) -> str:
    """Return a name that a client has made up, for a message."""
    text = str(name)
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
