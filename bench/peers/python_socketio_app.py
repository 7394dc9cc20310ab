"""The bench app on python-socketio, the same under every web server."""

import argparse
import asyncio
from typing import Any

import socketio


def create_server(async_mode: str, handlers: str) -> Any:
    """A server with the handlers of tests/apps/bench_app.py.

    Args:
        async_mode: "asgi" or "aiohttp".
        handlers: "plain" or "async", which are one here (emit is a coroutine, so a handler that
            emits is async), or "suspends", which gives way once.
    """
    sio = socketio.AsyncServer(async_mode=async_mode)
    suspends = handlers == "suspends"

    async def echo(sid: str, *arguments: Any) -> None:
        if suspends:
            await asyncio.sleep(0)
        await sio.emit("echo", arguments, to=sid)

    async def echo_ack(_: str, *arguments: Any) -> tuple[Any, ...]:
        if suspends:
            await asyncio.sleep(0)
        return arguments

    async def bcast(_: str, *arguments: Any) -> None:
        await sio.emit("bcast", arguments)

    async def join(sid: str, room: Any) -> None:
        await sio.enter_room(sid, str(room))

    async def room(_: str, name: Any, *payload: Any) -> None:
        await sio.emit("room", payload, to=str(name))

    for handler in (echo, echo_ack, bcast, join, room):
        sio.on(handler.__name__, handler)
    return sio


def parse_arguments() -> argparse.Namespace:
    """What every web server here is started with: PORT [HANDLERS [CERT KEY]]."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("handlers", nargs="?", default="plain")
    parser.add_argument("cert", nargs="?")
    parser.add_argument("key", nargs="?")
    return parser.parse_args()
