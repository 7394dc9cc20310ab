"""What lets a client see whether its session was recovered.

trio-socketio serve --state-recovery --app tests/apps/recovery_app.py:create
"""

from typing import Any

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    """Build the server."""
    sio = Server(options)

    @sio.on("remember")
    def remember(socket: Socket, room: str, value: Any) -> None:
        socket.join(room)
        socket.data["value"] = value

    @sio.on("recall")
    def recall(socket: Socket) -> tuple[bool, list[str], Any]:
        rooms = sorted(socket.rooms - {socket.id})
        return socket.recovered, rooms, socket.data.get("value")

    @sio.on("tell")
    def tell(_: Socket, room: str | None, *news: Any) -> None:
        (sio.to(room) if room else sio).emit("news", *news)

    @sio.on("tell perhaps")
    def tell_perhaps(_: Socket, *news: Any) -> None:
        sio.volatile.emit("perhaps", *news)

    return sio
