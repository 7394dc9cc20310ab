"""A client that sends faster than its handlers work."""

from typing import Any

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    frame,
    joined,
    open_client,
    pending,
    send_batch,
    serving,
    the_socket,
    until,
)
from tests.wire import PollingEngine, SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions, Socket

BOUND = 8


def slow_server(**options: Any) -> tuple[Server, Record, trio.Event]:
    """`work` waits for the event; what it was given is recorded when it is done."""
    server = Server(ServerOptions(handler_queue=BOUND, **options))
    done = Record()
    go_on = trio.Event()

    @server.on("work")
    async def work(_: Socket, number: int, *__: Any) -> int:
        await go_on.wait()
        done.add(number)
        return number

    server.on("ping")(lambda _: "pong")
    server.of("/other").on("ping")(lambda _: "pong")
    return server, done, go_on


def work(first: int, last: int, ballast: str = "") -> list[str]:
    return [f'2["work",{number},"{ballast}"]' for number in range(first, last)]


@pytest.mark.req("SIO5-20")
@trio_test
async def test_full_queue_blocks_a_tcp_sender_and_loses_nothing() -> None:
    """Far more is sent than all buffers on the way can hold."""
    server, done, go_on = slow_server()
    count = 1_000
    flood = b"".join(frame("4" + text) for text in work(0, count, "x" * 60_000))
    sent = Record()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        assert isinstance(client.engine, WebSocketEngine)
        stream = client.engine.websocket.stream
        socket = the_socket(server)

        async def send() -> None:
            await stream.send_all(flood)
            sent.add("all")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await until(lambda: socket.session.paused)
            before = pending(socket)
            await trio.sleep(0.1)  # a reader that went on would take megabytes meanwhile
            assert before == pending(socket) == BOUND
            assert sent.entries == []
            go_on.set()
            assert await done.wait(count) == list(range(count))
        assert sent.entries == ["all"]
        assert not socket.session.paused
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("SIO5-20")
@trio_test
async def test_full_queue_withholds_ok_on_polling() -> None:
    server, done, go_on = slow_server()
    async with serving(server) as port, joined(port, "polling") as (client, _):
        engine = client.engine
        assert isinstance(engine, PollingEngine)
        body = "\x1e".join("4" + text for text in work(0, 5 * BOUND)).encode()
        await engine.poster.send("POST", engine.target, body=body)
        await until(lambda: the_socket(server).session.paused)
        with trio.move_on_after(0.1) as scope:
            await engine.poster.receive()
        assert scope.cancelled_caught
        assert pending(the_socket(server)) == BOUND
        go_on.set()
        with trio.fail_after(5):
            assert (await engine.poster.receive()).text == "ok"
        assert await done.wait(5 * BOUND) == list(range(5 * BOUND))
        await send_batch(client, work(100, 101))
        assert (await done.wait(5 * BOUND + 1))[-1] == 100


@trio_test
async def test_packets_after_the_pause_wait_even_for_other_namespaces(transport: str) -> None:
    """Reading stands still as a whole: order within the session is kept."""
    server, done, go_on = slow_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/other")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_batch, client, [*work(0, BOUND), '2/other,1["ping"]'])
            await until(lambda: the_socket(server).session.paused)
            the_socket(server).emit("news")
            assert await client.receive_event() == ["news"]
            go_on.set()
            assert (await client.receive())[0] == '3/other,1["pong"]'
        assert len(done.entries) >= BOUND // 2


