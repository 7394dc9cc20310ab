"""Who decides whether a client may join."""

import json
import logging
from contextvars import ContextVar
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
from tests.wire import PollingEngine
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Server, ServerOptions, Socket

KINDS = ["plain", "async"]


def use(server: Server, kind: str, check: Any) -> None:
    """Register check as middleware of either kind."""
    if kind == "plain":
        server.use(check)
        return

    async def check_async(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        check(socket)

    server.use(check_async)


def ping_server() -> Server:
    server = Server()
    server.on("ping")(lambda _: "pong")
    return server


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_middleware_runs_in_order_before_the_socket_is_connected(
    transport: str, kind: str
) -> None:
    server = ping_server()
    seen = Record()
    use(server, kind, lambda socket: seen.add(("first", socket.connected, socket.handshake.auth)))
    use(server, "plain", lambda _: seen.add("second"))
    use(server, kind, lambda _: seen.add("third"))
    server.on("connection")(lambda socket: seen.add(("joined", socket.connected)))
    async with serving(server) as port, joined(port, transport, auth={"a": 1}):
        await seen.wait(4)
        assert seen.entries == [("first", False, {"a": 1}), "second", "third", ("joined", True)]


@pytest.mark.req("SIO5-07", "SIO5-02")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConnectRefused("no"), {"message": "no"}),
        (ExceptionGroup("of a nursery", [ConnectRefused("no")]), {"message": "no"}),
        (ConnectRefused("no", data={"retry": [1]}), {"message": "no", "data": {"retry": [1]}}),
        (ConnectRefused("no", data=0), {"message": "no", "data": 0}),
    ],
)
@trio_test
async def test_refused_client_is_told_why(
    transport: str, kind: str, error: Exception, answer: dict[str, Any]
) -> None:
    server = ping_server()
    later = Record()

    def refuse(_: Socket) -> None:
        raise error

    use(server, kind, refuse)
    use(server, "plain", later.add)
    server.on("connection")(later.add)
    server.of("/open").on("ping")(lambda _: "pong")
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        text, _ = await client.receive()
        assert text[0] == "4"
        assert json.loads(text[1:]) == answer
        await client.connect("/open")
        assert await ask(client, "ping", namespace="/open") == ["pong"]
        assert later.entries == []
        assert server.statistics().handler_failures == 0
        assert server.statistics().sockets["/"] == 0


@pytest.mark.req("SIO5-07")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectRefused("no", data=object()), "no"),
        (ConnectRefused("no", data=b"binary"), "no"),
        (ConnectRefused("\ud800"), "Internal server error"),
    ],
)
@trio_test
async def test_refusal_that_cannot_be_sent_harms_nobody(
    transport: str, kind: str, error: Exception, message: str
) -> None:
    server = ping_server()

    def refuse(_: Socket) -> None:
        raise error

    use(server, kind, refuse)
    server.of("/open").on("ping")(lambda _: "pong")
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        text, _ = await client.receive()
        assert json.loads(text[1:]) == {"message": message}
        await client.connect("/open")
        assert await ask(client, "ping", namespace="/open") == ["pong"]
        assert server.statistics().handler_failures == 1


class Callable:
    """Middleware that is an object."""

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict

    def __call__(self, _: Socket) -> Any:
        return self.verdict


