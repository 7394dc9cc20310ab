"""The end of a server, in order and by cancellation, and its next start."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    open_client,
    serving,
    the_socket,
    until,
)
from tests.wire import ConnectionEnded, SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import (
    Adapter,
    ConfigurationError,
    LocalProtocolError,
    Namespace,
    Server,
    ServerOptions,
    SessionClosed,
    Socket,
    open_server,
)


def stopping_server() -> tuple[Server, Record]:
    server = Server()
    ended = Record()
    server.on("ping")(lambda _: "pong")
    server.on("disconnect")(lambda _, reason: ended.add(reason))
    return server, ended


def tasks() -> int:
    """How many tasks this trio run has."""

    def count(task: trio.lowlevel.Task) -> int:
        return 1 + sum(count(child) for n in task.child_nurseries for child in n.child_tasks)

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return count(root)


def check_zero(server: Server) -> None:
    statistics = server.statistics()
    assert statistics.connections == statistics.sessions == statistics.defects == 0
    assert set(statistics.sockets.values()) == {0}
    assert server.of("/").rooms.names() == []


async def check_goodbye(client: SocketIOClient) -> None:
    """1012 on WebSocket, a close packet on polling."""
    with pytest.raises(ConnectionEnded) as caught:
        await client.engine.receive()
    assert caught.value.code == (1012 if isinstance(client.engine, WebSocketEngine) else None)
    await client.aclose()


@pytest.mark.req("SIO5-37")
@trio_test
async def test_stop_says_goodbye_and_leaves_nothing(transport: str) -> None:
    server, ended = stopping_server()
    before = tasks()
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(server.serve, port=0))
        port = addresses[0][1]
        async with joined(port, transport) as (client, _), joined(port, transport) as (other, _):
            the_socket_of(server).join("room")
            assert await ask(client, "ping") == ["pong"]
            assert await ask(other, "ping") == ["pong"]
            async with trio.open_nursery() as readers:
                readers.start_soon(check_goodbye, client)
                readers.start_soon(check_goodbye, other)
                if transport == "polling":
                    await until(lambda: all(s.session.is_writable for s in sockets_of(server)))
                server.stop()
    assert ended.entries == ["server shutting down"] * 2
    check_zero(server)
    assert tasks() == before


def sockets_of(server: Server) -> list[Socket]:
    return list(server.of("/").sockets.values())


def the_socket_of(server: Server) -> Socket:
    return sockets_of(server)[0]


@trio_test
async def test_disconnect_handlers_finish_before_the_server_ends(transport: str) -> None:
    server = Server()
    seen = Record()

    @server.on("slow")
    async def slow(_: Socket) -> None:
        seen.add("slow begins")
        await trio.sleep(0.05)
        seen.add("slow ends")

    @server.on("disconnect")
    async def disconnect(_: Socket, reason: str) -> None:
        await trio.sleep(0.05)
        seen.add(reason)

    async with open_server(server) as addresses, joined(addresses[0][1], transport) as (client, _):
        await client.emit("slow")
        await seen.wait(1)
        server.stop()
        await check_closed(client)
    assert seen.entries == ["slow begins", "slow ends", "server shutting down"]
    check_zero(server)


@trio_test
async def test_what_was_emitted_before_the_stop_arrives(transport: str) -> None:
    server, _ = stopping_server()
    async with open_server(server) as addresses, joined(addresses[0][1], transport) as (client, _):
        for number in range(50):
            server.emit("news", number, "x" * 10_000)
        if transport == "polling":  # who does not ask in time gets nothing: the GET is out
            assert (await client.receive_event())[1] == 0
        server.stop()
        received = 1 if transport == "polling" else 0
        for number in range(received, 50):
            assert (await client.receive_event())[1] == number
        await check_closed(client)


@pytest.mark.req("RUN-21")
@trio_test
async def test_handler_that_does_not_end_is_cancelled_after_the_grace() -> None:
    server, _ = stopping_server()
    server.options = replace(server.options, stop_grace_s=0.1)
    seen = Record()

    @server.on("stuck")
    async def stuck(_: Socket) -> None:
        seen.add("begins")
        try:
            await trio.sleep_forever()
        finally:
            seen.add("cancelled")

    with trio.fail_after(3):
        async with (
            open_server(server) as addresses,
            joined(addresses[0][1], "websocket") as (client, _),
        ):
            await client.emit("stuck")
            await seen.wait(1)
            server.stop()
            await check_closed(client)
    assert seen.entries == ["begins", "cancelled"]
    check_zero(server)


async def emit_behind_a_stuck_handler(client: SocketIOClient, seen: Record) -> None:
    """Three events that wait, and one that does not."""
    await client.emit("stuck")
    for _ in range(3):
        await client.emit("ping")
    await client.emit("aside")
    await seen.wait(2)


def stuck_server() -> tuple[Server, Record]:
    server, _ = stopping_server()
    seen = Record()

    @server.on("stuck")
    async def stuck(_: Socket) -> None:
        seen.add("stuck")
        await trio.sleep_forever()

    @server.on("aside", concurrent=True)
    async def aside(_: Socket) -> None:
        seen.add("aside")

    return server, seen


@trio_test
async def test_events_that_still_wait_after_the_grace_are_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, seen = stuck_server()
    server.options = replace(server.options, stop_grace_s=0.05)
    async with (
        open_server(server) as addresses,
        joined(addresses[0][1], "websocket") as (client, _),
    ):
        await emit_behind_a_stuck_handler(client, seen)
        assert server.statistics().events_dropped == 0
        server.stop()
        await check_closed(client)
    assert server.statistics().events_dropped == 4  # three pings and the disconnect
    assert [record.getMessage() for record in caplog.records if "dropped" in record.message] == [
        "4 events still waited for handlers and were dropped"
    ]


@trio_test
async def test_events_that_wait_when_the_server_is_cancelled_are_counted(transport: str) -> None:
    server, seen = stuck_server()
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(server.serve, port=0))
        async with joined(addresses[0][1], transport) as (client, _):
            await emit_behind_a_stuck_handler(client, seen)
            nursery.cancel_scope.cancel()
    assert server.statistics().events_dropped == 3


@trio_test
async def test_disconnect_handler_runs_although_events_before_it_were_dropped() -> None:
    server, ended = stopping_server()
    begun = trio.Event()

    @server.on("stuck")
    async def stuck(_: Socket) -> None:
        begun.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(server.serve, port=0))
        async with joined(addresses[0][1], "websocket") as (client, _):
            await client.emit("stuck")
            await client.emit("ping")
            await begun.wait()
            nursery.cancel_scope.cancel()
    assert ended.entries == ["server shutting down"]
    assert server.statistics().events_dropped == 1


@trio_test
async def test_waiting_for_an_ack_ends_when_the_server_stops(transport: str) -> None:
    server, _ = stopping_server()
    reasons = Record()

    async def wait(socket: Socket) -> None:
        with pytest.raises(SessionClosed) as caught:
            await socket.emit_with_ack("question", timeout_s=5)
        reasons.add(caught.value.reason)

    async with (
        trio.open_nursery() as nursery,
        open_server(server) as addresses,
        joined(addresses[0][1], transport) as (client, _),
    ):
        nursery.start_soon(wait, the_socket(server))
        await client.receive()
        server.stop()
        await reasons.wait(1)
        await check_closed(client)
    assert reasons.entries == ["server shutting down"]


@trio_test
async def test_nobody_new_is_let_in_while_the_server_stops() -> None:
    server = Server()
    stopping = trio.Event()
    finish = trio.Event()

    @server.on("disconnect")
    async def disconnect(_: Socket, __: str) -> None:
        stopping.set()
        await finish.wait()

    async with open_server(server) as addresses:
        port = addresses[0][1]
        async with joined(port, "websocket") as (client, _):
            server.stop()
            await stopping.wait()
            await check_closed(client)
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", port)
            finish.set()


@trio_test
async def test_cancellation_ends_everything_at_once(transport: str) -> None:
    server, ended = stopping_server()
    cancelled = Record()
    before = tasks()

    @server.on("stuck")
    async def stuck(_: Socket) -> None:
        cancelled.add("begins")
        try:
            await trio.sleep_forever()
        finally:
            cancelled.add("ends")

    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(server.serve, port=0))
        port = addresses[0][1]
        async with (
            joined(port, transport) as (client, _),
            joined(port, transport),
            open_client(port, transport),
        ):
            the_socket_of(server).join("room")
            await client.emit("stuck")
            await cancelled.wait(1)
            nursery.cancel_scope.cancel()
    assert cancelled.entries == ["begins", "ends"]
    assert ended.entries == ["server shutting down"] * 2
    check_zero(server)
    assert tasks() == before


@trio_test
async def test_server_serves_again(transport: str) -> None:
    server, ended = stopping_server()
    for round_number in range(3):
        async with serving(server) as port, joined(port, transport) as (client, sid):
            the_socket(server).join("room")
            assert server.statistics().sockets == {"/": 1}
            server.to("room").emit("news", round_number)
            assert await client.receive_event() == ["news", round_number]
            assert await ask(client, "ping") == ["pong"]
            assert sid in server.of("/").sockets
            await client.engine.send("1")
            await ended.wait(round_number + 1)
        check_zero(server)


@trio_test
async def test_server_serves_again_after_cancellation() -> None:
    server, _ = stopping_server()
    with trio.CancelScope() as scope:
        async with serving(server) as port, joined(port, "websocket"):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    check_zero(server)
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        assert await ask(client, "ping") == ["pong"]


class ClosedAdapter(Adapter):
    """Remembers how often it was closed, and fails then."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self.name = namespace.name
        self.closed_with: list[int] = []

    def close(self) -> None:
        self.closed_with.append(len(self._namespace.rooms.sockets))
        raise ValueError("the other nodes are gone")


