"""The app of the test of idle connections: it tells what the server's process holds."""

import gc

import trio

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = Server(options)

    @sio.on("census")
    def census(_: Socket) -> dict[str, int]:
        gc.collect()
        root = trio.lowlevel.current_root_task()
        statistics = sio.statistics()
        return {
            "tasks": 0 if root is None else count_tasks(root),
            "sessions": statistics.sessions,
            "sockets": statistics.sockets["/"],
            "connections": statistics.connections,
        }

    return sio


def count_tasks(task: trio.lowlevel.Task) -> int:
    return 1 + sum(
        count_tasks(child) for nursery in task.child_nurseries for child in nursery.child_tasks
    )
