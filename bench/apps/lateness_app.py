"""The bench app, and an event that tells how late a short trio sleep ends in this process."""

import trio
from tests.apps import bench_app

from trio_socketio import Server, ServerOptions, Socket

SLEEP_S = 0.01


def create(options: ServerOptions) -> Server:
    sio = bench_app.create(options)

    @sio.on("lateness")
    async def lateness(_: Socket, seconds: float) -> tuple[float, float, int, float]:
        """Answers p99 and maximum in milliseconds, the count, and the median."""
        late: list[float] = []
        ends = trio.current_time() + seconds
        while (started := trio.current_time()) < ends:
            await trio.sleep(SLEEP_S)
            late.append((trio.current_time() - started - SLEEP_S) * 1e3)
        late.sort()
        return late[int(len(late) * 0.99)], late[-1], len(late), late[len(late) // 2]

    return sio
