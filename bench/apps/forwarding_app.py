"""The bench app without a handler for "echo_ack": those events are for backends."""

from typing import Any

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = Server(options)

    @sio.on("echo")
    def echo(socket: Socket, *arguments: Any) -> None:
        socket.emit("echo", *arguments)

    return sio
