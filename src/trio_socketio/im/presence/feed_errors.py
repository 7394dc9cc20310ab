"""Why a presence log cannot be read from a cursor, and what its reader has to do."""

from typing import Any

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, GenerationChanged

_ANEW = "ask for presence.snapshot or presence.count, and go on from the cursor of that"


def unreadable(cursor: Cursor, found: CursorExpired | GenerationChanged) -> ControlError:
    """Return the error for a cursor that cannot be read from."""
    if isinstance(found, CursorExpired):  # FEED-17
        return ControlError(
            Code.CURSOR_EXPIRED,
            f"entries behind the cursor {cursor} are no longer kept: {_ANEW}",
            {"retryable": False, "oldest": str(found.oldest), "head": str(found.head)},
        )
    if cursor.generation == found.head.generation:
        last = f"whose last entry is {found.head}" if found.head.sequence else "which is empty"
        why = f"is ahead of the log, {last}"
    else:
        why = "belongs to a log that is no more"
    return ControlError(  # FEED-18
        Code.GENERATION_CHANGED,
        f"the cursor {cursor} {why}: {_ANEW}",
        {"retryable": False, "head": str(found.head)},
    )


def describe(error: ControlError) -> dict[str, Any]:
    """Return an error as a notification carries it."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    return told if error.data is None else {**told, "data": error.data}