@trio_test
async def test_reading_resumes_at_half_the_bound_and_stops_again(transport: str) -> None:
    server = Server(ServerOptions(handler_queue=BOUND))
    begun = Record()
    steps: list[trio.Event] = [trio.Event() for _ in range(3 * BOUND)]

    @server.on("work")
    async def work_one(_: Socket, number: int, __: str) -> None:
        begun.add(number)
        await steps[number].wait()

    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_batch, client, work(0, 3 * BOUND))
            await until(lambda: socket.session.paused)
            for number in range(BOUND // 2 - 1):
                steps[number].set()
            await begun.wait(BOUND // 2)
            assert socket.session.paused
            steps[BOUND // 2 - 1].set()
            await until(lambda: pending(socket) == BOUND and socket.session.paused)
            for step in steps:
                step.set()
            assert await begun.wait(3 * BOUND) == list(range(3 * BOUND))
        await until(lambda: not socket.session.paused)


def asking_server() -> tuple[Server, Record, trio.Event]:
    """`work` waits until the handler of `question` has its answer from the client."""
    server, done, go_on = slow_server()

    @server.on("question")
    async def question(socket: Socket) -> None:
        done.add(await socket.emit_with_ack("question", timeout_s=5))
        go_on.set()

    return server, done, go_on


@trio_test
async def test_reading_goes_on_while_a_handler_awaits_an_ack(transport: str) -> None:
    server, done, _ = asking_server()
    count = 3 * BOUND
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("question")
        text, _ = await client.receive()
        ack_id = text[1 : text.index("[")]
        await send_batch(client, [*work(0, count), f'3{ack_id}["answer"]'])
        assert await done.wait(count + 1) == ["answer", *range(count)]


@trio_test
async def test_awaiting_an_ack_wakes_a_reader_that_was_stopped(transport: str) -> None:
    server, done, go_on = slow_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_batch, client, [*work(0, BOUND), '30["answer"]'])
            await until(lambda: socket.session.paused)
            assert await socket.emit_with_ack("question", timeout_s=5) == "answer"
        go_on.set()
        await done.wait(BOUND)


@trio_test
async def test_four_times_the_bound_behind_an_ack_is_overload(transport: str) -> None:
    server, done, go_on = asking_server()
    ended = Record()
    server.on("disconnect")(lambda _, reason: ended.add(reason))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("question")
        await client.receive()
        socket = the_socket(server)
        await send_batch(client, work(0, 4 * BOUND - 2))
        await until(lambda: pending(socket) == 4 * BOUND - 1)
        assert socket.connected
        await flood_until_closed(client)
        go_on.set()
        await check_closed(client)
        assert await ended.wait(1) == ["overload"]
        assert done.entries == list(range(4 * BOUND - 2)) + list(range(100, 101))
        assert server.statistics().handler_failures == 0  # not the question: its client left


async def flood_until_closed(client: SocketIOClient) -> None:
    """One event too many, and more that nobody reads."""
    await send_batch(client, work(100, 120))


@pytest.mark.req("SIO5-28")
@trio_test
async def test_acks_and_heartbeats_do_not_wait_behind_a_handler(transport: str) -> None:
    server, done, go_on = slow_server(ping_interval_s=0.08, ping_timeout_s=0.08)
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        await send_batch(client, work(0, BOUND - 1))
        for _ in range(3):
            assert await client.engine.receive() == "2"
            await client.engine.send("3")
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                text, _ = await client.receive()
                await client.send(f"3{text[1 : text.index('[')]}[1]")

            nursery.start_soon(answer)
            assert await socket.emit_with_ack("question", timeout_s=1) == 1
        assert done.entries == []
        go_on.set()
        await done.wait(BOUND - 1)


@trio_test
async def test_paused_client_does_not_time_out(transport: str) -> None:
    server, done, go_on = slow_server(ping_interval_s=0.05, ping_timeout_s=0.05)
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_batch, client, work(0, 2 * BOUND))
            await until(lambda: socket.session.paused)
            await trio.sleep(0.25)
            assert socket.connected
            go_on.set()
            await done.wait(2 * BOUND)
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_one_slow_client_does_not_stop_others(transport: str) -> None:
    server, _, go_on = slow_server()
    async with (
        serving(server) as port,
        joined(port, transport) as (slow, _),
        trio.open_nursery() as nursery,
    ):
        socket = the_socket(server)
        nursery.start_soon(send_batch, slow, work(0, 2 * BOUND))
        await until(lambda: socket.session.paused)
        async with open_client(port, transport) as other:
            await other.connect()
            assert await ask(other, "ping") == ["pong"]
        go_on.set()


@trio_test
async def test_client_that_leaves_while_paused_is_noticed_when_its_handlers_are_done(
    transport: str,
) -> None:
    server, done, go_on = slow_server()
    ended = Record()
    server.on("disconnect")(lambda _, reason: ended.add(reason))
    async with serving(server) as port:
        async with joined(port, transport) as (client, _), trio.open_nursery() as nursery:
            socket = the_socket(server)
            nursery.start_soon(send_batch, client, [*work(0, BOUND), "1"])
            await until(lambda: socket.session.paused)
            assert ended.entries == []
            go_on.set()
            assert await ended.wait(1) == ["client namespace disconnect"]
        assert done.entries == list(range(BOUND))
