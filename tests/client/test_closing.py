"""What is emitted while a session is being closed is not given to it: the next one sends it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.client.fake_server import FakeServer, FakeWebSocket, options
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import Client


class Closing:
    """A client whose second session is closed, because the auth of /other fails by then.

    Attributes:
        fail: has that auth fail.
        end: the server's end of the session that is open now.
    """

    def __init__(self) -> None:
        self.fake = FakeServer()
        self.fail = trio.Event()
        self.end: FakeWebSocket
        self._asked = 0

    async def auth(self, name: str) -> dict[str, Any]:
        if name == "/other":
            self._asked += 1
            if self._asked == 2:
                await self.fail.wait()
                raise ValueError("no token")
        return {}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The client, when it has lost its first session and the second is open."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._join_both, "first")
            async with self.fake.client(
                namespaces=["/", "/other"], auth=self.auth, options=options()
            ) as client:
                await self.end.drop()
                self.end = await self.fake.accept_websocket()
                self.end.closed = True  # it does not answer a close frame
                yield client
                nursery.cancel_scope.cancel()

    async def _join_both(self, sid: str) -> None:
        self.end = await self.fake.accept_websocket()
        await self.end.join(sid)
        assert await self.end.receive() == "40/other,"
        await self.end.send('40/other,{"sid":"other"}')

    async def wait_closing(self) -> None:
        """Have the auth fail, and wait until the client has begun to close."""
        self.fail.set()
        assert await self.end.receive() == "closed"

    async def receive_from_next(self) -> list[str | bytes]:
        """What the client sends in its next session: two messages."""
        await self._join_both("third")
        return [await self.end.receive(), await self.end.receive()]


@pytest.mark.req("CLI-22", "CLI-25")
@trio_test
async def test_emitted_while_joined(autojump_clock: MockClock) -> None:
    closing = Closing()
    async with closing.client() as client:
        await closing.end.join("second")
        await wait_all_tasks_blocked()
        assert client.id == "second"
        await closing.wait_closing()
        assert client.connected
        client.emit("kept", 1)
        client.emit("kept", 2)
        client.volatile.emit("not kept")
        assert client.packets_dropped == 1
        assert await closing.receive_from_next() == ['42["kept",1]', '42["kept",2]']
        assert client.packets_dropped == 1


@pytest.mark.req("CLI-22", "CLI-25")
@trio_test
async def test_the_server_lets_us_in_too_late(autojump_clock: MockClock) -> None:
    closing = Closing()
    async with closing.client() as client:
        await closing.end.send(
            '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'
        )
        assert await closing.end.receive() == "40"
        client.emit("kept", 1)
        await closing.wait_closing()
        await closing.end.stream.send_all(b"\x81\x0e" + b'40{"sid":"s2"}')
        await wait_all_tasks_blocked()
        assert client.id == "s2"
        client.emit("kept", 2)
        assert await closing.receive_from_next() == ['42["kept",1]', '42["kept",2]']
        assert client.packets_dropped == 0
