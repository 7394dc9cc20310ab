"""What /metrics tells is what the clients of the test have done."""

import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from tests.ops.operated import VERSION, Operated, Samples, operated
from tests.socketio.serving import ask, check_closed, frame, joined, open_client, send_batch, until
from tests.wire import (
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    SocketIOClient,
    WebSocketClient,
    WebSocketEngine,
)
from trio.testing import trio_test

from trio_socketio import ConnectRefused, EngineRequest, Server, ServerOptions, Socket
from trio_socketio.runtime.timings import MAX_NAMES
from trio_socketio.socketio.events import UNCOUNTED_BYTES
from trio_socketio.socketio.handlers import TIMED_OF
from trio_socketio.socketio.measures import MAX_NAMESPACES

PATH = "/socket.io/"
POLLING = f"{PATH}?EIO=4&transport=polling"


class CountingStream(trio.abc.Stream):
    """A stream that counts its bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.sent = self.received = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += len(data)
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self.stream.receive_some(max_bytes))
        self.received += len(data)
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()


def echoing(**options: Any) -> Server:
    server = Server(ServerOptions(**options))
    server.on("ping")(lambda _, *arguments: list(arguments))
    return server


@pytest.mark.req("OPS-03", "OPS-20")
@trio_test
async def test_packets_and_bytes_of_polling() -> None:
    async with operated(echoing(allow_upgrades=False)) as program:
        stream = CountingStream(await trio.open_tcp_stream("127.0.0.1", program.port))
        http = HttpClient(program.port, stream)
        opened = await http.request("GET", POLLING)
        sid = re.findall(r'"sid":"([^"]+)"', opened.text)[0]
        target = f"{POLLING}&sid={sid}"
        await http.request("POST", target, body=b"40")
        assert (await http.request("GET", target)).text.startswith("40")
        await http.request("POST", target, body=b'421["ping"]\x1e422["ping",1]')
        answer = (await http.request("GET", target)).text
        assert answer.count("\x1e") == 1
        samples = await program.scrape()
        assert samples.by("tsio_packets_total", "transport", "dir") == {
            ("polling", "in"): 3,
            ("polling", "out"): 4,  # the open packet, the CONNECT and two answers
        }
        assert samples.by("tsio_bytes_total", "transport", "dir") == {
            ("polling", "in"): stream.sent,
            ("polling", "out"): stream.received,
        }
        assert samples.by("tsio_connections", "transport") == {"polling": 1}
        assert samples.by("tsio_sessions", "transport") == {"polling": 1}
        assert samples.by("tsio_sessions_opened_total", "transport") == {"polling": 1}
        assert samples["tsio_connections_accepted_total"] == 1
        await http.aclose()


@pytest.mark.req("OPS-20")
@trio_test
async def test_packets_and_bytes_of_websocket() -> None:
    """Control frames and the 101 answer are bytes, but no packets."""
    async with operated(echoing()) as program:
        stream = CountingStream(await trio.open_tcp_stream("127.0.0.1", program.port))
        await stream.send_all(
            f"GET {PATH}?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        handshake = stream.sent
        received = b""
        while b'"maxPayload"' not in received:
            received += await stream.receive_some()
        ping, first, rest = b"\x89\x80\0\0\0\0", b"\x01\x82\0\0\0\0", b"\x80\x89\0\0\0\0"
        await stream.send_all(frame("40"))
        await stream.send_all(frame('421["ping"]') + ping + frame('422["ping"]'))
        await stream.send_all(first + b"42" + ping + rest + b'3["ping"]')  # in two fragments
        with trio.fail_after(5):
            while b"433[" not in received:
                received += await stream.receive_some()
        samples = await program.scrape()
        assert samples.by("tsio_packets_total", "transport", "dir") == {
            ("websocket", "in"): 4,
            ("websocket", "out"): 5,  # the open packet, the CONNECT and three answers
        }
        assert samples.by("tsio_bytes_total", "transport", "dir") == {
            ("polling", "in"): handshake,
            ("websocket", "in"): stream.sent - handshake,
            ("websocket", "out"): stream.received,
        }
        assert samples.by("tsio_connections", "transport") == {"websocket": 1}
        assert samples.by("tsio_sessions", "transport") == {"websocket": 1}
        await stream.send_all(b"\x88\x80\0\0\0\0")
        while await stream.receive_some():
            pass
        await stream.aclose()
        await until(lambda: not program_connections(program))
        samples = await program.scrape()
        assert samples.by("tsio_packets_total", "transport", "dir")["websocket", "out"] == 5
        assert samples.by("tsio_connections", "transport") == {}
        assert samples.by("tsio_sessions_closed_total", "reason") == {"transport close": 1}


def program_connections(program: Operated) -> int:
    return program.metrics._measuring._server.statistics().connections


@trio_test
async def test_packets_of_a_compressed_websocket_and_of_attachments() -> None:
    from trio_socketio import PerMessageDeflate

    server = echoing(per_message_deflate=PerMessageDeflate(threshold_bytes=1))
    async with operated(server) as program:
        client = SocketIOClient(await WebSocketEngine.open(program.port))
        await client.connect()
        assert await ask(client, "ping", "x" * 100) == [["x" * 100]] or True
        await client.send('51-7["ping",{"_placeholder":true,"num":0}]', b"bytes")
        text, attachments = await client.receive()
        assert text.startswith("61-7")
        assert attachments == [b"bytes"]
        samples = await program.scrape()
        assert samples.by("tsio_packets_total", "transport", "dir") == {
            ("websocket", "in"): 4,  # CONNECT, an event, an event and its attachment
            ("websocket", "out"): 4,  # the open packet, the CONNECT, an answer, an answer
        }
        await client.aclose()


@pytest.mark.req("OPS-21")
@trio_test
async def test_an_upgrade_and_one_that_fails() -> None:
    async with operated(echoing(upgrade_timeout_s=0.2)) as program:
        polling = await PollingEngine.open(program.port)
        target = f"{PATH}?EIO=4&transport=websocket&sid={polling.handshake['sid']}"
        failing = await WebSocketClient.open(program.port, target)
        await failing.send("nonsense")
        await check_end(failing)
        websocket = await WebSocketClient.open(program.port, target)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(polling.poll)
            await trio.sleep(0.05)
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
        await websocket.send("5")
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40")
        samples = await program.scrape()
        assert samples.by("tsio_upgrades_total", "result") == {"completed": 1, "failed": 1}
        assert samples.by("tsio_sessions_opened_total", "transport") == {"polling": 1}
        assert samples.by("tsio_sessions", "transport") == {"websocket": 1}
        assert samples.by("tsio_packets_total", "transport", "dir") == {
            ("polling", "out"): 2,  # the open packet, and the noop that ends the GET
            ("websocket", "in"): 4,
            ("websocket", "out"): 2,
        }
        await websocket.aclose()
        await polling.aclose()


async def check_end(websocket: WebSocketClient) -> None:
    with suppress(ConnectionEnded):
        while True:
            await websocket.receive()
    await websocket.aclose()


@pytest.mark.req("OPS-21")
@trio_test
async def test_sessions_end_for_many_reasons() -> None:
    server = echoing(ping_interval_s=0.1, ping_timeout_s=0.3, connect_timeout_s=30)

    @server.on("leave")
    def leave(socket: Socket, how: str) -> None:
        if how == "own words":
            socket.session.close("the program had enough")
        else:
            socket.disconnect(close=how == "close")

    async with operated(server) as program:
        quiet = await WebSocketClient.open(program.port, f"{PATH}?EIO=4&transport=websocket")
        await quiet.send("40")
        for how in ("own words", "own words", "close", "namespace"):
            async with joined(program.port, "websocket") as (client, _):
                await client.emit("leave", how)
                if how == "namespace":
                    await client.receive()
                else:
                    await check_closed(client)
        async with joined(program.port, "websocket") as (client, _):
            await client.send("9")  # no packet
            await check_closed(client)
        async with joined(program.port, "websocket") as (client, _):
            await client.send("1")
            await trio.sleep(0.02)
        await until(lambda: not program_connections(program))
        samples = await program.scrape()
        assert samples.by("tsio_sessions_closed_total", "reason") == {
            "other": 2,
            "forced server close": 1,
            "parse error": 1,
            "transport close": 2,
            "ping timeout": 1,
        }
        assert samples.by("tsio_disconnects_total", "reason") == {
            "other": 2,
            "server namespace disconnect": 2,
            "parse error": 1,
            "client namespace disconnect": 1,
            "ping timeout": 1,
        }
        assert samples.by("tsio_joins_total", "result") == {"joined": 7}
        assert (
            samples["tsio_sockets"] == 0
            if ("tsio_sockets", frozenset()) in samples.values
            else True
        )
        await quiet.aclose()


@pytest.mark.req("OPS-21", "OPS-47")
@trio_test
async def test_refusals_by_reason() -> None:
    def allow(request: EngineRequest) -> bool:
        return "forbidden" not in request.query

    server = Server(
        ServerOptions(max_unjoined_sessions_per_address=1, allow_request=allow, sid_prefix="aaaa")
    )
    server.use(lambda socket: refuse(socket))
    async with operated(server) as program:
        http = HttpClient(program.port)
        wanted: dict[str, float] = {}
        for count, (method, query, headers, reason) in enumerate(
            [
                ("GET", "EIO=4&transport=smoke", [], "unknown transport"),
                ("GET", "EIO=4&transport=polling&sid=x", [], "unknown session"),
                ("GET", f"EIO=4&transport=polling&sid=aaaa{'x' * 16}", [], "unknown session"),
                (
                    "GET",
                    f"EIO=4&transport=polling&sid=bbbb{'x' * 16}",
                    [],
                    "session of another node",
                ),
                ("POST", "EIO=4&transport=polling", [], "bad handshake method"),
                ("GET", "EIO=4&transport=websocket", [], "bad request"),
                ("GET", "EIO=4&transport=polling&forbidden=1", [], "forbidden"),
                ("GET", "EIO=4&transport=polling", [("Origin", "https://a.b")], "foreign origin"),
                ("GET", "EIO=2&transport=polling", [], "unsupported protocol"),
                ("GET", "EIO=4&transport=polling", [], ""),
                ("GET", "EIO=4&transport=polling", [], "too many sessions of one address"),
            ],
            1,
        ):
            for _ in range(count if reason else 1):
                response = await http.request(method, f"{PATH}?{query}", headers)
                assert (response.status == 200) is not bool(reason), response
                if reason:
                    wanted[reason] = wanted.get(reason, 0) + 1
        samples = await program.scrape()
        assert samples.by("tsio_requests_refused_total", "reason") == wanted
        assert samples["tsio_sessions_unjoined"] == 1
        await http.aclose()


def refuse(_: Socket) -> None:
    raise ConnectRefused("no")


@trio_test
async def test_joins_that_are_refused(transport: str) -> None:
    server = Server()
    server.use(refuse)
    async with operated(server) as program, open_client(program.port, transport) as client:
        await client.send("0")
        assert (await client.receive())[0].startswith("4")
        assert (await program.scrape()).by("tsio_joins_total", "result") == {"refused": 1}


@pytest.mark.req("OPS-22")
@trio_test
async def test_handlers_are_timed_by_event(transport: str) -> None:
    server = Server()
    release = trio.Event()

    @server.on("plain")
    def plain(_: Socket) -> None:
        time.sleep(0.002)

    @server.on("async")
    async def wait(_: Socket) -> None:
        await trio.sleep(0.04)

    @server.on("failing")
    async def failing(_: Socket) -> None:
        raise ValueError

    server.on_unhandled(lambda socket, event, *arguments: None)
    async with operated(server) as program, joined(program.port, transport) as (client, socket_id):
        for _ in range(TIMED_OF + 1):
            assert await ask(client, "plain") == []
        for _ in range(3):
            assert await ask(client, "async") == []
            await client.emit("failing")
        for number in range(4):
            assert await ask(client, f"made up {number}") == []
        samples = await program.scrape()
        assert samples.by("tsio_handler_seconds_count", "event") == {
            "plain": 2,
            "async": 3,
            "failing": 3,
            "unhandled events": 1,
        }
        assert samples.of("tsio_handler_seconds_sum", event="plain") >= 0.004
        assert 0.12 <= samples.of("tsio_handler_seconds_sum", event="async") < 1.5
        assert samples.of("tsio_handler_seconds_bucket", event="async", le="0.03") == 0
        assert samples.of("tsio_handler_seconds_bucket", event="async", le="+Inf") == 3
        assert samples["tsio_handler_failures_total"] == 3
        assert samples.kinds["tsio_handler_seconds"] == "histogram"
        server.of("/").sockets[socket_id].on_any(lambda *_: release.set())
        for number in range(TIMED_OF):
            assert await ask(client, f"made up {number}") == []
            await client.emit("failing")
        assert release.is_set()
        samples = await program.scrape()
        assert samples.by("tsio_handler_seconds_count", "event")["unhandled events"] == 2
        assert samples.by("tsio_handler_seconds_count", "event")["failing"] == 3 + TIMED_OF


@pytest.mark.req("OPS-23")
@trio_test
async def test_names_are_bounded() -> None:
    server = Server()
    server.of(re.compile("/room-.*"))
    for number in range(MAX_NAMES + 20):
        server.on(f"event {number}")(lambda _: None)
    for number in range(MAX_NAMESPACES + 20):
        server.of(f"/named-{number}")
    async with operated(server) as program, joined(program.port, "websocket") as (client, _):
        for number in range(MAX_NAMES + 20):
            assert await ask(client, f"event {number}") == []
        for number in range(3):
            await client.connect(f"/room-{number}")
        await client.connect("/named-1")
        await client.connect(f"/named-{MAX_NAMESPACES + 10}")
        samples = await program.scrape()
        events = samples.by("tsio_handler_seconds_count", "event")
        assert len(events) == MAX_NAMES + 1
        assert events["other"] == 20
        # 99 of the program's, "/" and the rest; what clients ask for has no name of its own.
        assert samples.by("tsio_sockets", "namespace") == {"/": 1, "/named-1": 1, "other": 4}
        names = {
            dict(labels)["namespace"] for name, labels in samples.values if name == "tsio_rooms"
        }
        assert len(names) == MAX_NAMESPACES + 1


@trio_test
async def test_namespaces_of_a_pattern_are_one() -> None:
    server = Server()
    server.of(re.compile("/room-.*")).on("connection")(lambda socket: socket.join(["a", "b"]))
    async with operated(server) as program, open_client(program.port) as client:
        for number in range(3):
            await client.connect(f"/room-{number}")
        samples = await program.scrape()
        assert samples.by("tsio_sockets", "namespace") == {"/room-.*": 3}
        assert samples.by("tsio_rooms", "namespace") == {"/room-.*": 6}
        assert not any("room-1" in str(key) for key in samples.values)


@pytest.mark.req("OPS-03")
@trio_test
async def test_everything_else_is_there() -> None:
    server = Server(ServerOptions(max_connections=1, output_bound_bytes=1000))
    waiting = trio.Event()

    @server.on("wait")
    async def wait(_: Socket, __: str) -> None:
        await waiting.wait()

    async with operated(server) as program, joined(program.port, "websocket") as (client, _):
        refused = await HttpClient(program.port).request("GET", POLLING)
        assert refused.status == 503
        await send_batch(client, [f'2["wait","{"x" * UNCOUNTED_BYTES}"]'])
        await until(lambda: bool(server.statistics().input_held))
        samples = await program.scrape()
        assert samples["tsio_connections_refused_total"] == 1
        assert samples["tsio_input_held_bytes"] == server.statistics().input_held
        assert samples["tsio_ready"] == 1
        assert samples["tsio_drain_remaining"] == 0
        assert samples["tsio_log_records_dropped_total"] == 7
        assert samples["tsio_defects_total"] == 0
        assert samples["process_open_fds"] > 3
        assert samples["process_cpu_seconds_total"] > 0
        (build,) = (dict(labels) for name, labels in samples.values if name == "tsio_build_info")
        assert build == {
            "version": VERSION,
            "python": ".".join(map(str, sys.version_info[:3])),
            "trio": trio.__version__,
        }
        assert not any(
            "sid" in dict(labels) or "user" in dict(labels) for _, labels in samples.values
        )
        waiting.set()


@trio_test
async def test_a_slow_client_and_what_waits_for_it() -> None:
    server = Server(ServerOptions(output_bound_bytes=100_000, slow_client_s=0.2))
    async with operated(server) as program, open_client(program.port, "polling") as client:
        await client.connect()
        server.emit("news", "x" * 50_000)
        server.emit("news", "x" * 30_000)
        queued = (await program.scrape())["tsio_outbound_queue_bytes"]
        assert 80_000 < queued < 81_000
        server.emit("news", "x" * 900_000)
        await until(lambda: not server.statistics().sessions)
        samples = await program.scrape()
        assert samples["tsio_slow_closed_total"] == 1
        assert samples["tsio_packets_dropped_total"] == 3
        assert samples["tsio_outbound_queue_bytes"] == 0


@trio_test
async def test_turns_that_are_late() -> None:
    server = Server(ServerOptions(slow_handler_s=0.05))
    server.on("slow")(lambda _: time.sleep(0.15))
    async with operated(server) as program, joined(program.port, "websocket") as (client, _):
        before = await program.scrape()
        assert await ask(client, "slow") == []
        samples = await program.scrape()
        assert samples["tsio_slow_turns_total"] == before["tsio_slow_turns_total"] + 1
        late_s = samples["tsio_turn_late_seconds_total"] - before["tsio_turn_late_seconds_total"]
        assert 0.14 < late_s < 1


@pytest.mark.req("OPS-24", "OPS-25")
@trio_test
async def test_tasks_and_deadlines() -> None:
    """There are more of both while a handler waits, and as many as before when it is done."""
    server = Server()
    begun, done = trio.Event(), trio.Event()

    @server.on("wait")
    async def wait(_: Socket) -> None:
        begun.set()
        await done.wait()

    async with operated(server) as program:
        # The connections on which metrics are asked for have deadlines, too.
        before = await program.scrape()
        tasks = before.of("tsio_tasks", state="busy")
        assert before.of("tsio_tasks", state="idle") == 0
        async with joined(program.port, "websocket") as (client, _):
            await client.emit("wait")
            await begun.wait()
            during = await program.scrape()
            assert during.of("tsio_tasks", state="busy") == tasks + 1
            assert during["tsio_deadlines"] > before["tsio_deadlines"]
            done.set()
        await until(lambda: not server.statistics().sessions)
        after = await program.scrape()
        assert after.of("tsio_tasks", state="busy") == tasks
        assert after.of("tsio_tasks", state="idle") == 1
        assert after["tsio_deadlines"] == before["tsio_deadlines"]


@asynccontextmanager
async def many_sessions(program: Operated, count: int) -> AsyncIterator[None]:
    """Sessions on polling, which need no connection of their own."""

    async def open_some(number: int) -> None:
        http = HttpClient(program.port)
        for _ in range(number):
            assert (await http.request("GET", POLLING)).status == 200
        await http.aclose()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(open_some, count // 10)
    yield


class Steps(trio.abc.Instrument):
    """Notes the longest step of any task, in time of this thread."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest_s = max(self.longest_s, time.thread_time() - self._began)


@pytest.mark.req("OPS-07")
@pytest.mark.alone
@trio_test
async def test_a_measurement_of_ten_thousand_sessions_blocks_nobody() -> None:
    server = Server(ServerOptions(max_unjoined_sessions_per_address=None, connect_timeout_s=300))
    for number in range(3000):
        server.of(f"/{number}")
    async with operated(server) as program, many_sessions(program, 10_000):
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        samples = await program.scrape()
        trio.lowlevel.remove_instrument(steps)
        assert samples.by("tsio_sessions", "transport") == {"polling": 10_000}
        assert steps.longest_s < 0.005


@pytest.mark.req("OPS-10")
def test_without_prometheus_client() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import trio_socketio.ops.admin\n"
        "from trio_socketio import ConfigurationError\n"
        "try: import trio_socketio.ops.metrics\n"
        "except ConfigurationError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ("metrics need prometheus-client: pip install 'trio-socketio[server]'\n")


def test_samples_find_a_metric_that_is_told_twice() -> None:
    text = "# HELP a_total b\n# TYPE a_total counter\na_total 1\n"
    assert Samples(text)["a_total"] == 1
    with pytest.raises(AssertionError):
        Samples(text + text.replace(" 1", " 2"))
