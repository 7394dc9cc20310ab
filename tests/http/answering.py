"""A web server of the test's own, which answers as it is told, or not at all."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import trio

Answering = Callable[["Asked"], Awaitable[bytes]]


@dataclass
class Asked:
    """A request that was read."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(body: bytes | str | dict[str, Any], status: int = 200, headers: str = "") -> bytes:
    """A whole response."""
    if isinstance(body, dict):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


@dataclass
class Answers:
    """What the server was asked, and how it answers."""

    port: int
    answering: Answering
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    hangs_up: bool = False  # behind each answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/here"

    def answers(self, *args: Any, **kwargs: Any) -> None:
        """Give this answer from now on; see answer."""
        response = args[0] if args and args[0].__class__ is Raw else answer(*args, **kwargs)

        async def give(_: Asked) -> bytes:
            return bytes(response)

        self.answering = give

    def hangs(self) -> None:
        """Give no answer from now on."""

        async def wait(_: Asked) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        self.answering = wait

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        self.open_now += 1
        try:
            async with stream:
                await self._serve(stream)
        except (trio.BrokenResourceError, ssl.SSLError, h11.RemoteProtocolError):
            pass
        finally:
            self.open_now -= 1

    async def _serve(self, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            asked, body = None, b""
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    data = bytes(await stream.receive_some())
                    http.receive_data(data)
                    if not data:
                        return
                elif isinstance(event, h11.Request):
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                    asked = (event.method.decode(), event.target.decode(), headers)
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    break
            assert asked is not None
            self.asked.append(Asked(*asked, body))
            await stream.send_all(await self.answering(self.asked[-1]))
            if self.hangs_up:
                return
            http = h11.Connection(h11.SERVER)


class Raw(bytes):
    """A response that is sent as it is."""


@asynccontextmanager
async def answering(
    *args: Any, tls: ssl.SSLContext | None = None, **kwargs: Any
) -> AsyncIterator[Answers]:
    """Serve while the block runs; see answer for the arguments."""
    async with trio.open_nursery() as nursery:
        server = Answers(0, _nothing)
        if args:
            server.answers(*args, **kwargs)
        else:
            server.hangs()

        async def handle(stream: trio.SocketStream) -> None:
            if tls is None:
                await server.serve(stream)
            else:
                await server.serve(
                    trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                )

        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def _nothing(_: Asked) -> bytes:
    return b""
