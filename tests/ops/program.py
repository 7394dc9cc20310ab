"""A program that a test operates: a server, its admin port, and what systemd is told.

It is to the parts what the command line is to them, and reads its options from the environment.
"""

import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_socketio import InheritedEndpoint, Server, ServerOptions, TcpEndpoint, open_runtime
from trio_socketio.ops.admin import AdminPort, admin_endpoints
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.ops.drain import drain
from trio_socketio.ops.health import Health, check_server
from trio_socketio.ops.log import LogOptions, open_log
from trio_socketio.ops.metrics import Metrics
from trio_socketio.ops.systemd import Systemd, inherited_listeners

if TYPE_CHECKING:
    from trio_socketio.runtime.endpoints import Endpoint

log = logging.getLogger("program")


async def follow_signals(
    server: Server, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        received = 0
        async for _ in signals:
            received += 1
            if received > 1:
                scope.cancel()
            else:
                found = drain(server)
                log.info("told to drain %d sessions", found.sessions)


async def main() -> None:
    inherited, systemd = inherited_listeners(), Systemd()
    server = Server(
        ServerOptions(
            stop_delay_s=float(os.environ.get("DELAY_S", "0")),
            stop_window_s=float(os.environ.get("WINDOW_S", "0")),
            max_unjoined_sessions_per_address=None,
            ping_interval_s=2,
        )
    )
    server.on("ping")(lambda _: "pong")
    health = Health()
    metrics = Metrics(server, health, version="0")
    options = AdminOptions(listen=None if inherited.admin else "127.0.0.1:0")
    admin = AdminPort(options, health, metrics)
    endpoints: list[Endpoint] = [InheritedEndpoint(number) for number in inherited.public] or [
        TcpEndpoint(port=0)
    ]
    with trio.CancelScope() as scope:
        async with open_runtime() as runtime:
            await runtime.start_service("signals", partial(follow_signals, server, scope))
            at = await runtime.start_service(
                "admin",
                partial(admin.serve, runtime, admin_endpoints(options, inherited.admin)),
            )
            await runtime.start_service("watchdog", systemd.keep_watchdog)
            await runtime.start_service("systemd", partial(systemd.follow, server))
            health.add(check_server(server))
            async with (
                server.mounted(runtime) as connections,
                runtime.listening(connections, *endpoints) as addresses,
            ):
                systemd.ready("serving")
                log.info("serving %d %d", addresses[0][1], at[0][1])
                await server.wait_closing()
    log.info("stopped")


if __name__ == "__main__":
    with open_log(LogOptions()):
        trio.run(main)
