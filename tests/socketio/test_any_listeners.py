"""Event middleware, and catch-all listeners of what comes in and goes out."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tests.socketio.serving import Record, ask, joined, send_batch, serving, the_socket
from trio.testing import trio_test

from trio_socketio import ConnectRefused, EventRefused, Server, Socket

KINDS = ["plain", "async"]


def either(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or an async one that does the same later."""
    if kind == "plain":
        return function

    async def later(*arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    return later


def sum_server(kind: str = "plain") -> Server:
    server = Server()
    server.on("sum")(either(kind, lambda _, *numbers: sum(numbers)))
    server.on("fence")(lambda _: "fence")
    return server


# --- event middleware ----------------------------------------------------------------------------


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
@trio_test
async def test_middleware_sees_events_in_order_and_may_change_their_arguments(
    transport: str, middleware: str, handler: str
) -> None:
    server = sum_server(handler)
    seen = Record()

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.use(either(middleware, lambda packet: seen.add(("first", list(packet)))))
        socket.use(either("plain", lambda packet: packet.append(10)))

    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "sum", 1, 2) == [13]
        await send_batch(client, ['21["sum",1]', '2["nobody"]', '22["sum",2]'])
        assert (await client.receive())[0] == "31[11]"
        assert (await client.receive())[0] == "32[12]"
        assert seen.entries == [
            ("first", ["sum", 1, 2]),
            ("first", ["sum", 1]),
            ("first", ["nobody"]),
            ("first", ["sum", 2]),
        ]


@pytest.mark.req("SURF-05")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_refused_event_has_no_handler_no_answer_and_is_no_failure(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server()

    def refuse(packet: list[Any]) -> None:
        if packet[0] == "sum":
            raise EventRefused("not today")

    later = Record()

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.use(either(kind, refuse))
        socket.use(later.add)

    with caplog.at_level(logging.INFO):
        async with serving(server) as port, joined(port, transport) as (client, _):
            await client.emit("sum", 1, ack_id=1)
            assert await ask(client, "fence") == ["fence"]
            assert later.entries == [["fence"]]
            assert server.statistics().handler_failures == 0
    assert "sum" not in caplog.text


@pytest.mark.req("SURF-05")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_failing_middleware_refuses_and_is_told(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server()

    def fail(packet: list[Any]) -> None:
        if packet[0] != "fence":
            raise RuntimeError("broken rule")

    server.on("connection")(lambda socket: socket.use(either(kind, fail)))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("sum", 1, ack_id=1)
        await client.emit("nobody", ack_id=2)
        assert await ask(client, "fence") == ["fence"]
        assert server.statistics().handler_failures == 2
    assert "broken rule" in caplog.text


@pytest.mark.req("SURF-31")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verdict", [False, EventRefused("no"), ConnectRefused("no"), ValueError])
@trio_test
async def test_a_refusal_that_middleware_returns_drops_the_event(
    transport: str, kind: str, verdict: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server()

    def guard(packet: list[Any]) -> Any:
        return verdict if packet[0] == "sum" else None

    server.on("connection")(lambda socket: socket.use(either(kind, guard)))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("sum", 1, ack_id=1)
        assert await ask(client, "fence") == ["fence"]
        assert server.statistics().handler_failures == 1
    assert "guard" in caplog.text or "either" in caplog.text
    assert "raise ConnectRefused" in caplog.text


async def forbid(*_: Any) -> None:
    raise EventRefused


@pytest.mark.parametrize("handler", KINDS)
@trio_test
async def test_async_middleware_in_disguise_lets_nothing_through(
    transport: str, handler: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server(handler)
    server.on("connection")(lambda socket: socket.use(lambda packet: forbid(packet)))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("sum", 1, ack_id=1)
        server.of("/open").on("ping")(lambda _: "pong")
        await client.connect("/open")
        assert await ask(client, "ping", namespace="/open") == ["pong"]
    if handler == "plain":
        assert "returned a coroutine" in caplog.text


@trio_test
async def test_middleware_that_a_listener_registers_sees_the_next_event(transport: str) -> None:
    server = sum_server()

    @server.on("connection")
    def connected(socket: Socket) -> None:
        def once(*_: Any) -> None:
            socket.off_any()
            socket.use(forbid)

        socket.on_any(once)

    server.of("/open").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "sum", 1) == [1]
        await client.emit("sum", 1, ack_id=1)
        await client.connect("/open")
        assert await ask(client, "ping", namespace="/open") == ["pong"]
        assert server.statistics().handler_failures == 0


@pytest.mark.req("SIO5-30", "SIO5-22")
@trio_test
async def test_event_without_a_handler_stays_unanswered(transport: str) -> None:
    server = sum_server()
    seen = Record()
    server.on("connection")(lambda socket: socket.use(seen.add))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("nobody", ack_id=1)
        await client.emit(7.5, ack_id=1)
        assert await ask(client, "fence") == ["fence"]
        assert seen.entries == [["nobody"], [7.5], ["fence"]]
        assert server.statistics().handler_failures == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("concurrent", [False, True])
@trio_test
async def test_events_that_wait_already_are_seen_too(
    transport: str, kind: str, concurrent: bool
) -> None:
    """A client may send before an async connection handler has registered its middleware."""
    server = Server()
    handled, seen = Record(), Record()
    server.on("early", concurrent=concurrent)(either("async", lambda _: handled.add("early")))
    server.on("plain")(lambda _: handled.add("plain"))

    def refuse(packet: list[Any]) -> None:
        seen.add(packet[0])
        if packet[0] == "plain":
            raise ExceptionGroup("of a nursery", [EventRefused()])
        raise EventRefused

    @server.on("connection")
    async def connected(socket: Socket) -> None:
        socket.use(either(kind, refuse))

    async with serving(server) as port, joined(port, transport, "/") as (client, _):
        await client.send("1")
        await send_batch(client, ["0", '2["early"]', '2["plain"]'])
        assert sorted(await seen.wait(2)) == ["early", "plain"]
        await trio.testing.wait_all_tasks_blocked()
        assert handled.entries == []
        assert server.statistics().handler_failures == 0


# --- what comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_listeners_hear_every_event_before_middleware_and_handler(
    transport: str, kind: str
) -> None:
    server = sum_server()
    seen = Record()

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.use(lambda packet: seen.add(("middleware", packet[0])))
        socket.on_any(either(kind, lambda *event: seen.add(("second", *event))))
        socket.prepend_any(lambda *event: seen.add(("first", *event)))

    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "sum", 1, [2][0]) == [3]
        await client.emit("nobody", {"a": 1})
        assert await ask(client, "fence") == ["fence"]
        assert seen.entries == [
            *(("first", "sum", 1, 2), ("second", "sum", 1, 2), ("middleware", "sum")),
            *(("first", "nobody", {"a": 1}), ("second", "nobody", {"a": 1})),
            *(("middleware", "nobody"), ("first", "fence"), ("second", "fence")),
            ("middleware", "fence"),
        ]


@pytest.mark.req("SURF-50")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("handler", KINDS)
@pytest.mark.parametrize("result", ["heard", False, EventRefused("no"), ConnectRefused])
@trio_test
async def test_what_a_listener_returns_is_ignored(
    transport: str, kind: str, handler: str, result: Any
) -> None:
    server = sum_server(handler)
    server.on("connection")(lambda socket: socket.on_any(either(kind, lambda *_: result)))
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "sum", 1, 2) == [3]
        await client.emit("nobody", ack_id=1)  # has no handler, so nobody answers it
        assert await ask(client, "fence") == ["fence"]
        assert server.statistics().handler_failures == 0


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_failing_listener_harms_nobody(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server()

    def fail(*_: Any) -> None:
        raise RuntimeError("deaf")

    server.on("connection")(lambda socket: socket.on_any(either(kind, fail)))
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "sum", 1, 2) == [3]
        assert server.statistics().handler_failures == 1
    assert "catch-all listener" in caplog.text
    assert "deaf" in caplog.text


