"""Our client against the reference server on Node, and against python-socketio's."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from trio_socketio import Client, ClientOptions, ConnectRefused, SessionClosed, open_client

HERE = Path(__file__).parent
COMMANDS = {
    "node": [shutil.which("node") or "node", str(HERE / "node_server.mjs")],
    "python": [sys.executable, str(HERE.parent / "apps" / "python_socketio_server.py")],
}
WAYS = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}
TIMEOUT_S = 20.0


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The kind of server, and its URL."""
    with subprocess.Popen(COMMANDS[request.param], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield request.param, f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture(params=list(WAYS))
def transports(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return WAYS[request.param]


@asynccontextmanager
async def connected(
    server: tuple[str, str], transports: tuple[str, ...], **settings: Any
) -> AsyncIterator[Client]:
    options = ClientOptions(reconnect_delay_s=0.05, connect_timeout_s=TIMEOUT_S)
    with trio.fail_after(TIMEOUT_S):
        async with open_client(
            server[1], transports=transports, options=options, **settings
        ) as client:
            while client.transport != transports[-1]:
                await trio.sleep(0.002)
            yield client


@trio_test
async def test_text_binary_and_acks(server: tuple[str, str], transports: tuple[str, ...]) -> None:
    async with connected(server, transports, auth={"token": "ü"}) as client:

        @client.on("question")
        async def question(value: Any) -> Any:
            return ["answer", value], b"binary"

        # python-engineio on aiohttp takes a long POST for whole when its first part has come.
        large = 20_000 if server[0] == "python" else 200_000
        with client.events() as events:
            for arguments in (
                ["text", 1, None, {"a": [True]}],
                ["é\u2028\U0001f600\x1e"],
                [b"", {"deep": [bytes(range(256))]}],
                ["x" * large, bytes(large)],
            ):
                answer = await client.emit_with_ack("echo", *arguments)
                assert (list(answer) if len(arguments) > 1 else [answer]) == arguments
                event = await events.receive()
                while event.name == "welcome":
                    event = await events.receive()
                offset = len(event.arguments) - len(arguments)
                assert offset in (0, 1)  # the reference marks what it could send again
                assert event.arguments[: len(arguments)] == arguments
        got = await client.emit_with_ack("ask me", b"value")
        assert got == (None, ["answer", b"value"], b"binary")


@trio_test
async def test_order_and_bursts(server: tuple[str, str], transports: tuple[str, ...]) -> None:
    async with connected(server, transports) as client:
        numbers: list[int] = []
        client.on("number")(lambda number: numbers.append(number))
        client.emit("count", 200)
        answers: dict[int, Any] = {}

        async def ask(number: int) -> None:
            answers[number] = await client.emit_with_ack("echo", number)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert answers == {number: number for number in range(100)}
        while len(numbers) < 200:
            await trio.sleep(0.002)
        assert numbers == list(range(200))


@pytest.mark.parametrize(
    ("server", "way", "pause_s"),
    [("node", "polling", 0.8), ("node", "websocket", 0.8), ("python", "websocket", 1.4)],
    indirect=["server"],
)
@trio_test
async def test_heartbeats_keep_it_connected(
    server: tuple[str, str], way: str, pause_s: float
) -> None:
    async with connected(server, WAYS[way]) as client:
        before = client.id
        await trio.sleep(pause_s)  # more than interval and timeout together
        assert client.id == before
        assert await client.emit_with_ack("echo", 1) == 1


@trio_test
async def test_namespaces_and_refusals(
    server: tuple[str, str], transports: tuple[str, ...]
) -> None:
    async with connected(
        server, transports, namespaces=["/", "/guarded"], auth={"token": "right"}
    ) as client:
        guarded = client.of("/guarded")
        assert await guarded.emit_with_ack("who") == (guarded.id, "/guarded")
        assert guarded.id != client.id
        guarded.disconnect()
        with pytest.raises(SessionClosed):
            guarded.emit("who")
        assert await client.emit_with_ack("echo", 1) == 1
    with pytest.raises(ConnectRefused) as caught:
        async with connected(server, transports, namespaces="/guarded", auth={"token": "no"}):
            raise AssertionError("never")
    assert caught.value.message == "wrong token"
    if server[0] == "node":
        assert caught.value.data == {"hint": [1, 2]}


@trio_test
async def test_put_out(server: tuple[str, str], transports: tuple[str, ...]) -> None:
    async with connected(server, transports) as client:
        reasons: list[str] = []
        client.on("disconnect")(reasons.append)
        client.emit("put me out")
        assert await client.wait_closed() == "io server disconnect"
        await client.connect()
        assert await client.emit_with_ack("echo", 1) == 1
        assert reasons == ["io server disconnect"]


@pytest.mark.parametrize("server", ["node"], indirect=True)
@trio_test
async def test_recovery(server: tuple[str, str], transports: tuple[str, ...]) -> None:
    async with connected(server, transports, auth={"n": 1}) as client:
        told: list[Any] = []
        missed: list[Any] = []
        two = trio.Event()
        client.on("connect")(lambda: told.append(client.recovered))
        client.on("disconnect")(told.append)

        @client.on("missed")
        def on_missed(number: int, *rest: Any) -> None:
            missed.append([number, *[value for value in rest if type(value) is bytes]])
            if number == 2:
                two.set()

        before = client.id
        client.emit("drop me")
        await two.wait()
        assert told[-1] is True
        assert client.id == before
        assert missed == [[1, b"\1"], [2]]
