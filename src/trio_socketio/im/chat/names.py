"""The names of rooms that clients give."""

from typing import Final

from trio_socketio.codec.names import unfit_character
from trio_socketio.im.chat.refusals import BAD_NAME, Refused
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX, is_reserved_room

MAX_ROOM_BYTES: Final = 256
"""The number of bytes that the name of a room may have in UTF-8."""


def check_room(room: str, namespace: str) -> None:
    """Refuse a name that no room of clients can have (CHAT-11, CHAT-12).

    Args:
        room: as a client has given it.
        namespace: that the client is in.
    Raises:
        Refused: with the reason.
    """
    if not room:
        raise Refused(BAD_NAME, "the name of a room cannot be empty")
    if len(room) > MAX_ROOM_BYTES or len(room.encode("utf-8", "surrogatepass")) > MAX_ROOM_BYTES:
        raise Refused(BAD_NAME, f"the name of a room has at most {MAX_ROOM_BYTES} bytes")
    unfit = unfit_character(room)
    if unfit:
        raise Refused(BAD_NAME, f"the name of a room cannot have the character {unfit}")
    # The ids of old clients are the name of the namespace, # and the sid.
    if is_reserved_room(room) or room.startswith(f"{namespace}#"):
        raise Refused(
            BAD_NAME,
            f"{room!r} is reserved: rooms that begin with {USER_ROOM_PREFIX!r} or "
            f"'{namespace}#', or have exactly 20 characters, belong to users and sockets",
        )
