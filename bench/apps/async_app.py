"""The bench app with async handlers: `create` never suspends, `suspends` gives way once."""

from typing import Any

import trio

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = Server(options)

    @sio.on("echo")
    async def echo(socket: Socket, *arguments: Any) -> None:
        socket.emit("echo", *arguments)

    @sio.on("echo_ack")
    async def echo_ack(_: Socket, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    return sio


def suspends(options: ServerOptions) -> Server:
    sio = Server(options)

    @sio.on("echo")
    async def echo(socket: Socket, *arguments: Any) -> None:
        await trio.lowlevel.checkpoint()
        socket.emit("echo", *arguments)

    @sio.on("echo_ack")
    async def echo_ack(_: Socket, *arguments: Any) -> tuple[Any, ...]:
        await trio.lowlevel.checkpoint()
        return arguments

    return sio
