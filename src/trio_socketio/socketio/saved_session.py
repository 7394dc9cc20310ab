"""What is kept of a socket whose client may come back."""

from typing import Any

import msgspec


class RoomChange(msgspec.Struct, frozen=True, gc=False):
    """A socket joined or left a room.

    Args:
        number: of the last packet before.
        room: which.
        was_member: whether it was in it before.
    """

    number: int
    room: str
    was_member: bool


class SavedSession(msgspec.Struct):
    """What is kept of a socket whose client may come back.

    Args:
        pid: what the client calls it; a secret.
        id: of the socket.
        namespace: name of it.
        rooms: that the socket was in, without its own.
        data: what the program remembers of the client.
        received: number of a packet; the client has it and all before it.
        confirmed: the same, as the heartbeat tells.
        blind: number of a packet; nobody knows any more in which rooms the socket was before it.
        changes: of its rooms, in order.
        ends_at: when it is given up, on trio's clock.
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
