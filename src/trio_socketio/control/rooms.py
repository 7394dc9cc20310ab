"""The methods that show and change rooms."""

from collections.abc import Iterable

import msgspec

from trio_socketio.control.failures import invalid, not_found
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, cut_page
from trio_socketio.control.spread import (
    MissingNodes,
    NodePage,
    OverNodes,
    Spread,
    merge_done,
    merge_pages,
)
from trio_socketio.control.targets import (
    MissingClients,
    Names,
    Users,
    check_last_socket,
    find_clients,
    find_namespace,
    missing_rooms,
    read_users,
)
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX, user_room
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket


class RoomInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A room.

    Args:
        room: its name.
        members: how many sockets have joined it.
    """

    room: str
    members: int


class RoomPage(NodePage, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the rooms of a namespace. In total, a room counts once for each node that has it.

    Args:
        rooms: in the order of their names.
    """

    rooms: list[RoomInfo]


class MemberPage(NodePage, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the sockets in a room.

    Args:
        members: public ids, in order.
    """

    members: list[str]


class Joined(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The result of putting sockets into rooms.

    Args:
        done: how many sockets are in all of the rooms now.
        missing: the names in the call that do not exist.
    """

    done: int
    missing: MissingClients


class MissingMembers(MissingNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; empty lists are left out.

    Args:
        rooms: no socket was in them.
        sockets: these are not in the namespace.
        users: these have no sockets in the namespace.
    """

    rooms: list[str] = msgspec.field(default_factory=list)
    sockets: list[str] = msgspec.field(default_factory=list)
    users: list[str] = msgspec.field(default_factory=list)


class Left(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The result of taking sockets out of rooms.

    Args:
        done: how many sockets have left at least one of the rooms.
        missing: the names in the call that do not exist.
    """

    done: int
    missing: MissingMembers


def join_rooms(one: RoomInfo, other: RoomInfo) -> RoomInfo:
    """Add up the members of a room on two nodes."""
    return RoomInfo(room=one.room, members=one.members + other.members)


class RoomMethods:
    """The methods rooms.*.

    Args:
        server: has the sockets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("rooms.join", Spread(merge_done))
    def join(
        self, rooms: Names, sockets: Names = (), users: Users = (), namespace: str = "/"
    ) -> Joined:
        """Put sockets into rooms. If any would be in too many rooms, its node does nothing.

        Args:
            rooms: the names of the rooms; a room is created by the first socket in it. The room of
                a user is for the user's own sockets, which are in it already.
            sockets: public ids.
            users: ids of users, which stand for all of their sockets.
            namespace: the namespace of the sockets.
        """
        place = find_namespace(self._server, namespace)
        found, missing = find_clients(place, sockets, users)
        if any(room in place.rooms.sockets for room in rooms):
            # Every socket in the room of that name would receive what is sent to one socket.
            raise invalid("rooms", "a socket's id cannot be the name of a room for others")
        _check_rooms_of_users(found, rooms)
        self._check_room_count(found, rooms)
        for socket in found:
            socket.join(rooms)
        return Joined(done=len(found), missing=missing)

    def _check_room_count(self, sockets: Iterable[Socket], rooms: Iterable[str]) -> None:
        """Refuse to put any socket into rooms if one of them would be in too many."""
        limit = self._server.options.max_rooms_per_socket
        full = [one.public_id for one in sockets if len(one.rooms.union(rooms)) > limit + 1]
        if full:  # CONTROL-04; the socket's own room does not count
            raise invalid(
                "rooms",
                f"{len(full)} sockets would be in more than {limit} rooms, max_rooms_per_socket: "
                "nothing was done",
                sockets=full[:100],
            )

    @rpc("rooms.leave", Spread(merge_done))
    def leave(
        self, rooms: Names, sockets: Names = (), users: Users = (), namespace: str = "/"
    ) -> Left:
        """Take sockets out of rooms.

        Args:
            rooms: the names of the rooms.
            sockets: public ids.
            users: ids of users, which stand for all of their sockets.
            namespace: the namespace of the sockets.
        """
        place = find_namespace(self._server, namespace)
        found, unknown = find_clients(place, sockets, users)
        _check_own_rooms(map(user_room, read_users(users)), rooms)
        absent = missing_rooms(place, rooms)
        missing = MissingMembers(rooms=absent, sockets=unknown.sockets, users=unknown.users)
        return Left(done=_take_out(found, rooms), missing=missing)

    @rpc("rooms.clear", Spread(merge_done))
    def clear(self, rooms: Names = (), users: Users = (), namespace: str = "/") -> Left:
        """Take all sockets out of rooms, or users out of all rooms that they are in.

        Args:
            rooms: the names of the rooms; give either these or users.
            users: ids of users, all of whose sockets leave all rooms.
            namespace: the namespace of the rooms.
        """
        place = find_namespace(self._server, namespace)
        if bool(rooms) is bool(users):
            raise invalid("rooms", "expected either rooms or users")
        if users:
            found, unknown = find_clients(place, (), users)
            done = sum(_take_out([one], _rooms_to_leave(one)) for one in found)
            return Left(done=done, missing=MissingMembers(users=unknown.users))
        _check_own_rooms((room for room in rooms if room.startswith(USER_ROOM_PREFIX)), rooms)
        absent = missing_rooms(place, rooms)
        members = dict.fromkeys(one for room in rooms for one in place.rooms.joined(room))
        return Left(done=_take_out(members, rooms), missing=MissingMembers(rooms=absent))

    @rpc("rooms.list", Spread(merge_pages("rooms", lambda one: one.room, join_rooms)))
    async def list_rooms(
        self, namespace: str = "/", after: str | None = None, limit: Limit = 100
    ) -> RoomPage:
        """Show the rooms of a namespace that sockets have joined, page by page.

        Args:
            namespace: the namespace of the rooms.
            after: the value of next from the previous page, or any name: the rooms that follow it
                are shown; null for the first page.
            limit: how many rooms a page may hold.
        """
        rooms = find_namespace(self._server, namespace).rooms
        page, total, following = await cut_page(rooms.names(), str, after, limit)
        shown = [RoomInfo(room=room, members=len(rooms.joined(room))) for room in page]
        return RoomPage(rooms=shown, total=total, next=following)

    @rpc("rooms.members", Spread(merge_pages("members", str)))
    async def list_members(
        self, room: str, namespace: str = "/", after: str | None = None, limit: Limit = 100
    ) -> MemberPage:
        """Show the sockets in a room, page by page.

        Args:
            room: its name.
            namespace: the namespace of the room.
            after: the value of next from the previous page; null for the first page.
            limit: how many sockets a page may hold.
        """
        check_last_socket(after)
        members = find_namespace(self._server, namespace).rooms.joined(room)
        if not members:
            raise not_found("room", "room", room)
        ids = [socket.public_id for socket in members]
        page, total, following = await cut_page(ids, str, after, limit)
        return MemberPage(members=page, total=total, next=following)


def _check_rooms_of_users(sockets: Iterable[Socket], rooms: Iterable[str]) -> None:
    """Refuse to put a socket into the room of a user that is not its own (CONTROL-98).

    It would get what is sent to that user.
    """
    reserved = [room for room in rooms if room.startswith(USER_ROOM_PREFIX)]
    if reserved:
        own = {None if socket.user is None else user_room(socket.user) for socket in sockets}
        for room in reserved:
            if own != {room}:
                raise invalid(
                    "rooms",
                    f"{room!r} is the room of a user, and only for the sockets of that user: "
                    "nothing was done",
                )


def _check_own_rooms(own: Iterable[str], rooms: Iterable[str]) -> None:
    """Refuse to take sockets out of the rooms of their users (CONTROL-92).

    Every node refuses it that can tell, so that no node says that somebody is not there.
    """
    rooms = frozenset(rooms)
    for room in own:
        if room in rooms:
            raise invalid(
                "rooms",
                f"sockets cannot leave the room of their user, {room!r}: to put them out of the "
                "namespace, use users.kick",
            )


def _take_out(sockets: Iterable[Socket], rooms: Iterable[str]) -> int:
    """Take sockets out of rooms; return how many of them have left a room.

    Raises:
        ControlError: one of the rooms is that of a socket's user; nothing was done.
    """
    sockets, rooms = tuple(sockets), dict.fromkeys(rooms)
    _check_own_rooms((user_room(one.user) for one in sockets if one.user is not None), rooms)
    done = 0
    for socket in sockets:
        joined = _rooms_to_leave(socket)
        there = [room for room in rooms if room in joined]
        for room in there:
            socket.leave(room)
        done += bool(there)
    return done


def _rooms_to_leave(socket: Socket) -> frozenset[str]:
    """Return the rooms that a socket can leave: neither its own nor that of its user."""
    own = {socket.id} if socket.user is None else {socket.id, user_room(socket.user)}
    return socket.rooms - own
