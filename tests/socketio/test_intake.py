"""What clients have sent and handlers have not finished with: weighed, bounded, given back."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
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
from tests.wire import ConnectionEnded, PollingEngine, SocketIOClient, WebSocketEngine
from trio.testing import MockClock, trio_test

from trio_socketio import EventRefused, Server, ServerOptions, Socket
from trio_socketio.codec.socket_packet import decode_packet
from trio_socketio.socketio.events import UNCOUNTED_BYTES
from trio_socketio.socketio.intake import LARGE_BYTES, weigh_msgpack, weigh_text
from trio_socketio.socketio.reading import JsonReader

BOUND = 40_000


def arrays(count: int, number: int = 0, event: str = "work") -> str:
    """An event that is small on the wire and large in memory."""
    return f'2["{event}",{number},' + ",".join(["[]"] * count) + "]"


class Slow:
    """A server whose handler `work` waits."""

    def __init__(self, **options: Any) -> None:
        self.server = Server(ServerOptions(**options))
        self.done = Record()
        self.go_on = trio.Event()
        self.ended = Record()
        self.server.on("ping")(lambda _: "pong")
        self.server.on("disconnect")(lambda _, reason: self.ended.add(reason))

        @self.server.on("work")
        async def work(_: Socket, number: int, *__: Any) -> None:
            await self.go_on.wait()
            self.done.add(number)

        @self.server.on("together", concurrent=True)
        async def together(_: Socket, number: int, *__: Any) -> None:
            await self.go_on.wait()
            self.done.add(number)

        @self.server.on("fails")
        async def fails(_: Socket, *__: Any) -> None:
            await self.go_on.wait()
            self.done.add("failed")
            raise ValueError

    @property
    def held(self) -> int:
        return self.server.statistics().input_held

    async def wait_held(self, more_than: int) -> None:
        await until(lambda: self.held > more_than)


@asynccontextmanager
async def sending(client: SocketIOClient, packets: list[str]) -> AsyncIterator[None]:
    """Send in a task, as reading may stop; whatever is left of it is cancelled."""

    async def send() -> None:
        try:
            await send_batch(client, packets)
        except (ConnectionEnded, trio.BrokenResourceError):
            return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        yield
        nursery.cancel_scope.cancel()


# --- weights


@pytest.mark.req("BND-01")
def test_text_weighs_its_bytes_and_its_items() -> None:
    text = b'42["a",{"b":[1,2]},[]]'
    assert weigh_text(text) == len(text) + 64 * (3 + 1 + 3)


@pytest.mark.req("BND-01")
@pytest.mark.parametrize("unit", ["[]", "{}", "1", '"ab"', "[[]]", "1.5"])
def test_the_weight_is_not_less_than_the_memory(unit: str) -> None:
    import tracemalloc

    text = ('42["x",' + ",".join([unit] * 20_000) + "]").encode()
    tracemalloc.start()
    packet = decode_packet(text)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert packet.data is not None
    assert used < 1.1 * weigh_text(text)


@pytest.mark.req("BND-01")
def test_messagepack_weighs_its_containers() -> None:
    assert weigh_msgpack(b"\x93\x90\x80\x01") == 4 + 64 * 3
    assert weigh_msgpack(b"abc") == 3


@pytest.mark.req("BND-01")
@pytest.mark.parametrize("size", [4096, 4097])
@trio_test
async def test_packets_up_to_4_kib_weigh_their_bytes(size: int) -> None:
    slow = Slow()
    async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
        text = '42["work",0,[' + ",".join("1" * 100) + "]]"
        text += " " * (size - len(text))
        await client.send(text[1:])
        await until(lambda: slow.held > 0)
        assert slow.held == (size if size == 4096 else weigh_text(text.encode()))
        slow.go_on.set()
        await until(lambda: slow.held == 0)


@trio_test
async def test_small_packets_are_looked_at_while_much_is_held() -> None:
    slow = Slow(input_bound_bytes=BOUND)
    async with (
        serving(slow.server) as port,
        joined(port, "websocket") as (heavy, _),
        joined(port, "websocket") as (light, _),
    ):
        await heavy.send(arrays(1500))
        await until(lambda: slow.held > BOUND)
        before = slow.held
        text = arrays(500)
        assert len(text) < 4096
        await light.send(text)
        await until(lambda: slow.held > before)
        assert slow.held - before == weigh_text(b"4" + text.encode())
        slow.go_on.set()
        await until(lambda: slow.held == 0)
        before = slow.held
        slow.go_on = trio.Event()
        await light.send(text)
        await until(lambda: slow.held > before)
        assert slow.held == len(text) + 1
        slow.go_on.set()


# --- the bound of a session


@pytest.mark.req("BND-02")
@trio_test
async def test_heavy_events_stop_reading_and_none_is_lost(transport: str) -> None:
    slow = Slow(input_bound_bytes=BOUND)
    one = weigh_text(arrays(1500).encode())
    count = 20
    async with serving(slow.server) as port, joined(port, transport) as (client, _):
        socket = the_socket(slow.server)
        async with sending(client, [arrays(1500, number) for number in range(count)]):
            await until(lambda: socket.session.paused)
            await trio.sleep(0.05)
            assert pending(socket) == 1  # an empty queue takes any one packet
            assert one <= slow.held <= 1.1 * one
            slow.go_on.set()
            assert await slow.done.wait(count) == list(range(count))
        await until(lambda: not socket.session.paused)
        assert await ask(client, "ping") == ["pong"]
        assert slow.held == 0


@pytest.mark.req("BND-02")
@trio_test
async def test_reading_goes_on_at_half_the_weight() -> None:
    slow = Slow(input_bound_bytes=BOUND)
    steps = [trio.Event() for _ in range(12)]

    @slow.server.on("step")
    async def step(_: Socket, number: int, *__: Any) -> None:
        await steps[number].wait()
        slow.done.add(number)

    packets = [f'2["step",{n},"{"x" * 9990}"]' for n in range(12)]
    async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
        socket = the_socket(slow.server)
        async with sending(client, packets):
            await until(lambda: socket.session.paused)
            assert pending(socket) == 4
            steps[0].set()
            await slow.done.wait(1)
            await trio.sleep(0.02)
            assert socket.session.paused
            steps[1].set()
            await slow.done.wait(2)
            await trio.sleep(0.02)
            assert socket.session.paused
            steps[2].set()
            await until(lambda: pending(socket) == 4 and socket.session.paused)
            for event in steps:
                event.set()
            assert await slow.done.wait(12) == list(range(12))


@pytest.mark.req("BND-03")
@trio_test
async def test_an_awaited_ack_reads_on_up_to_four_times_the_bound(transport: str) -> None:
    slow = Slow(input_bound_bytes=BOUND)

    @slow.server.on("question")
    async def question(socket: Socket) -> None:
        await socket.emit_with_ack("question", timeout_s=5)

    async with serving(slow.server) as port, joined(port, transport) as (client, _):
        await client.emit("question")
        await client.receive()
        socket = the_socket(slow.server)
        await send_batch(client, [f'2["work",{n},"{"x" * 9990}"]' for n in range(15)])
        await until(lambda: pending(socket) == 16)
        assert socket.connected
        assert not socket.session.paused
        async with sending(client, [f'2["work",{n},"{"x" * 9990}"]' for n in range(15, 25)]):
            slow.go_on.set()
            assert await slow.ended.wait(1) == ["overload"]
        await until(lambda: slow.held == 0)


# --- the bound of all


@pytest.mark.req("BND-04")
@trio_test
async def test_at_the_bound_of_all_the_heavy_stop_and_the_light_go_on(transport: str) -> None:
    slow = Slow(input_bound_bytes=BOUND, input_bound_all_bytes=3 * BOUND)
    heavy_packets = [f'2["work",{n},"{"x" * 4000}"]' for n in range(9)]
    async with serving(slow.server) as port:
        async with (
            joined(port, "websocket") as (first, _),
            joined(port, "websocket") as (second, _),
            joined(port, "websocket") as (third, _),
            joined(port, transport) as (late, late_id),
            joined(port, transport) as (light, light_id),
        ):
            for client in (first, second, third):
                await send_batch(client, heavy_packets)
            await until(lambda: slow.held > 2.6 * BOUND)
            late_socket = slow.server.of("/").sockets[late_id]
            async with sending(late, heavy_packets):
                await until(lambda: late_socket.session.paused)
                before_it = pending(late_socket)
                assert 1 < before_it < 9
                assert slow.held < 3.2 * BOUND
                assert await ask(light, "ping") == ["pong"]
                await light.send('2["work",100]')
                await light.send('2["work",101]')
                light_socket = slow.server.of("/").sockets[light_id]
                await until(lambda: pending(light_socket) == 2)
                await trio.sleep(0.05)
                assert pending(late_socket) == before_it
                slow.go_on.set()
                await slow.done.wait(38)
                assert slow.done.entries.count(8) == 4
        await until(lambda: slow.held == 0)


@pytest.mark.req("BND-04")
@trio_test
async def test_a_packet_waits_undecoded_while_all_hold_too_much() -> None:
    slow = Slow(input_bound_bytes=BOUND, input_bound_all_bytes=2 * BOUND)
    async with (
        serving(slow.server) as port,
        joined(port, "websocket") as (heavy, _),
        joined(port, "websocket") as (other, _),
    ):
        await heavy.send(arrays(1600))
        await until(lambda: slow.held > 2 * BOUND)
        before = slow.held
        async with sending(other, [arrays(1600, 1), '2["ping"]', '21["ping"]']):
            await until(lambda: slow.held > before)
            assert slow.held == before + len(arrays(1600, 1)) + 1
            slow.go_on.set()
            assert await slow.done.wait(2) == [0, 1]
        assert (await other.receive())[0] == '31["pong"]'
        await until(lambda: slow.held == 0)


# --- attachments


def announce(count: int, event: str = "work") -> str:
    places = ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(count))
    return f'5{count}-["{event}",0,{places}]'


def collects(socket: Socket) -> bool:
    """Whether attachments of its client are being collected."""
    listener = socket.session.listener
    assert isinstance(listener, JsonReader)
    return listener.collected > 0


async def send_attachments(client: SocketIOClient, size: int, count: int) -> None:
    for _ in range(count):
        await client.engine.send(b"x" * size)


@pytest.mark.req("BND-05")
@trio_test
async def test_attachments_are_weighed_while_they_are_collected(transport: str) -> None:
    slow = Slow(attachments_timeout_s=0.3)
    async with serving(slow.server) as port, joined(port, transport) as (client, _):
        await client.send(announce(3))
        await send_attachments(client, 10_000, 2)
        await until(lambda: slow.held == len(announce(3)) + 1 + 20_000)
        await send_attachments(client, 10_000, 1)
        await until(lambda: slow.held == len(announce(3)) + 1 + 30_000)
        slow.go_on.set()
        await slow.done.wait(1)
        await until(lambda: slow.held == 0)
        await client.send(announce(3))
        await send_attachments(client, 10_000, 2)
        await until(lambda: slow.held > 20_000)
        await check_closed(client)
        assert slow.ended.entries == ["parse error"]
        assert slow.held == 0


@pytest.mark.req("SIO5-80")
@pytest.mark.parametrize("others_come", [True, False])
def test_attachments_have_ten_seconds_by_default(transport: str, others_come: bool) -> None:
    slow = Slow()
    slow.go_on.set()
    # The clock goes slowly, so that a busy machine is not late, and the test jumps.
    clock = MockClock(rate=0.1)

    async def main() -> None:
        async with serving(slow.server) as port, joined(port, transport) as (client, _):
            began = trio.current_time()
            await client.send(announce(2))
            await until(lambda: slow.held > 0)
            clock.jump(7)
            await send_attachments(client, 10, 1)  # does not begin the time anew
            await until(lambda: slow.held > len(announce(2)) + 1)
            clock.jump(2.5)
            await trio.sleep(0.02)
            assert slow.ended.entries == []
            if others_come:
                await send_attachments(client, 10, 1)
                await slow.done.wait(1)
                clock.jump(10)
                await trio.sleep(0.02)
                assert slow.ended.entries == []
            else:
                clock.jump(1)
                assert await slow.ended.wait(1) == ["parse error"]
                assert trio.current_time() - began < 11
                await check_closed(client)

    trio.run(main, clock=clock)


@pytest.mark.req("BND-05")
@trio_test
async def test_whoever_has_collected_the_most_is_closed_at_the_bound_of_all(
    transport: str,
) -> None:
    slow = Slow(input_bound_bytes=10 * BOUND, input_bound_all_bytes=10 * BOUND)
    async with serving(slow.server) as port:
        async with (
            joined(port, transport) as (most, _),
            joined(port, transport) as (less, _),
            joined(port, transport) as (bystander, _),
        ):
            await bystander.send(announce(2))
            await send_attachments(bystander, 1000, 1)
            for client, count in ((most, 6), (less, 3)):
                await client.send(announce(10))
                await send_attachments(client, BOUND, count)
            await send_attachments(less, BOUND, 2)
            await until(lambda: slow.ended.entries == ["overload"])
            await check_closed(most)
            assert 5 * BOUND < slow.held < 5.2 * BOUND
            await send_attachments(bystander, 1000, 1)
            await send_attachments(less, BOUND, 5)
            slow.go_on.set()
            await slow.done.wait(2)
        await until(lambda: slow.held == 0)


@pytest.mark.req("BND-05")
@trio_test
async def test_one_packet_may_collect_more_than_the_bound_of_a_session() -> None:
    slow = Slow(input_bound_bytes=BOUND)
    slow.go_on.set()
    async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
        await client.send(announce(10))
        await send_attachments(client, BOUND, 10)
        await slow.done.wait(1)
        await until(lambda: slow.held == 0)


# --- given back


ENDS: dict[str, Callable[[Slow], None]] = {
    "handled": lambda slow: slow.go_on.set(),
    "stopped": lambda slow: slow.server.stop(),
    "disconnected": lambda slow: the_socket(slow.server).disconnect(close=True),
}


@pytest.mark.req("BND-06")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("event", ["work", "together", "fails", "mixed"])
@trio_test
async def test_all_weight_is_given_back(event: str, end: str) -> None:
    slow = Slow()
    slow.server.options = replace(slow.server.options, stop_grace_s=0.05)
    events = ["work", "together", "fails"] if event == "mixed" else [event]
    with trio.fail_after(10):
        async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
            count = 0
            for number in range(4):
                for name in events:
                    count += 1
                    await client.send(arrays(2000, number, name))
            await client.send(announce(2))
            await send_attachments(client, 1000, 1)
            socket = the_socket(slow.server)
            await until(lambda: pending(socket) == count and collects(socket))
            assert socket._participant.held == slow.held > count * 128_000
            ENDS[end](slow)
            if end == "disconnected":
                await slow.ended.wait(0)
                await check_closed(client)
                slow.go_on.set()
            if end != "stopped":
                await slow.done.wait(count)
    assert slow.server._host.intake.held == 0
    assert socket._participant.held == 0
    assert pending(socket) == 0
    waited = end == "stopped" and event != "together"  # those all run
    assert (slow.server.statistics().events_dropped > 0) is waited


@pytest.mark.req("BND-06")
@trio_test
async def test_events_that_middleware_refuses_are_given_back() -> None:
    slow = Slow()

    @slow.server.on("connection")
    def connected(socket: Socket) -> None:
        @socket.use
        async def refuse(_: list[Any]) -> None:
            await slow.go_on.wait()
            raise EventRefused("no")

    async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
        await client.send(arrays(500))
        await client.send(arrays(500))
        await until(lambda: pending(the_socket(slow.server)) == 2)
        assert slow.held == 2 * (len(arrays(500)) + 1)
        slow.go_on.set()
        await until(lambda: slow.held == 0)


@pytest.mark.req("BND-19")
@trio_test
async def test_a_few_small_events_are_not_counted_until_more_come() -> None:
    slow = Slow()
    packet = '2["work",0,"' + "x" * 200 + '"]'
    weight = len(packet) + 1
    async with serving(slow.server) as port, joined(port, "websocket") as (client, _):
        few = UNCOUNTED_BYTES // weight
        await send_batch(client, [packet] * few)
        await until(lambda: pending(the_socket(slow.server)) == few)
        assert slow.held == 0
        await client.send(packet)
        await until(lambda: pending(the_socket(slow.server)) == few + 1)
        assert slow.held == weight * (few + 1)
        slow.go_on.set()
        await until(lambda: pending(the_socket(slow.server)) == 0)
        await until(lambda: slow.held == 0)


# --- large packets


def large(number: int, event: str = "big") -> str:
    return f'2["{event}",{number},"{"x" * LARGE_BYTES}"]'


class Orderly:
    """A server that writes down all that arrives, whatever it is."""

    def __init__(self, **options: Any) -> None:
        self.server = Server(ServerOptions(**options))
        self.seen = Record()
        for name in ("/", "/other"):
            space = self.server.of(name)
            space.on("big")(lambda _, number, *__: self.seen.add(number))
            space.on("small")(lambda _, number, *__: self.seen.add(number))
            space.on("disconnect")(lambda _, reason: self.seen.add(reason))
        self.server.on("ping")(lambda _: "pong")


@pytest.mark.req("BND-08")
@trio_test
async def test_nothing_overtakes_a_large_packet(transport: str) -> None:
    orderly = Orderly()
    async with serving(orderly.server) as port, joined(port, transport) as (client, _):
        await client.connect("/other")
        socket = the_socket(orderly.server)
        async with trio.open_nursery() as nursery:

            async def ask_client() -> None:
                orderly.seen.add(await socket.emit_with_ack("question", timeout_s=5))

            nursery.start_soon(ask_client)
            text, _ = await client.receive()
            ack = text[1 : text.index("[")]
            packets = [
                large(0),
                '2["small",1]',
                large(2),
                f'3{ack}["answer"]',
                '2/other,["small",3]',
                large(4),
                "1/other,",
                '2["small",5]',
            ]
            await send_batch(client, packets)
            await orderly.seen.wait(8)
    # The answer is told to a task, and a disconnect after the batch: each may come a little later.
    seen = orderly.seen.entries
    assert [entry for entry in seen if type(entry) is int] == [0, 1, 2, 3, 4, 5]
    assert seen.index("answer") > seen.index(2)
    assert seen.index("client namespace disconnect") > seen.index(4)


@pytest.mark.req("BND-08")
@trio_test
async def test_attachments_wait_behind_their_large_packet(transport: str) -> None:
    orderly = Orderly()
    places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    got = Record()
    orderly.server.on("files")(lambda _, __, *files: got.add(files))
    async with serving(orderly.server) as port, joined(port, transport) as (client, _):
        text = f'452-["files","{"x" * LARGE_BYTES}",{places}]'
        engine = client.engine
        if isinstance(engine, WebSocketEngine):
            binary = bytes((0x82, 0x83, 0, 0, 0, 0)) + b"one"
            stream = engine.websocket.stream
            await stream.send_all(frame(text) + binary + binary + frame('42["small",1]'))
        else:
            assert isinstance(engine, PollingEngine)
            body = "\x1e".join((text, "bb25l", "bb25l", '42["small",1]'))
            assert (await engine.post(body)).text == "ok"
        await orderly.seen.wait(1)
        assert got.entries == [(b"one", b"one")]


@pytest.mark.alone
@pytest.mark.req("BND-07")
@trio_test
async def test_others_have_their_turn_between_large_packets(transport: str) -> None:
    order: list[str] = []
    server = Server(ServerOptions())
    server.on("big")(lambda _, *__: order.append("big"))

    @server.on("ping")
    async def ping(_: Socket) -> str:
        order.append("ping")
        return "pong"

    async with (
        serving(server) as port,
        joined(port, transport) as (bystander, _),
        trio.open_nursery() as nursery,
    ):
        ready = trio.Event()
        asked = trio.Event()

        async def flood(task_status: trio.TaskStatus[None]) -> None:
            async with joined(port, "websocket") as (client, _):
                task_status.started()
                await ready.wait()
                await client.send(arrays(25_000, 0, "big"))
                await asked.wait()

        for _ in range(10):
            await nursery.start(flood)
        ready.set()
        while order.count("big") < 10:
            assert await ask(bystander, "ping") == ["pong"]
        asked.set()
    longest = max(len(run) for run in "".join(e[0] for e in order).split("p"))
    assert longest <= 2, order  # the client needs a pass or two to read and to ask again


@pytest.mark.req("BND-10")
@trio_test
async def test_a_large_packet_is_dropped_with_its_session(transport: str) -> None:
    slow = Slow(input_bound_all_bytes=BOUND)
    async with serving(slow.server) as port:
        async with (
            joined(port, "websocket") as (heavy, _),
            joined(port, transport) as (other, other_id),
        ):
            await heavy.send(arrays(1500))
            await until(lambda: slow.held > BOUND)
            before = slow.held
            async with sending(other, [arrays(1500, 1), '2["work",2]']):
                await until(lambda: slow.held > before)
                slow.server.of("/").sockets[other_id].disconnect(close=True)
                await until(lambda: slow.held == before)
            assert slow.server.statistics().input_dropped == 1
            slow.go_on.set()
            assert await slow.done.wait(1) == [0]
        await until(lambda: slow.held == 0)


@trio_test
async def test_a_large_packet_that_is_broken_closes_its_client_alone(transport: str) -> None:
    orderly = Orderly()
    async with (
        serving(orderly.server) as port,
        joined(port, "websocket") as (other, _),
        joined(port, transport) as (client, _),
    ):
        async with sending(client, ['2["big",' + "x" * LARGE_BYTES]):
            assert await orderly.seen.wait(1) == ["parse error"]
        assert await ask(other, "ping") == ["pong"]
        assert orderly.server.statistics().input_held == 0


@trio_test
async def test_large_packets_of_messagepack_wait_too() -> None:
    import msgspec

    orderly = Orderly(parser="msgpack")
    async with serving(orderly.server) as port, open_client(port) as client:
        encode = msgspec.msgpack.encode
        await client.engine.send(encode({"type": 0, "nsp": "/"}))
        await client.engine.receive()
        big = encode({"type": 2, "nsp": "/", "data": ["big", 0, "x" * LARGE_BYTES]})
        small = encode({"type": 2, "nsp": "/", "data": ["small", 1]})
        assert orderly.server._host.intake.dropped == 0
        await client.engine.send(big)
        await client.engine.send(small)
        assert await orderly.seen.wait(2) == [0, 1]


@pytest.mark.req("BND-09")
@trio_test
async def test_a_pong_behind_a_large_packet_counts(transport: str) -> None:
    """All hold too much for longer than the client has for its pong."""
    slow = Slow(
        input_bound_all_bytes=BOUND,
        ping_interval_s=0.1,
        ping_timeout_s=0.15,
    )
    async with serving(slow.server) as port, joined(port, transport) as (client, client_id):
        async with trio.open_nursery() as nursery:

            async def hold_much(task_status: trio.TaskStatus[None]) -> None:
                async with joined(port, "websocket") as (heavy, _):
                    await heavy.send(arrays(1500))
                    task_status.started()
                    while True:
                        if await heavy.engine.receive() == "2":
                            await heavy.engine.send("3")

            await nursery.start(hold_much)
            await until(lambda: slow.held > BOUND)
            socket = slow.server.of("/").sockets[client_id]
            async with sending(client, [arrays(1500, 1)]):
                await until(lambda: socket.session.paused)
                await trio.sleep(0.6)
                assert socket.connected
                slow.go_on.set()
                await slow.done.wait(2)
            nursery.cancel_scope.cancel()
        assert socket.connected


@pytest.mark.req("BND-17")
@trio_test
async def test_clients_that_are_there_come_before_those_that_have_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that takes long keeps what its client sent behind it, also when that one left."""
    slow = Slow(input_bound_all_bytes=1 << 20)
    slow.server.on("size")(lambda _, text: len(text))
    large = "x" * 100_000
    async with serving(slow.server) as port:
        for _ in range(2):
            async with joined(port, "websocket") as (client, _):
                before = slow.held
                await client.emit("work", 1)
                for number in (2, 3):
                    await client.emit("work", number, large)
                await slow.wait_held(before + 2 * len(large))
        await until(lambda: len(slow.server.of("/").sockets) == 0)
        assert slow.held > 400_000
        async with joined(port, "websocket") as (client, _):
            assert await ask(client, "size", large + large) == [2 * len(large)]
            assert slow.held < 1000  # the events at work
            assert slow.server.statistics().events_dropped == 4
            slow.go_on.set()
            await slow.ended.wait(2)  # what the server has queued itself is not dropped
            await slow.done.wait(2)
        await until(lambda: slow.held == 0)
    assert "4 events of clients that have left were dropped" in caplog.text
