"""Tells the clients of a room who comes and goes: users, not sockets.

Changes are reported after WINDOW_S, all those of the window together. A user who has come and gone
within it, or gone and come, is not reported: so a takeover is not. In a room with more users than a
bound nobody is told anything, because n users that come back at once would cost n times n messages.
When the room has fewer users again, clients have to ask who is there.

Each node counts users by its own sockets, and its reports reach the clients of the room on all
nodes, if the namespace has an adapter for that. Before a node reports that a user has left, it asks
the other nodes whether the user is in the room there, so that a user who has only moved, or has
another client, is not reported. Whatever the order, the last node that the user leaves reports it.
Nodes do not ask when a user comes: a user with clients on two nodes is reported as joined by both,
which changes nothing for a client that keeps a set of users. A lost node reports nothing, so its
users remain in that set until the client asks for the list. Presence has no such gap, because it
has leases.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.errors import AckTimeout, LocalProtocolError, OptionError
from trio_socketio.protocol.user_ids import is_reserved_room
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

ROOM_EVENT: Final = "presence/room"
"""Tells a client of a room ``{room, type, user}``, where type is joined or left."""
LIST_EVENT: Final = "presence/list"
"""Asks, with the name of a room, for the users who are in it; a client may ask of its own rooms."""

WINDOW_S: Final = 0.1
ASK_S: Final = 1.0
"""How long other nodes have to say who is in a room, in seconds."""
MAX_USERS: Final = 100
"""The users of a room in which clients are told, by default."""


class RoomWatchers:
    """Tells clients who comes into their rooms, and who leaves them, while the server serves.

    ::

        RoomWatchers(sio).watch("/chat", "team-*")

    Args:
        server: the server, which does not serve yet.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._watched: dict[str, WatchedNamespace] = {}
        self._changed = trio.Event()
        server.lifespan(self._live)

    def watch(self, namespace: str, rooms: str, *, max_users: int = MAX_USERS) -> None:
        """Tell the clients of some rooms. Rooms of users and of single sockets are none of them.

        Args:
            namespace: its name.
            rooms: the name of a room, or a pattern such as ``team-*``.
            max_users: in a room with more users, nobody is told.
        Raises:
            LocalProtocolError: rooms of the namespace are watched already.
            OptionError: max_users is not a whole number above 0.
        """
        if type(max_users) is not int or max_users < 1:
            raise OptionError("max_users", f"must be a whole number above 0, not {max_users!r}")
        space = self._server.of(namespace)
        if space.name in self._watched:
            raise LocalProtocolError(f"rooms of {space.name} are watched already")
        watched = WatchedNamespace(space, rooms, max_users, self._note)
        self._watched[space.name] = watched
        space.adapter.on("join_room")(watched.joined)
        space.adapter.on("leave_room")(watched.left)
        space.on(LIST_EVENT)(watched.list_users)

    def _note(self) -> None:
        self._changed.set()

    async def _live(self, server: "Server") -> AsyncIterator[None]:
        async with alone(trio.open_nursery()) as tasks:
            tasks.start_soon(self._tell_forever)
            yield
            tasks.cancel_scope.cancel()

    async def _tell_forever(self) -> None:
        while True:
            await self._changed.wait()
            await trio.sleep(WINDOW_S)
            self._changed = trio.Event()
            for watched in self._watched.values():
                await self._tell(watched)

    async def _tell(self, watched: "WatchedNamespace") -> None:
        changes = watched.take_changes()
        asked = {room for room, _, kind in changes if kind == "left"}
        elsewhere: dict[str, set[str]] = {}

        async def ask(room: str) -> None:
            elsewhere[room] = await watched.find_users(room)

        async with alone(trio.open_nursery()) as tasks:
            for room in asked:
                tasks.start_soon(ask, room)
        for room, user, kind in changes:
            if kind == "left" and user in elsewhere[room]:
                continue  # HOOK-34
            watched.tell(room, user, kind)
            await trio.lowlevel.checkpoint()  # each is a broadcast


class WatchedNamespace:
    """The watched rooms of one namespace.

    Args:
        space: the namespace.
        pattern: matches the rooms.
        max_users: in a room with more, nobody is told.
        note: called when something has changed.
    """

    def __init__(self, space: "Namespace", pattern: str, max_users: int, note: Any) -> None:
        self._space = space
        self._pattern = pattern
        self._max_users = max_users
        self._note = note
        self._users: dict[str, Counter[str]] = {}  # the number of sockets of each, by room
        self._user_of: dict[str, str] = {}  # by the id of a socket that is in a watched room
        self._changes: dict[str, dict[str, str]] = {}  # "joined" or "left", by room and user
        self._has_told = False  # that a room is too large

    def joined(self, room: str, socket_id: str) -> None:
        """Note that a socket is in a room: a hook of rooms."""
        socket = self._space.sockets.get(socket_id)
        if socket is None or socket.user is None or not self._is_watched(room):
            return
        self._user_of[socket_id] = socket.user
        users = self._users.setdefault(room, Counter())
        users[socket.user] += 1
        if users[socket.user] == 1:
            self._change(room, socket.user, "joined")

    def left(self, room: str, socket_id: str) -> None:
        """Note that a socket is no longer in a room: a hook of rooms."""
        user = self._user_of.get(socket_id)
        if room == socket_id:  # the last that a socket leaves
            self._user_of.pop(socket_id, None)
        users = self._users.get(room)
        if user is None or users is None or user not in users:
            return
        users[user] -= 1
        if not users[user]:
            del users[user]
            self._change(room, user, "left")
        if not users:
            del self._users[room]

    async def list_users(self, socket: "Socket", *arguments: Any) -> list[str] | None:
        """Answer a client that asks who is in one of its rooms: the handler of LIST_EVENT."""
        room = arguments[0] if arguments else None
        if type(room) is not str or room not in socket.rooms or not self._is_watched(room):
            return None
        users = await self.find_users(room)  # HOOK-35
        if not users or len(users) > self._max_users:
            return None
        return sorted(users)

    async def find_users(self, room: str) -> set[str]:
        """Return the users in a room on all nodes that answer within ASK_S."""
        try:
            found = await self._space.in_(room).timeout(ASK_S).fetch_sockets()
        except AckTimeout as error:
            users = {details.user for details in error.responses}
        else:
            users = {one.user for one in found}
        return {user for user in users if user is not None}

    def take_changes(self) -> list[tuple[str, str, str]]:
        """Return room, user and kind of what has changed since this was called last."""
        changes, self._changes = self._changes, {}
        return [
            (room, user, kind)
            for room, of_room in changes.items()
            if self._may_be_told(room)
            for user, kind in of_room.items()
        ]

    def _is_watched(self, room: str) -> bool:
        return fnmatchcase(room, self._pattern) and not is_reserved_room(room)

    def _change(self, room: str, user: str, kind: str) -> None:
        changes = self._changes.setdefault(room, {})
        if user in changes and changes[user] != kind:
            del changes[user]  # HOOK-31: nothing has changed within the window
        else:
            changes[user] = kind
        self._note()

    def _may_be_told(self, room: str) -> bool:
        if len(self._users.get(room, ())) <= self._max_users:
            return True
        if not self._has_told:
            self._has_told = True
            log.warning(
                "presence: the room %r of %s has more than %d users, so nobody in it is told who "
                "comes and goes; other such rooms are not named",
                room,
                self._space.name,
                self._max_users,
            )
        return False

    def tell(self, room: str, user: str, kind: str) -> None:
        """Tell the clients of a room, on all nodes."""
        self._space.to(room).emit(ROOM_EVENT, {"room": room, "type": kind, "user": user})
