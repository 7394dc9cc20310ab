"""A client that is given up, in whatever state, leaves nothing behind, here or on the server."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.client.fake_server import FakeServer, options
from tests.client.serving import create_server
from tests.socketio.serving import serving, until
from tests.wire import TIMEOUT_S
from trio.testing import MockClock, trio_test

from trio_socketio import (
    ClientOptions,
    ConnectFailed,
    ConnectRefused,
    Socket,
    open_client,
)

Transports = tuple[str, ...]
DESCRIPTORS = Path("/proc/self/fd")


class Watched:
    """A server of which one namespace never lets anybody in; it notes who leaves, and why."""

    def __init__(self) -> None:
        self.server = create_server()
        self.left: list[tuple[str, str]] = []
        self.joined = trio.Event()  # somebody is in the main namespace
        self._over = trio.Event()
        self.server.on("connection")(lambda _: self.joined.set())
        for name in ("/", "/chat"):
            self._watch(name)

        @self.server.of("/never").use
        async def never(_: Socket) -> None:
            await self._over.wait()
            raise ConnectRefused("too late")

        @self.server.of("/refused").use
        async def refuse(_: Socket) -> None:
            await self.joined.wait()
            raise ConnectRefused("no entry")

    def _watch(self, name: str) -> None:
        @self.server.of(name).on("disconnect")
        def left(_: Socket, reason: str) -> None:
            self.left.append((name, reason))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs; gives the URL."""
        async with serving(self.server) as port:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                self._over.set()

    def is_empty(self) -> bool:
        statistics = self.server.statistics()
        return statistics.sessions == statistics.connections == 0


def descriptors() -> int:
    return len(os.listdir(DESCRIPTORS))


def client_tasks() -> list[str]:
    """The tasks of clients that live now; the server of the same process has others."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks, names = [root], []
    while tasks:
        task = tasks.pop()
        names.append(task.name)
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [name for name in names if name.startswith("trio_socketio.client")]


@pytest.mark.req("CLI-26", "CLI-27")
@trio_test
async def test_a_connect_that_is_never_answered(transports: Transports) -> None:
    watched = Watched()
    async with watched.serving() as url:
        before = descriptors()
        with pytest.raises(ConnectFailed, match=r"did not answer a CONNECT within 1 s"):
            async with open_client(
                url,
                namespaces=["/", "/chat", "/never"],
                transports=transports,
                options=ClientOptions(connect_timeout_s=1.0),
            ):
                raise AssertionError("never")
        await until(watched.is_empty)
        assert client_tasks() == []
        await until(lambda: descriptors() == before)
    reason = "client namespace disconnect"
    assert sorted(watched.left) == [("/", reason), ("/chat", reason)]


@pytest.mark.req("CLI-27")
@trio_test
async def test_one_refused_of_several_leaves_the_others(transports: Transports) -> None:
    watched = Watched()
    async with watched.serving() as url:
        with pytest.raises(ConnectRefused, match="no entry"):
            async with open_client(
                url,
                namespaces=["/", "/chat", "/refused"],
                transports=transports,
            ):
                raise AssertionError("never")
        await until(watched.is_empty)
    reason = "client namespace disconnect"
    assert sorted(watched.left) == [("/", reason), ("/chat", reason)]


@pytest.mark.req("CLI-26")
@trio_test
async def test_cancelled_at_any_moment(transports: Transports) -> None:
    """Except while the answer to the handshake is on its way: nobody knows the session yet."""
    watched = Watched()
    async with watched.serving() as url:
        before = descriptors()
        for steps in range(0, 60, 3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, steps, scope, watched)
                    async with open_client(url, namespaces=["/", "/never"], transports=transports):
                        raise AssertionError("never")
            assert scope.cancelled_caught
            with trio.fail_after(TIMEOUT_S):
                await until(watched.is_empty)
        assert client_tasks() == []
        await until(lambda: descriptors() == before)


async def cancel_after(steps: int, scope: trio.CancelScope, watched: Watched) -> None:
    """So many passes of the scheduler after the server has a session that the client knows of."""
    await watched.joined.wait()
    watched.joined = trio.Event()
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.req("CLI-26")
@trio_test
async def test_a_namespace_that_is_not_joined_in_time_is_given_up(transports: Transports) -> None:
    watched = Watched()
    async with watched.serving() as url:
        async with open_client(
            url, transports=transports, options=ClientOptions(connect_timeout_s=1.0)
        ) as client:
            await until(lambda: client.transport == transports[-1])
            await until(lambda: not any("_upgrade" in task for task in client_tasks()))
            never = client.of("/never")
            before = client_tasks()
            with pytest.raises(ConnectFailed, match=r"/never was not joined within 1 s"):
                await never.connect()
            assert not never._membership.is_wanted
            with trio.move_on_after(0.01) as scope:
                await never.connect()
            assert scope.cancelled_caught
            assert not never._membership.is_wanted
            # Its dispatcher was there before, as that of every namespace one has asked for.
            assert sorted(client_tasks()) == sorted(before)
            assert await client.emit_with_ack("echo", 1) == 1
        await until(watched.is_empty)


@pytest.mark.req("CLI-26")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_a_handshake_that_is_never_answered(
    autojump_clock: MockClock, transport: str
) -> None:
    server = FakeServer()
    with pytest.raises(ConnectFailed, match="no answer within 3 s"):
        async with server.client(transports=(transport,), options=options(connect_timeout_s=3.0)):
            raise AssertionError("never")
    end = await server.accept()
    assert await end.receive_some(65536) != b""
    assert await end.receive_some(65536) == b""
    assert trio.current_time() - server.attempts[0] == pytest.approx(3.0)
    assert client_tasks() == []


@pytest.mark.req("CLI-26")
@trio_test
async def test_the_goodbye_of_an_attempt_is_bounded(autojump_clock: MockClock) -> None:
    """The server answers the handshake and nothing else, not even the goodbye."""
    server = FakeServer()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            end = await server.accept_websocket()
            end.closed = True  # answers no close
            await end.send('0{"sid":"x","upgrades":[],"pingInterval":90000,"pingTimeout":90000}')
            while await end.receive() != "closed":
                pass

        with trio.move_on_after(3) as scope:
            async with server.client(options=options(close_timeout_s=1.5)):
                raise AssertionError("never")
        assert scope.cancelled_caught
        assert trio.current_time() - server.attempts[0] == pytest.approx(4.5)
        nursery.cancel_scope.cancel()


@pytest.mark.req("CLI-10")
@trio_test
async def test_each_of_several_namespaces_is_told(transports: Transports) -> None:
    watched = Watched()
    async with watched.serving() as url:
        for way in ("block", "disconnect", "one by one"):
            watched.left.clear()
            async with open_client(url, namespaces=["/chat", "/"], transports=transports) as client:
                if way == "disconnect":
                    client.disconnect()
                    assert await client.wait_closed() == "io client disconnect"
                elif way == "one by one":
                    client.of("/").disconnect()
                    await until(lambda: len(watched.left) == 1)
                    assert client.connected
                    client.of("/chat").disconnect()
            await until(watched.is_empty)
            reason = "client namespace disconnect"
            assert sorted(watched.left) == [("/", reason), ("/chat", reason)], way