@pytest.mark.parametrize("ends", ["stopped", "cancelled"])
@trio_test
async def test_adapters_are_closed_once_when_everybody_has_left(
    ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[ClosedAdapter] = []

    def make(namespace: Namespace) -> Adapter:
        made.append(ClosedAdapter(namespace))
        return made[-1]

    server = Server(ServerOptions(cleanup_empty_child_namespaces=True), adapter=make)
    server.of("/named")
    server.of(re.compile("/any-.*"))
    for times in (1, 2):
        with trio.CancelScope() as scope:
            async with (
                serving(server) as port,
                joined(port, "websocket", "/any-1") as (client, _),
                joined(port, "websocket", "/any-2"),
            ):
                await client.send("1/any-1,")
                await until(lambda: "/any-1" not in server.namespaces)
                count = len(made)
                assert [adapter.closed_with for adapter in made[-4:] if adapter.closed_with] == [
                    [0]
                ]
                if ends == "cancelled":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert len(made) == count == 4 * times
        assert sorted(adapter.name for adapter in made) == sorted(
            ["/", "/any-1", "/any-2", "/named"] * times
        )
        assert [adapter.closed_with for adapter in made] == [[0]] * 4 * times
    assert server.statistics().handler_failures == 8
    assert caplog.text.count("closing the adapter failed") == 8


@trio_test
async def test_a_server_that_cannot_listen_closes_no_adapter() -> None:
    made: list[ClosedAdapter] = []

    def make(namespace: Namespace) -> Adapter:
        made.append(ClosedAdapter(namespace))
        return made[-1]

    server = Server(adapter=make)
    async with serving(Server()) as port:
        with pytest.raises(ConfigurationError):
            await server.serve(port=port)
    assert [adapter.closed_with for adapter in made] == [[]]


async def begin_to_serve(server: Server, nursery: trio.Nursery) -> None:
    """Have it serve, no further than that it asks for the addresses of its host."""
    nursery.start_soon(partial(server.serve, host="localhost", port=0))
    for _ in range(2):  # in the second pass it has begun
        await trio.lowlevel.checkpoint()


@trio_test
async def test_server_serves_once_at_a_time() -> None:
    server, _ = stopping_server()
    async with serving(server):
        with pytest.raises(LocalProtocolError, match="running already"):
            await server.serve(port=0)
    async with trio.open_nursery() as nursery:
        await begin_to_serve(server, nursery)
        with trio.fail_after(5), pytest.raises(LocalProtocolError, match="running already"):
            await server.serve(port=0)
        server.stop()


@pytest.mark.req("RUN-26")
@trio_test
async def test_stop_counts_while_the_server_starts() -> None:
    server, _ = stopping_server()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await begin_to_serve(server, nursery)
            server.stop()
    check_zero(server)


@trio_test
async def test_taken_port_is_told_without_a_group() -> None:
    first, second = Server(), Server()
    async with serving(first) as port:
        with pytest.raises(ConfigurationError, match="another program"):
            async with open_server(second, port=port):
                raise AssertionError("it serves")
        async with open_server(second):
            pass


@trio_test
async def test_unix_socket_of_a_successor_stays(tmp_path: Path) -> None:
    old, new = Server(), Server()
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        async with open_server(old, unix_path=path):
            path.unlink()
            await nursery.start(partial(new.serve, unix_path=path))
        assert path.exists()
        new.stop()
    assert not path.exists()


@trio_test
async def test_sockets_of_a_stopped_server_are_harmless() -> None:
    server, _ = stopping_server()
    async with serving(server) as port, joined(port, "websocket"):
        socket = the_socket(server)
    socket.emit("news")
    socket.volatile.emit("news")
    socket.join("room")
    socket.leave("room")
    socket.disconnect()
    socket.disconnect(close=True)
    socket.broadcast.emit("news")
    server.emit("news")
    with pytest.raises(SessionClosed):
        await socket.emit_with_ack("question")
    check_zero(server)


def test_nothing_runs_before_serve() -> None:
    server = Server()
    server.of("/chat").on("ping")(lambda _: None)
    server.emit("news")
    server.stop()
    check_zero(server)
    with pytest.raises(LocalProtocolError, match="not running"):
        _: Any = server.engine.sessions