@trio_test
async def test_listeners_hear_nothing_of_the_connection_itself(transport: str) -> None:
    server = sum_server()
    seen = Record()
    ended = Record()

    @server.use
    def early(socket: Socket) -> None:
        socket.on_any(seen.add)

    @server.on("connection")
    def connected(_: Socket) -> None: ...

    server.on("disconnecting")(lambda *_: ended.add("disconnecting"))
    server.on("disconnect")(lambda *_: ended.add("disconnect"))
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "fence") == ["fence"]
        await client.send("1")
        assert await ended.wait(2) == ["disconnecting", "disconnect"]
        assert seen.entries == ["fence"]


@trio_test
async def test_listeners_are_removed_and_listed(transport: str) -> None:
    server = sum_server()
    seen = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        plain_table = socket._open_events().handlers
        assert socket.listeners_any() == []
        socket.off_any(seen.add)
        twice = socket.on_any(lambda *_: seen.add("twice"))
        once = socket.on_any(lambda *_: seen.add("once"))
        socket.prepend_any(twice)
        assert socket.listeners_any() == [twice, twice, once]
        socket.off_any(twice)
        socket.off_any(seen.add)
        assert socket.listeners_any() == [twice, once]
        await ask(client, "fence")
        assert seen.entries == ["twice", "once"]
        socket.off_any()
        assert socket.listeners_any() == []
        await ask(client, "fence")
        assert len(seen.entries) == 2
        assert socket._open_events().handlers is plain_table  # and nothing is left that would cost
