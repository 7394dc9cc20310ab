"""Serves while a block runs: the short way for a program with one server."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from trio_socketio.runtime.endpoints import Endpoint
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.server import Server


@asynccontextmanager
async def open_server(
    server: Server,
    *,
    host: str | Sequence[str] = "127.0.0.1",
    port: int = 0,
    unix_path: Path | None = None,
    ssl_context: ssl.SSLContext | None = None,
    endpoints: Sequence[Endpoint] = (),
) -> AsyncIterator[list[Any]]:
    """Serve while the block runs, then stop in order. Yields the addresses; see Server.serve.

    Raises:
        ConfigurationError: the server cannot listen there.
        Exception: what the block or the server has raised. A single exception is raised as itself
            and not in a group.
    """
    has_ended = False

    async def serve(task_status: trio.TaskStatus[list[Any]]) -> None:
        nonlocal has_ended
        await server.serve(
            host=host,
            port=port,
            unix_path=unix_path,
            ssl_context=ssl_context,
            endpoints=endpoints,
            task_status=task_status,
        )
        has_ended = True

    async with alone(trio.open_nursery()) as nursery:
        addresses: list[Any] = await nursery.start(serve)
        yield addresses
        if not has_ended:  # otherwise the stop would be kept for the next time
            server.stop()
