"""Rooms with hooks. They replace the plain rooms of a namespace once a program asks to be told."""

from typing import TYPE_CHECKING, Any, Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.jobs import Workers
from trio_socketio.signatures import check_event_key, check_function, is_async
from trio_socketio.socketio.rooms import Member, RoomMember, Rooms

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.socketio.handlers import Function

EVENTS: Final = {
    "create_room": ("room",),
    "delete_room": ("room",),
    "join_room": ("room", "socket id"),
    "leave_room": ("room", "socket id"),
}
"""The events of rooms, and the arguments of their hooks."""


class WatchedRooms(Rooms[Member]):
    """Rooms that call hooks when sockets come and go.

    Args:
        rooms: the plain rooms that these replace; their sockets are taken over.
        workers: run the hooks.
    """

    __slots__ = ("_hooks", "_workers")

    def __init__(self, rooms: Rooms[Member], workers: Workers) -> None:
        super().__init__()
        self.sockets = rooms.sockets
        self._rooms = rooms._rooms
        self._aliases = rooms._aliases
        self._workers = workers
        self._hooks: dict[str, list[Callable[..., Any]]] = {event: [] for event in EVENTS}

    def on(self, event: str) -> "Callable[[Function], Function]":
        """Register a hook; see Adapter.on.

        Raises:
            LocalProtocolError: there is no such event, or the function is async or cannot be called
                so.
        """
        check_event_key(event)
        if event not in self._hooks:
            raise LocalProtocolError(f"rooms have no event {event!r}, only {', '.join(EVENTS)}")

        def register(function: "Function") -> "Function":
            check_function(f"hook of {event}", function, EVENTS[event])
            if is_async(function):
                raise LocalProtocolError(f"a hook of {event} must be a plain function, not async")
            self._workers.check_thread()
            self._hooks[event].append(function)
            return function

        return register

    def enter(self, socket: Member) -> None:
        """Take a socket into the namespace, and tell of the room of its id."""
        is_new = not self._exists(socket.id)
        super().enter(socket)
        if is_new:
            self._tell("create_room", socket, socket.id)
        self._tell("join_room", socket, socket.id, socket.id)

    def add(self, socket: Member, room: str) -> None:
        """Put a socket into a room, and tell of it if the socket was not in it."""
        was_in = room in (socket._membership.joined or ())
        is_new = not self._exists(room)
        super().add(socket, room)
        if not was_in and room in (socket._membership.joined or ()):
            if is_new:
                self._tell("create_room", socket, room)
            self._tell("join_room", socket, room, socket.id)

    def remove(self, socket: Member, room: str) -> None:
        """Take a socket out of a room, and tell of it if the socket was in it."""
        was_in = room in (socket._membership.joined or ())
        super().remove(socket, room)
        if was_in:
            self._left(socket, room)

    def remove_all(self, socket: Member) -> None:
        """Take a socket out of the namespace, and tell of each room that it leaves."""
        was_in = socket.id in self.sockets
        super().remove_all(socket)
        if was_in:
            self._left(socket, socket.id)

    def _exists(self, room: str) -> bool:
        return room in self._rooms or room in self.sockets

    def _left(self, socket: RoomMember, room: str) -> None:
        self._tell("leave_room", socket, room, socket.id)
        if not self._exists(room):
            self._tell("delete_room", socket, room)

    def _tell(self, event: str, socket: RoomMember, *arguments: str) -> None:
        for hook in tuple(self._hooks[event]):
            try:
                self._workers.run(hook, *arguments)
            except BaseException as error:
                self._workers.log_failure(f"hook of {event}", socket.public_id, error)
