"""Which sockets of this node are in which room. Always in memory; adapters add the other nodes."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from trio_socketio.engine.fan_out import FanOut, Receiver
from trio_socketio.net.shared_output import MAX_BYTES

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.socketio.membership import Membership

_FEW: Final = 16
"""Up to so many receivers are sent a packet one by one, because sharing would not pay."""
_MOST_LEFT_OUT: Final = 4
"""If more than these are left out, the others are sent a packet one by one, too."""


class RoomMember(Receiver, Protocol):
    """A socket, as far as rooms need it."""

    @property
    def id(self) -> str:
        """The id of the socket."""

    @property
    def public_id(self) -> str:
        """The id that others may see."""

    @property
    def _membership(self) -> "Membership":
        """Holds the names of its rooms, which the index keeps up to date."""


Member = TypeVar("Member", bound=RoomMember)


class Rooms(Generic[Member]):
    """The index of the rooms of one namespace.

    Rooms exist on the server only: nothing is sent when a socket joins or leaves one, and no packet
    of a client can change them (SIO5-23). Every socket is in the room of its own id. That costs no
    entry, because the socket is found among the sockets. Others may join that room too.

    Attributes:
        sockets: those in the namespace, by id.
    """

    __slots__ = ("_aliases", "_fan_outs", "_rooms", "sockets")

    def __init__(self) -> None:
        self.sockets: dict[str, Member] = {}
        self._aliases: dict[str, Member] = {}  # by public id, where that is not the id
        self._rooms: dict[str, dict[Member, None]] = {}
        self._fan_outs: dict[tuple[str, ...], FanOut] = {}  # that may take more, by rooms

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, room: str) -> bool:
        """Whether any socket is in a room, that of an id included."""
        return room in self._rooms or self.find(room) is not None

    def names(self) -> list[str]:
        """Return the rooms that a socket has joined, other than those of ids."""
        return list(self._rooms)

    def enter(self, socket: Member) -> None:
        """Take a socket into the namespace, and so into the room of its own id."""
        self._fan_outs.clear()
        self.sockets[socket.id] = socket
        if socket.public_id is not socket.id:  # JOIN-28: `to` accepts both
            self._aliases[socket.public_id] = socket

    def add(self, socket: Member, room: str) -> None:
        """Put a socket into a room; a socket that is not in the namespace is ignored."""
        if room == socket.id or socket.id not in self.sockets:
            return
        self._fan_outs.clear()
        self._rooms.setdefault(room, {})[socket] = None
        membership = socket._membership
        if membership.joined is None:
            membership.joined = set()
        membership.joined.add(room)

    def remove(self, socket: Member, room: str) -> None:
        """Take a socket out of a room. The room ends with its last socket."""
        members = self._rooms.get(room)
        if members is None or members.pop(socket, self) is self:
            return
        self._fan_outs.clear()
        if not members:
            del self._rooms[room]
        if socket._membership.joined is not None:
            socket._membership.joined.discard(room)

    def remove_all(self, socket: Member) -> None:
        """Take a socket out of every room and of the namespace."""
        for room in list(socket._membership.joined or ()):
            self.remove(socket, room)
        self._fan_outs.clear()
        socket._membership.joined = None
        self.sockets.pop(socket.id, None)
        if socket.public_id is not socket.id:
            self._aliases.pop(socket.public_id, None)

    def find(self, socket_id: str) -> "Member | None":
        """Return the socket with this id or public id, or None."""
        return self.sockets.get(socket_id) or self._aliases.get(socket_id)

    @property
    def has_secret_ids(self) -> bool:
        """Whether the ids of some sockets are secret: those of clients 1.x and 2.x are."""
        return bool(self._aliases)

    def in_public(self, rooms: Iterable[str]) -> tuple[str, ...]:
        """Return rooms as others may know them: that of a socket by its public id (JOIN-28)."""
        found = ((room, self.sockets.get(room)) for room in rooms)
        return tuple(room if socket is None else socket.public_id for room, socket in found)

    def members(self, room: str) -> Collection[Member]:
        """Return the sockets in a room, each once."""
        joined = self._rooms.get(room)
        own = self.find(room)
        if own is None:
            return joined or ()
        return {own: None, **joined} if joined else (own,)

    def joined(self, room: str) -> Collection[Member]:
        """Return the sockets that have joined a room, apart from the one whose own room it is."""
        return self._rooms.get(room) or ()

    def select(self, rooms: Iterable[str], excluded: Iterable[str]) -> Collection[Member]:
        """Return the sockets in any of the rooms and in none of the excluded ones, each once.

        Args:
            rooms: none means all sockets.
            excluded: rooms whose sockets are left out (SIO5-24).
        """
        rooms = tuple(rooms)
        chosen: Collection[Member]
        if not rooms:
            chosen = self.sockets.values()
        elif len(rooms) == 1:
            chosen = self.members(rooms[0])
        else:
            chosen = dict.fromkeys(socket for room in rooms for socket in self.members(room))
        without = {socket for room in excluded for socket in self.members(room)}
        return [socket for socket in chosen if socket not in without] if without else chosen

    def send(self, packet: "Outgoing", rooms: tuple[str, ...], excluded: tuple[str, ...]) -> int:
        """Send a packet to the sockets that `select` returns; return how many those are.

        Several packets to the same rooms, with more than a few receivers, cost little more than one
        if they are sent in the same turn.
        """
        receivers = self.select(rooms, ())
        left_out = {socket for room in excluded for socket in self.members(room)}
        if rooms and left_out:
            left_out = {socket for socket in left_out if socket in receivers}
        selected = len(receivers) - len(left_out)
        is_large = packet.byte_count() > MAX_BYTES  # BND-11: each connection sends it early
        if is_large or selected <= _FEW or len(left_out) > _MOST_LEFT_OUT:
            for socket in receivers:
                if socket not in left_out:
                    socket.session.send(packet)
            return selected
        fan_out = self._fan_outs.get(rooms)
        if fan_out is None or not fan_out.add(packet, left_out):
            fan_out = FanOut(receivers, packet, left_out, partial(self._forget_ended, rooms))
            if fan_out.is_open:  # otherwise nothing would end it, nor free its packet
                self._fan_outs[rooms] = fan_out
        return selected

    def _forget_ended(self, rooms: tuple[str, ...]) -> None:
        """Forget the fan-out to these rooms, which has ended, but not a newer one."""
        fan_out = self._fan_outs.get(rooms)
        if fan_out is not None and not fan_out.is_open:
            del self._fan_outs[rooms]
