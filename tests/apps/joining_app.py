"""Namespaces whose middleware takes its time, for clients that change their minds meanwhile."""

import trio

from trio_socketio import Server, ServerOptions, Socket

SLOW_S = 0.15


def create(options: ServerOptions) -> Server:
    """See trio_socketio.app."""
    sio = Server(options)

    @sio.on("census")
    def census(_: Socket, name: str) -> int:
        return len(sio.of(name).sockets)

    async def take_time(_: Socket) -> None:
        await trio.sleep(SLOW_S)

    for number in range(8):
        for kind in ("quick", "slow"):
            namespace = sio.of(f"/{kind}-{number}")
            namespace.on("echo")(lambda _, *arguments: arguments)
            if kind == "slow":
                namespace.use(take_time)
    return sio
