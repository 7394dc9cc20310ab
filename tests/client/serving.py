"""A real server, and clients of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from tests.socketio.serving import serving, until
from tests.wire import TIMEOUT_S

from trio_socketio import Client, ClientOptions, Server, ServerOptions, Socket, open_client

QUICK = ClientOptions(
    reconnect_delay_s=0.02, reconnect_delay_max_s=0.05, connect_timeout_s=TIMEOUT_S
)


def create_server(options: ServerOptions | None = None) -> Server:
    """Echoes, asks back, and puts clients out."""
    server = Server(options)

    @server.on("echo")
    def echo(socket: Socket, *arguments: Any) -> Any:
        socket.emit("echo", *arguments)
        return arguments

    @server.on("ask me")
    async def ask_me(socket: Socket, *arguments: Any) -> Any:
        return await socket.emit_with_ack("question", *arguments)

    @server.on("count")
    def count(socket: Socket, number: int) -> None:
        for at in range(number):
            socket.emit("number", at)

    @server.on("put me out")
    def put_me_out(socket: Socket, close: bool) -> None:
        socket.disconnect(close)

    return server


@asynccontextmanager
async def connected(
    server: Server, transports: tuple[str, ...], **settings: Any
) -> AsyncIterator[Client]:
    """The server, served, and a client of it, which is upgraded if it should be."""
    settings.setdefault("options", QUICK)
    with trio.fail_after(4 * TIMEOUT_S):
        async with (
            serving(server) as port,
            open_client(f"http://127.0.0.1:{port}", transports=transports, **settings) as client,
        ):
            await wait_transport(client, transports[-1])
            yield client


async def wait_transport(client: Client, name: str) -> None:
    """Wait for the upgrade."""
    if client.transport != name:
        await until(lambda: client.transport == name)
