"""A socket's place in its namespace: how far it has come, and the rooms that it is in."""

from trio_socketio.protocol.socket_life import Input, Life, advance


class Membership:
    """The life of a socket, and its rooms. The table is protocol/socket_life.py.

    Attributes:
        life: changed by this object alone.
        joined: the rooms that it is in, or those that it will be in once it has entered; without
            its own. The index of rooms keeps it up to date. None stands for an empty set.
        reason: why it has left; empty before.
    """

    __slots__ = ("_left_rooms", "joined", "life", "reason")

    def __init__(self) -> None:
        self.life = Life.ASKING
        self.joined: set[str] | None = None
        self.reason = ""
        self._left_rooms: frozenset[str] | None = None

    def accept(self) -> None:
        """The CONNECT is answered before it is known who the client is."""
        self.life = advance(self.life, Input.ACCEPT)

    def enter(self) -> "set[str] | None":
        """The socket is in its namespace.

        Returns:
            The rooms that it has yet to be put into.
        """
        self.life = advance(self.life, Input.ENTER)
        early, self.joined = self.joined, None
        return early

    def leave(self, reason: str) -> None:
        """The socket has left, or will never enter."""
        self.life = advance(self.life, Input.LEAVE)
        self.reason = reason

    def rooms(self, own: str) -> frozenset[str]:
        """The rooms that the socket is in, or was in when it left.

        Args:
            own: the room of its id.
        """
        if self._left_rooms is not None:
            return self._left_rooms
        return frozenset((own, *(self.joined or ())))

    def freeze(self, own: str) -> None:
        """Remember the rooms that the socket is in: it is about to leave them."""
        self._left_rooms = self.rooms(own)

    def join_early(self, room: str) -> None:
        """Enter a room as soon as the socket is in its namespace."""
        self.joined = (self.joined or set()) | {room}

    def leave_early(self, room: str) -> None:
        """Do not enter a room after all."""
        if self.joined is not None:
            self.joined.discard(room)
