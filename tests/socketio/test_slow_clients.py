"""A client that takes less than it is sent."""

import json
from typing import Any

import pytest
import trio
from tests.socketio.serving import Record, ask, joined, serving, the_socket, until
from tests.wire import PollingEngine
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Server, ServerOptions, SessionClosed, Socket
from trio_socketio.runtime.poller import GATHER_S

pytestmark = pytest.mark.alone  # a client that is late by a little counts as slow

CHUNK = "x" * 100_000


def ending_server(**options: Any) -> tuple[Server, Record]:
    server = Server(ServerOptions(**options))
    ended = Record()
    server.on("disconnect")(lambda _, reason: ended.add(reason))
    server.on("ping")(lambda _: "pong")
    return server, ended


async def fill(socket: Socket) -> int:
    """Send until the kernel takes no more (or, on polling, some); how many chunks that was."""
    for number in range(1_000):
        if socket.session.transport == "polling":
            if number == 3:
                return number
        elif number and socket.session.waiting_bytes:
            return number
        socket.emit("chunk", CHUNK)
        # Not a plain sleep, since the flush task may come after it on a busy machine.
        await wait_all_tasks_blocked(2 * GATHER_S)
    raise AssertionError("the kernel takes everything")


@trio_test
async def test_volatile_events_are_dropped_while_the_client_is_behind(transport: str) -> None:
    server, _ = ending_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        chunks = await fill(socket)
        before = server.statistics().packets_dropped
        socket.volatile.emit("lost")
        server.volatile.emit("lost")
        assert server.statistics().packets_dropped == before + 2
        socket.emit("kept")
        for _ in range(chunks):
            assert (await client.receive_event())[0] == "chunk"
        assert await client.receive_event() == ["kept"]
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_volatile_events_arrive_when_the_client_is_ready(transport: str) -> None:
    server, _ = ending_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        engine = client.engine
        if isinstance(engine, PollingEngine):
            await engine.getter.send("GET", engine.target)
            await until(lambda: socket.session.is_writable)
        socket.volatile.emit("one")
        server.volatile.emit("two")
        if isinstance(engine, PollingEngine):
            assert (await engine.getter.receive()).text == '42["one"]\x1e42["two"]'
        else:
            assert await client.receive_event() == ["one"]
            assert await client.receive_event() == ["two"]
        assert server.statistics().packets_dropped == 0


@trio_test
async def test_client_that_takes_nothing_is_closed_in_time(transport: str) -> None:
    server, ended = ending_server(output_bound_bytes=200_000, slow_client_s=0.2)
    async with serving(server) as port, joined(port, transport):
        socket = the_socket(server)
        await fill(socket)
        began = trio.current_time()
        for _ in range(3):
            socket.emit("chunk", CHUNK)
        assert await ended.wait(1) == ["slow client"]
        assert 0.15 < trio.current_time() - began < 2
        await until(lambda: server.statistics().sessions == 0)
        socket.emit("chunk")  # raises nothing


@trio_test
async def test_client_that_makes_progress_is_kept(transport: str) -> None:
    server, ended = ending_server(output_bound_bytes=200_000, slow_client_s=0.3)
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        chunks = await fill(socket)
        for _ in range(5):
            socket.emit("chunk", CHUNK)
        for _ in range(chunks + 5):
            await client.receive_event()
        await trio.sleep(0.35)
        assert ended.entries == []
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_client_far_behind_is_closed_at_once(transport: str) -> None:
    server, ended = ending_server(output_bound_bytes=100_000, slow_client_s=60)
    async with serving(server) as port, joined(port, transport):
        socket = the_socket(server)
        await fill(socket)
        for _ in range(10):
            socket.emit("chunk", CHUNK)  # blocks and raises for no reason of the client's
        assert await ended.wait(1) == ["slow client"]


@trio_test
async def test_one_large_packet_is_no_reason_to_close(transport: str) -> None:
    server, ended = ending_server(output_bound_bytes=1_000, slow_client_s=5)
    async with serving(server) as port, joined(port, transport) as (client, _):
        the_socket(server).emit("chunk", CHUNK * 10)
        assert await client.receive_event() == ["chunk", CHUNK * 10]
        assert ended.entries == []


@trio_test
async def test_one_slow_client_delays_no_broadcast(transport: str) -> None:
    server, ended = ending_server(output_bound_bytes=100_000, slow_client_s=60)
    async with serving(server) as port, joined(port, transport):
        slow = the_socket(server)
        await fill(slow)
        async with joined(port, transport) as (client, _):
            for number in range(20):
                server.emit("chunk", CHUNK)
                server.emit("number", number)
                assert await client.receive_event() == ["chunk", CHUNK]
                assert await client.receive_event() == ["number", number]
        assert ended.entries[0] == "slow client"


@trio_test
async def test_wait_drained_ends_when_the_client_has_taken_everything(transport: str) -> None:
    server, _ = ending_server()
    drained = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        chunks = await fill(socket)

        async def wait() -> None:
            await socket.wait_drained()
            drained.add(socket.session.waiting_bytes)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(0.02)
            assert drained.entries == []
            for _ in range(chunks):
                await client.receive_event()
            assert await drained.wait(2) == [0, 0]
        with trio.fail_after(1):
            await socket.wait_drained()  # nothing waits: at once


@trio_test
async def test_wait_drained_raises_when_the_client_goes(transport: str) -> None:
    server, ended = ending_server()
    reasons = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        await fill(socket)

        async def wait() -> None:
            with pytest.raises(SessionClosed) as caught:
                await socket.wait_drained()
            reasons.add(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.02)
            await client.engine.send("1")
        assert reasons.entries == await ended.wait(1) == ["transport close"]


@trio_test
async def test_producer_that_waits_for_its_client_never_piles_up(transport: str) -> None:
    server, _ = ending_server(output_bound_bytes=1_000_000)

    @server.on("stream")
    async def stream(socket: Socket, count: int) -> str:
        for number in range(count):
            socket.emit("part", number, CHUNK)
            await socket.wait_drained()
            assert socket.session.waiting_bytes == 0
        return "all sent"

    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("stream", 60, ack_id=1)
        for number in range(60):
            text, _ = await client.receive()
            assert json.loads(text[1:])[1] == number
        assert (await client.receive())[0] == '31["all sent"]'


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_wait_drained_raises_when_the_socket_has_left_and_its_session_stays(
    transport: str,
) -> None:
    server = Server()
    async with serving(server) as port, joined(port, transport):
        socket = the_socket(server)
        socket.disconnect()
        with pytest.raises(SessionClosed, match="server namespace disconnect"):
            await socket.wait_drained()
