"""The app of the bench and of load tests."""

from typing import Any

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = Server(options)

    @sio.on("echo")
    def echo(socket: Socket, *arguments: Any) -> None:
        socket.emit("echo", *arguments)

    @sio.on("echo_ack")
    def echo_ack(_: Socket, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    @sio.on("bcast")
    def bcast(_: Socket, *arguments: Any) -> None:
        sio.emit("bcast", *arguments)

    @sio.on("join")
    def join(socket: Socket, room: Any) -> None:
        socket.join(str(room))

    @sio.on("room")
    def room(_: Socket, name: Any, *payload: Any) -> None:
        sio.to(str(name)).emit("room", *payload)

    return sio
