"""The app that is served if none is named: a lobby with rooms, enough to try a client.

These are the events that a client may emit. Each is answered by an acknowledgement, which is an
object with an ``error`` if the event cannot be handled.

- ``join`` (room): enters a room. The answer is how many clients are in it. Names that begin with
  ``user:`` or have 20 characters are reserved for users and sockets.
- ``leave`` (room): leaves a room. The answer is how many clients are left in it.
- ``message`` (room, any values): sends ``message`` (room, sender's id, the values) to the others in
  a room that the sender is in. The answer is true.
- ``list``: the answer is an object with the number of clients in each room.

A client gets ``joined`` (room, id) and ``left`` (room, id) for the rooms that it is in. If the
client that comes or goes is identified, a third argument says as whom.

``trio-socketio serve`` adds the chat page and what that needs: see ``chat.py``.
"""

from typing import Any, Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.user_ids import is_reserved_room
from trio_socketio.socketio.options import ServerOptions
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket

MAX_ROOM_NAME: Final = 100


def create(options: ServerOptions) -> Server:
    """Create a server with the lobby on its main namespace."""
    sio = Server(options)
    rooms = sio.of("/").rooms

    @sio.on("join")
    def join(socket: Socket, *arguments: Any) -> Any:
        room = room_name(arguments)
        if room is None:
            return {"error": f"join takes a room's name of 1 to {MAX_ROOM_NAME} characters"}
        if room not in socket.rooms:
            try:
                socket.join(room)
            except LocalProtocolError as error:  # the socket is in too many rooms
                return {"error": str(error)}
            socket.to(room).emit("joined", room, *_describe(socket))
        return len(rooms.members(room))

    @sio.on("leave")
    def leave(socket: Socket, *arguments: Any) -> Any:
        room = room_name(arguments)
        if room is None or room not in socket.rooms:
            return {"error": "leave takes the name of a room that you are in"}
        socket.leave(room)
        sio.to(room).emit("left", room, *_describe(socket))
        return len(rooms.members(room))

    @sio.on("message")
    def message(socket: Socket, *arguments: Any) -> Any:
        room = room_name(arguments)
        if room is None or room not in socket.rooms:
            return {"error": "message takes the name of a room that you are in, then anything"}
        socket.to(room).emit("message", room, socket.public_id, *arguments[1:])
        return True

    @sio.on("list")
    def list_rooms(_: Socket, *__: Any) -> dict[str, int]:
        return {
            room: len(rooms.members(room)) for room in rooms.names() if not is_reserved_room(room)
        }

    @sio.on("disconnect")
    def disconnect(socket: Socket, _: str) -> None:
        for room in socket.rooms:
            if not is_reserved_room(room):
                sio.to(room).emit("left", room, *_describe(socket))

    return sio


def room_name(arguments: tuple[Any, ...]) -> str | None:
    """Return the name of a room that an event begins with; None if there is none."""
    room = arguments[0] if arguments else None
    if not isinstance(room, str) or not 0 < len(room) <= MAX_ROOM_NAME:
        return None
    return None if is_reserved_room(room) else room  # PRES-06


def _describe(socket: Socket) -> tuple[str, ...]:
    """Return what others are told of a client: its id, and who it is if that is known."""
    return (socket.public_id,) if socket.user is None else (socket.public_id, socket.user)
