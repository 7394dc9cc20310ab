"""Notes which clients of each user are in, as a server sees it."""

import time
from math import inf

import msgspec

from trio_socketio import Observer, Socket


class Stay(msgspec.Struct):
    """A client was in from one moment to another.

    Args:
        user: who it was.
        id: the public id of its socket.
        joined_at, left_at: in seconds on the clock of this machine, which all processes share.
    """

    user: str
    id: str
    joined_at: float
    left_at: float = inf


class Inside(Observer):
    """Notes who is in, on all servers of a process.

    Args:
        maximum: how many clients a user may have.
    """

    def __init__(self, maximum: int = 1) -> None:
        self.by_user: dict[str, dict[Socket, Stay]] = {}
        self.stays: list[Stay] = []
        self.complaints: list[str] = []
        self._maximum = maximum

    def joined(self, socket: Socket) -> None:
        assert socket.user is not None
        stay = Stay(socket.user, socket.public_id, time.monotonic())
        inside = self.by_user.setdefault(socket.user, {})
        if len(inside) >= self._maximum:  # I7
            self.complaints.append(f"{socket.user}: one too many is in, {socket.public_id}")
        inside[socket] = stay
        self.stays.append(stay)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        assert socket.user is not None
        inside = self.by_user[socket.user]
        inside.pop(socket).left_at = time.monotonic()
        if not inside:
            del self.by_user[socket.user]

    def answer(self, socket: Socket) -> None:
        """The handler of "here"."""
        if socket not in self.by_user.get(socket.user or "", ()):
            self.complaints.append(f"{socket.user}: an event was handled of a client that is out")
