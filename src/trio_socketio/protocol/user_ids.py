"""The ids of users, and the names of rooms that are kept for users and sockets.

Every id of a user goes through this parser, whether a token, a backend, a configuration file or a
call on the control socket names it. So whoever can be identified can have a seat, and can be named.

The bound is in bytes, because it bounds memory, keys of stores and lines. It is not lower because
OpenID Connect lets the "sub" of a token have 255 ASCII characters.
"""

from typing import Final

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import RemoteProtocolError

MAX_USER_BYTES: Final = 256
"""The number of bytes that a user id may have in UTF-8."""

USER_ROOM_PREFIX: Final = "user:"
"""Begins the name of the room of a user."""

_SOCKET_ID_CHARACTERS: Final = 20  # rooms of this length are those of sockets, on every node
_MAX_INTEGER: Final = 10**20
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    bytes: "bytes",
    dict: "an object",
    float: "a fraction",
    list: "a list",
    type(None): "null",
}
"""Values that clients may send, in their words (IDENT-93)."""


def parse_user_id(value: object) -> str:
    """Return the id of a user as text; an integer becomes its decimal text (PRES-04, IDENT-01).

    Args:
        value: as it came from outside.
    Raises:
        RemoteProtocolError: it is not a valid user id.
    """
    if type(value) is not str:
        if type(value) is int and abs(value) < _MAX_INTEGER:
            return str(value)
        kind = "an integer of more than 20 digits" if type(value) is int else _name_kind(value)
        raise RemoteProtocolError(f"the id of a user is text or an integer, not {kind}")
    if not value:
        raise RemoteProtocolError("the id of a user cannot be empty")
    # PRES-05, IDENT-02; what is far too long is not encoded first, nor what is a byte a character.
    if len(value) > MAX_USER_BYTES or not (
        value.isascii() or len(value.encode("utf-8", "surrogatepass")) <= MAX_USER_BYTES
    ):
        raise RemoteProtocolError(f"the id of a user has at most {MAX_USER_BYTES} bytes")
    unfit = unfit_character(value)
    if unfit:
        raise RemoteProtocolError(f"the id of a user cannot have the character {unfit}")
    return value


def _name_kind(value: object) -> str:
    return _KINDS.get(type(value)) or type(value).__name__


def user_room(user: str) -> str:
    """Return the room that all sockets of a user in a namespace are in (JOIN-35)."""
    return USER_ROOM_PREFIX + user


def is_reserved_room(room: str) -> bool:
    """Whether clients may neither join a room nor name it; the program may (PRES-06).

    These are the rooms of users, and all rooms that could be that of a socket.
    """
    return room.startswith(USER_ROOM_PREFIX) or len(room) == _SOCKET_ID_CHARACTERS
