"""A socket's place in its namespace: its state, and the rooms that it is in."""

from trio_socketio.protocol.socket_life import Input, Life, advance


class Membership:
    """The life of a socket, and its rooms. The table of the states is in protocol/socket_life.py.

    Attributes:
        life: the state; changed by this object alone.
        joined: the rooms that the socket is in, or will be in once it has entered, without its own.
            The index of rooms keeps it up to date. None stands for an empty set.
        reason: why the socket has left; empty before.
    """

    __slots__ = ("_left_rooms", "joined", "life", "reason")

    def __init__(self) -> None:
        self.life = Life.ASKING
        self.joined: set[str] | None = None
        self.reason = ""
        self._left_rooms: frozenset[str] | None = None

    def accept(self) -> None:
        """Note that the CONNECT is answered before it is known who the client is."""
        self.life = advance(self.life, Input.ACCEPT)

    def enter(self) -> "set[str] | None":
        """Note that the socket is in its namespace.

        Returns:
            The rooms that it still has to be put into.
        """
        self.life = advance(self.life, Input.ENTER)
        early, self.joined = self.joined, None
        return early

    def leave(self, reason: str) -> None:
        """Note that the socket has left, or will never enter."""
        self.life = advance(self.life, Input.LEAVE)
        self.reason = reason

    def rooms(self, own: str) -> frozenset[str]:
        """Return the rooms that the socket is in, or was in when it left.

        Args:
            own: the room of its id.
        """
        if self._left_rooms is not None:
            return self._left_rooms
        return frozenset((own, *(self.joined or ())))

    def freeze(self, own: str) -> None:
        """Remember the rooms that the socket is in, because it is about to leave them.

        Args:
            own: the room of its id.
        """
        self._left_rooms = self.rooms(own)

    def join_early(self, room: str) -> None:
        """Have the socket put into a room as soon as it is in its namespace."""
        self.joined = (self.joined or set()) | {room}

    def leave_early(self, room: str) -> None:
        """Have the socket not put into a room after all."""
        if self.joined is not None:
            self.joined.discard(room)
