"""An app that holds a lease of its own, and aborts its sessions when the lease may have ended.

Run by the tests as `trio-socketio serve --app tests/apps/lease_app.py:create`.
"""

import logging
from collections.abc import AsyncIterator
from typing import Final

import trio

from trio_socketio import Server, ServerOptions, Socket
from trio_socketio.runtime.fence import boottime

log = logging.getLogger(__name__)

LEASE_S: Final = 2.0


def create(options: ServerOptions) -> Server:
    """Create the server."""
    sio = Server(options)

    def cut_off() -> None:
        assert sio._running is not None
        log.warning("the lease has ended: %s", sio._running.runtime.last_blocked())
        for session in tuple(sio._running.engine.sessions.values()):
            session.abort("service restart")

    async def renew() -> None:
        while True:
            if boottime() < sio._fence.at:  # else it comes too late, and the poller will say so
                sio._fence.at = boottime() + LEASE_S
            await trio.sleep(LEASE_S / 4)

    async def tick() -> None:
        """Have output on the way at any moment."""
        while True:
            sio.emit("tick")
            await trio.sleep(0.002)

    @sio.lifespan
    async def lifespan(sio: Server) -> AsyncIterator[None]:
        sio._fence.use(cut_off)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(renew)
            tasks.start_soon(tick)
            yield
            tasks.cancel_scope.cancel()

    @sio.on("note")
    def note(socket: Socket, number: int) -> int:
        log.info("noted %d", number)
        return number

    @sio.on("note later")
    async def note_later(socket: Socket, number: int) -> int:
        log.info("noted %d", number)
        return number

    @sio.on("flood")
    def flood(socket: Socket, size: int) -> None:
        socket.emit("flood", "x" * size)

    @sio.on("cut")
    def cut(socket: Socket) -> None:
        cut_off()

    @sio.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        log.info("%s has left: %s", socket.id, reason)

    return sio
