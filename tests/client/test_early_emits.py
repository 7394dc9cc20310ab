"""What is emitted before the server has answered the CONNECT of its namespace."""

from typing import Any

import pytest
import trio
from tests.client.serving import QUICK, connected, create_server
from tests.socketio.serving import serving, until
from trio.testing import trio_test

from trio_socketio import (
    AckTimeout,
    BufferFull,
    ClientOptions,
    ConnectFailed,
    ConnectRefused,
    Server,
    SessionClosed,
    Socket,
    open_client,
)

Transports = tuple[str, ...]


class Slow:
    """A server whose namespace /slow answers a CONNECT when it is told to."""

    def __init__(self, refusal: ConnectRefused | None = None) -> None:
        self.server: Server = create_server()
        self.asked, self.answer = trio.Event(), trio.Event()
        self.heard: list[Any] = []
        slow = self.server.of("/slow")

        @slow.use
        async def wait(_: Socket) -> None:
            self.asked.set()
            await self.answer.wait()
            if refusal is not None:
                raise refusal

        @slow.on("number")
        def number(_: Socket, value: int) -> int:
            self.heard.append(value)
            return -value


@pytest.mark.req("CLI-25", "CLI-05")
@trio_test
async def test_they_wait_and_are_sent_in_order(transports: Transports) -> None:
    slow = Slow()
    async with connected(slow.server, transports) as client, trio.open_nursery() as nursery:
        namespace = client.of("/slow")
        namespace.emit("number", 1)  # before it was even asked for
        answers: list[Any] = []

        async def ask(value: int, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            answers.append(await namespace.emit_with_ack("number", value))

        await nursery.start(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(namespace.connect)
        await slow.asked.wait()
        namespace.emit("number", 3)
        namespace.volatile.emit("number", 99)  # is not kept
        await nursery.start(ask, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert slow.heard == []

        @namespace.on("connect")
        def joined() -> None:
            namespace.emit("number", 5)

        slow.answer.set()
        await until(lambda: len(slow.heard) == 5 and len(answers) == 2)
        assert slow.heard == [1, 2, 3, 4, 5]
        assert sorted(answers) == [-4, -2]  # their tasks go on in any order
        assert client.packets_dropped == 1


@pytest.mark.req("CLI-25")
@trio_test
async def test_refused_they_are_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow(ConnectRefused("no entry", {"why": 1}))
    async with connected(slow.server, ("websocket",)) as client, trio.open_nursery() as nursery:
        namespace, refused = client.of("/slow"), trio.Event()

        async def connect() -> None:
            with pytest.raises(ConnectRefused, match="no entry"):
                await namespace.connect()
            refused.set()

        async def ask() -> None:
            with pytest.raises(SessionClosed, match="refused: no entry"):
                await namespace.emit_with_ack("number", 2)

        nursery.start_soon(connect)
        await slow.asked.wait()
        namespace.emit("number", 1)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        slow.answer.set()
        await refused.wait()
        assert client.packets_dropped == 2
        assert "2 packets were not sent: /slow was left: refused: no entry" in caplog.text
        with pytest.raises(SessionClosed, match="refused: no entry"):
            namespace.emit("number", 3)
        assert client.connected
    assert slow.heard == []


@pytest.mark.req("CLI-25")
@trio_test
async def test_without_an_answer_they_are_dropped_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = Slow()
    async with serving(slow.server) as port:
        async with open_client(
            f"http://127.0.0.1:{port}", options=ClientOptions(connect_timeout_s=1.0)
        ) as client:
            namespace = client.of("/slow")
            namespace.emit("number", 1)
            with pytest.raises(ConnectFailed, match="/slow was not joined"):
                await namespace.connect()
            assert client.packets_dropped == 1
        slow.answer.set()
    assert "1 packets were not sent: /slow was left" in caplog.text


@pytest.mark.req("CLI-25")
@trio_test
async def test_never_joined_is_told_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(create_server(), ("websocket",)) as client:
        namespace = client.of("/forgotten")
        namespace.emit("x")
        with pytest.raises(AckTimeout, match=r"/forgotten is not joined, call its connect\(\)"):
            await namespace.emit_with_ack("y", timeout_s=0.01)
        with pytest.raises(AckTimeout, match=r"within 0\.01 s$"):
            await client.emit_with_ack("nobody answers this", timeout_s=0.01)
    assert "1 packets were not sent: /forgotten was never joined" in caplog.text
    assert client.packets_dropped == 1


@pytest.mark.req("CLI-25")
@trio_test
async def test_they_are_bounded() -> None:
    options = ClientOptions(output_bound_bytes=1000, reconnect_delay_s=QUICK.reconnect_delay_s)
    async with connected(create_server(), ("websocket",), options=options) as client:
        namespace = client.of("/later")
        for _ in range(8):
            namespace.emit("x", "y" * 100)
        with pytest.raises(BufferFull, match="bytes wait for the connection already"):
            namespace.emit("x", "y" * 100)
        assert client.connected