@pytest.mark.req("SURF-30")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (False, {"message": "Internal server error"}),
        (ConnectRefused("no", data=[1]), {"message": "no", "data": [1]}),
        (ValueError("secret"), {"message": "Internal server error"}),
        (ConnectRefused, {"message": "Internal server error"}),
        (SystemExit(1), {"message": "Internal server error"}),
    ],
    ids=["False", "ConnectRefused", "exception", "class", "BaseException"],
)
@trio_test
async def test_a_refusal_that_was_returned_refuses(
    transport: str,
    kind: str,
    verdict: Any,
    answer: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = ping_server()
    later = Record()

    def guard(_: Socket) -> Any:
        return verdict

    async def guard_async(_: Socket) -> Any:
        await trio.lowlevel.checkpoint()
        return verdict

    server.use(guard if kind == "plain" else guard_async)
    server.use(later.add)
    server.on("connection")(later.add)
    with caplog.at_level(logging.ERROR):
        async with serving(server) as port, open_client(port, transport) as client:
            await client.send("0")
            text, _ = await client.receive()
            assert text[0] == "4"
            assert json.loads(text[1:]) == answer
            assert later.entries == []
            assert server.statistics().handler_failures == 1
    (record,) = caplog.records
    assert record.exc_info is None  # one line
    line = record.getMessage()
    assert "guard" in line
    assert "returned" in line
    assert "raise ConnectRefused" in line


@pytest.mark.req("SURF-30")
@pytest.mark.parametrize("verdict", [None, True, 0, "", 1, [], object()])
@trio_test
async def test_anything_else_that_middleware_returns_lets_in(transport: str, verdict: Any) -> None:
    server = ping_server()
    server.use(Callable(verdict))
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("SIO5-07")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_failing_middleware_tells_clients_nothing(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = ping_server()

    def fail(_: Socket) -> None:
        raise RuntimeError("password of the database")

    use(server, kind, fail)
    async with serving(server) as port, open_client(port, transport) as client:
        with caplog.at_level(logging.ERROR):
            await client.send("0")
            text, _ = await client.receive()
        assert json.loads(text[1:]) == {"message": "Internal server error"}
        assert server.statistics().handler_failures == 1
    assert "middleware of /" in caplog.text
    assert "password of the database" in caplog.text


@trio_test
async def test_async_middleware_in_disguise_lets_nobody_in(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = ping_server()

    async def refuse(_: Socket) -> None:
        raise ConnectRefused("no")

    server.use(lambda socket: refuse(socket))
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        assert (await client.receive())[0] == '4{"message":"Internal server error"}'
    assert "returned a coroutine" in caplog.text


@trio_test
async def test_middleware_stops_when_the_client_leaves(transport: str) -> None:
    server = ping_server()
    server.of("/open").on("ping")(lambda _: "pong")
    seen = Record()
    go_on = trio.Event()

    @server.use
    async def first(_: Socket) -> None:
        seen.add("first")
        await go_on.wait()

    @server.use
    def second(_: Socket) -> None:
        seen.add("second")

    async with serving(server) as port, joined(port, transport, "/open") as (client, _):
        await client.send("0")
        await seen.wait(1)
        await client.send("1")
        assert await ask(client, "ping", namespace="/open") == ["pong"]
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert seen.entries == ["first"]
        assert server.statistics().sockets["/"] == 0


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_rooms_joined_in_middleware_count_from_the_start(transport: str, kind: str) -> None:
    server = ping_server()

    def place(socket: Socket) -> None:
        socket.join(["vip", "all", "wrong"])
        socket.leave("wrong")
        socket.data["name"] = "x"

    use(server, kind, place)
    server.on("connection")(lambda socket: server.to("vip").emit("came", socket.data["name"]))
    async with serving(server) as port, joined(port, transport) as (client, sid):
        assert await client.receive_event() == ["came", "x"]
        assert the_socket(server).rooms == {sid, "vip", "all"}
        server.to("wrong").emit("lost")
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-31")
@trio_test
async def test_client_that_leaves_cancels_its_middleware(transport: str) -> None:
    server = ping_server()
    seen = Record()
    finished = Record()

    @server.use
    async def wait(socket: Socket) -> None:
        seen.add(socket)
        try:
            await trio.sleep_forever()
        finally:
            finished.add(socket)

    server.on("connection")(seen.add)
    server.of("/open").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport, "/open") as (client, _):
        await client.send("0")
        await seen.wait(1)
        await client.send("1")
        await finished.wait(1)
        assert await ask(client, "ping", namespace="/open") == ["pong"]
        assert server.of("/").sockets == {}
        assert len(seen.entries) == 1


@trio_test
async def test_connection_that_ends_while_middleware_decides_is_not_admitted(
    transport: str,
) -> None:
    server = ping_server()
    began, ended, connected = Record(), Record(), Record()

    @server.use
    async def wait(socket: Socket) -> None:
        began.add(socket)
        with trio.CancelScope(shield=True):  # it takes its time also when it is cancelled
            await trio.sleep(0.05)
        ended.add(socket)

    server.on("connection")(connected.add)
    server.on("disconnect")(lambda *arguments: connected.add(arguments))
    async with serving(server) as port:
        async with open_client(port, transport) as client:
            await client.send("0")
            await began.wait(1)
            if isinstance(client.engine, PollingEngine):
                await client.engine.post("1")
        await until(lambda: server.statistics().sessions == 0)
        await ended.wait(1)
        await trio.lowlevel.checkpoint()
        assert server.of("/").sockets == {}
        assert connected.entries == []


@pytest.mark.req("SIO5-02", "SIO5-34")
@trio_test
async def test_second_try_is_not_harmed_by_the_end_of_the_first(transport: str) -> None:
    """The client leaves while middleware decides, and asks again before it has decided."""
    server = ping_server()
    decide = [trio.Event(), trio.Event()]
    began, ended = Record(), Record()

    @server.use
    async def wait(socket: Socket) -> None:
        number = len(began.entries)
        began.add(socket)
        with trio.CancelScope(shield=True):
            await decide[number].wait()
        ended.add(socket)

    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        await began.wait(1)
        await client.send("1")
        await client.send("0")
        await began.wait(2)
        decide[0].set()
        await ended.wait(1)
        decide[1].set()
        text, _ = await client.receive()
        assert json.loads(text[1:]) == {"sid": began.entries[1].id}
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("SIO5-10")
@trio_test
async def test_connect_timeout_counts_while_middleware_decides(transport: str) -> None:
    server = Server(ServerOptions(connect_timeout_s=0.1))
    decide = trio.Event()
    server.on("connection")(lambda _: pytest.fail("was admitted"))

    @server.use
    async def wait(_: Socket) -> None:
        await decide.wait()

    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        await check_closed(client)
        decide.set()
        await server._workers.wait_idle()
        assert server.statistics().handler_failures == 0
        assert server.of("/").sockets == {}


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_middleware_runs_in_a_context_of_its_own(transport: str, kind: str) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    server = ping_server()
    seen = Record()

    def count(_: Socket) -> None:
        variable.set(variable.get() + 1)
        seen.add(variable.get())

    use(server, kind, count)
    server.on("connection")(lambda _: seen.add(variable.get()))
    async with (
        serving(server) as port,
        joined(port, transport),
        joined(port, transport),
    ):
        assert await seen.wait(4) == [1, 0, 1, 0]
