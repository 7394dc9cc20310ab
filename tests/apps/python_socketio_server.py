"""python-socketio's server on aiohttp, for the client of this package; prints its port."""

# mypy: disable-error-code="untyped-decorator"

import asyncio
from typing import Any

from aiohttp import web

import socketio

sio = socketio.AsyncServer(async_mode="aiohttp", ping_interval=0.3, ping_timeout=1)


@sio.event
async def connect(sid: str, _: Any, auth: Any) -> None:
    await sio.emit("welcome", (auth, False), to=sid)


@sio.event
async def echo(sid: str, *values: Any) -> Any:
    await sio.emit("echo", values, to=sid)
    return values


@sio.on("ask me")
async def ask_me(sid: str, value: Any) -> Any:
    task = asyncio.create_task(sio.call("question", value, to=sid, timeout=5))
    answer = await task
    return (None, *answer) if isinstance(answer, (list, tuple)) else (None, answer)


@sio.event
async def count(sid: str, number: int) -> None:
    for at in range(number):
        await sio.emit("number", at, to=sid)


@sio.on("put me out")
async def put_me_out(sid: str) -> None:
    await sio.disconnect(sid)


@sio.on("connect", namespace="/guarded")
async def guard(_: str, __: Any, auth: Any) -> None:
    if not auth or auth.get("token") != "right":
        raise socketio.exceptions.ConnectionRefusedError("wrong token", {"hint": [1, 2]})


@sio.on("who", namespace="/guarded")
async def who(sid: str) -> Any:
    return sid, "/guarded"


async def main() -> None:
    application = web.Application()
    sio.attach(application)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - the test that starts us reads it
    await asyncio.Event().wait()


asyncio.run(main())
