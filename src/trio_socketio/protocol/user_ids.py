"""The ids of users, and the names of rooms that are kept for users and sockets."""

from typing import Final

from trio_socketio.errors import RemoteProtocolError

MAX_USER_ID: Final = 128
"""The number of characters that a user id may have."""

_ROOM_PREFIX: Final = "user:"
_SOCKET_ID_CHARACTERS: Final = 20  # rooms of this length are those of sockets, on every node
_MAX_INTEGER: Final = 10**20


def parse_user_id(value: object) -> str:
    """Return the id of a user as text; an integer becomes its decimal text (PRES-04).

    Args:
        value: as it came from outside.
    Raises:
        RemoteProtocolError: it is not a valid user id.
    """
    if type(value) is int and abs(value) < _MAX_INTEGER:
        return str(value)
    if type(value) is not str:
        kind = "an integer of more than 20 digits" if type(value) is int else type(value).__name__
        raise RemoteProtocolError(f"the id of a user is text or an integer, not {kind}")
    if not 0 < len(value) <= MAX_USER_ID:  # PRES-05
        raise RemoteProtocolError(
            f"the id of a user has 1 to {MAX_USER_ID} characters, not {len(value)}"
        )
    if not value.isprintable():
        raise RemoteProtocolError("the id of a user has printable characters only")
    return value


def user_room(user: str) -> str:
    """Return the room that all sockets of a user in a namespace are in."""
    return _ROOM_PREFIX + user


def is_reserved_room(room: str) -> bool:
    """Whether clients may neither join a room nor name it; the program may (PRES-06).

    These are the rooms of users, and all rooms that could be that of a socket.
    """
    return room.startswith(_ROOM_PREFIX) or len(room) == _SOCKET_ID_CHARACTERS
