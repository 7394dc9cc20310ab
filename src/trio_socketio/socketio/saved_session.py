"""The state of a socket that is saved in case its client comes back."""

from typing import Any

import msgspec


class RoomChange(msgspec.Struct, frozen=True, gc=False):
    """A socket has joined or left a room.

    Args:
        number: of the last packet before the change.
        room: the room.
        was_member: whether the socket was in the room before.
    """

    number: int
    room: str
    was_member: bool


class SavedSession(msgspec.Struct):
    """The state of a socket that is saved in case its client comes back.

    Args:
        pid: names the session to its client; a secret.
        id: of the socket.
        namespace: its name.
        rooms: those that the socket was in, without its own.
        data: what the program remembers of the client.
        received: number of a packet; the client has this packet and all before it.
        confirmed: the same, according to the heartbeat.
        blind: number of a packet; in which rooms the socket was before it is no longer known.
        changes: of the socket's rooms, in order.
        ends_at: when the session expires, on trio's clock.
    """

    pid: str
    id: str
    namespace: str
    rooms: frozenset[str]
    data: dict[str, Any]
    received: int
    confirmed: int
    blind: int
    changes: tuple[RoomChange, ...]
    ends_at: float
