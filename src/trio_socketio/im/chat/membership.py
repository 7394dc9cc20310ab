"""The events join and leave. Who is in which room is known to the adapter alone."""

from typing import Any, Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.im.chat.desk import Desk, check_denial, is_in
from trio_socketio.im.chat.message import RoomNames, only_argument, read_entry
from trio_socketio.im.chat.names import check_room
from trio_socketio.im.chat.refusals import NOT_IN_ROOM, TOO_MANY, TOO_MANY_ROOMS, Refused
from trio_socketio.socketio.socket import Socket

JOIN: Final = "join"
JOIN_REPLY: Final = "join/reply"
LEAVE: Final = "leave"


class RoomEvents:
    """Handles the events join and leave.

    Args:
        desk: what all chat events share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def join(self, socket: Socket, *arguments: Any) -> dict[str, Any]:
        """Put a client into all the rooms that it names, or into none (CHAT-10)."""
        answers = self._desk.answers
        try:
            rooms = self._read(arguments)
            for number, room in enumerate(rooms):
                try:
                    check_room(room, socket.namespace.name)
                except Refused as error:
                    raise error.at(_place(number)) from None
            permits = self._desk.permits
            if permits is not None:
                check_denial(permits.may_join(socket, JOIN, rooms), _place)
            self._enter(socket, rooms)
        except Refused as error:
            return answers.refuse(socket, JOIN, error, JOIN_REPLY)
        told = answers.accept(JOIN, rooms=[{"roomId": room} for room in rooms])
        socket.emit(JOIN_REPLY, told)
        return told

    def leave(self, socket: Socket, *arguments: Any) -> dict[str, Any]:
        """Take a client out of the rooms that it names, and tell it in which it was not."""
        answers = self._desk.answers
        try:
            rooms = self._read(arguments)
        except Refused as error:
            return answers.refuse(socket, LEAVE, error)
        left = [room for room in rooms if is_in(socket, room)]
        for room in left:
            socket.leave(room)
        told = [{"roomId": room} for room in left]
        absent = next((number for number, room in enumerate(rooms) if room not in left), None)
        if absent is not None:  # CHAT-13
            fault = Refused(NOT_IN_ROOM, f"you are not in the room {rooms[absent][:256]!r}")
            return answers.refuse(socket, LEAVE, fault.at(_place(absent)), rooms=told)
        return answers.accept(LEAVE, rooms=told)

    def _read(self, arguments: tuple[Any, ...]) -> list[str]:
        entries = read_entry(only_argument(arguments), RoomNames, "").rooms
        most = self._desk.max_targets
        if not 0 < len(entries) <= most:
            raise Refused(TOO_MANY, f"rooms: expected 1 to {most} of them, not {len(entries)}")
        return [entry.room_id for entry in entries]

    def _enter(self, socket: Socket, rooms: list[str]) -> None:
        try:
            socket.join(rooms)
        except LocalProtocolError:
            most = socket._participant.host.options.sockets.max_rooms_per_socket
            raise Refused(
                TOO_MANY_ROOMS,
                f"you would be in more than {most} rooms, and are in none of these now: leave "
                "others first",
            ) from None


def _place(number: int) -> str:
    return f"rooms[{number}].roomId"
