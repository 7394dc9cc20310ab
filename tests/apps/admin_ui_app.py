"""The app of the tests of the Admin UI in a browser: clients that join rooms and are answered.

trio-socketio serve --app tests/apps/admin_ui_app.py:create
"""

from typing import Any

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = Server(options)
    sio.of("/chat")

    @sio.on("enter")
    def enter(socket: Socket, room: str) -> str:
        socket.data["room"] = room
        socket.join(room)
        return socket.id

    @sio.on("ask")
    def ask(socket: Socket, *values: Any) -> None:
        socket.emit("told", *values)

    return sio
