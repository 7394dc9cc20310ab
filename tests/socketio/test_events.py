"""Events of clients, events to clients, and what may be emitted."""

import math
from typing import Any

import pytest
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    open_client,
    send_batch,
    send_unanswered,
    serving,
    the_socket,
    until,
)
from tests.wire import WebSocketClient
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, Socket

RESERVED = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
]


def recording_server() -> tuple[Server, Record]:
    """`note` is recorded; `ping` is acknowledged with "pong"."""
    server = Server()
    seen = Record()
    server.on("note")(lambda _, *arguments: seen.add(arguments))
    server.on("ping")(lambda _: "pong")
    return server, seen


@pytest.mark.req("SIO5-19")
@pytest.mark.parametrize(
    "arguments",
    [(), (None,), (1, -2.5, "ä\u2028\U0001f600", [], {}), ([[["x"]]], {"a": {"b": [True]}})],
)
@trio_test
async def test_arguments_arrive_unchanged(transport: str, arguments: tuple[Any, ...]) -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("note", *arguments)
        assert await seen.wait(1) == [arguments]
        the_socket(server).emit("note", *arguments)
        assert await client.receive_event() == ["note", *arguments]


@pytest.mark.req("SIO5-19")
@trio_test
async def test_event_may_be_named_by_a_number(transport: str) -> None:
    server, _ = recording_server()
    server.on(3)(lambda _, x: x)
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, 3, "x") == ["x"]


@pytest.mark.req("SIO5-20")
@trio_test
async def test_events_are_handled_in_order_across_batches(transport: str) -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        for start in range(0, 300, 100):
            await send_batch(client, [f'2["note",{start + at}]' for at in range(100)])
        assert await seen.wait(300) == [(number,) for number in range(300)]


@pytest.mark.req("SIO5-20", "SIO5-21")
@trio_test
async def test_order_survives_the_upgrade() -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, "polling") as (client, _):
        socket = the_socket(server)
        sid = client.engine.handshake["sid"]
        websocket = await WebSocketClient.open(
            port, f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
        )
        await send_batch(client, ['2["note",0]', '2["note",1]'])
        socket.emit("news", 0)
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        socket.emit("news", 1)
        await websocket.send("5")
        await websocket.send('42["note",2]')
        assert await seen.wait(3) == [(0,), (1,), (2,)]
        socket.emit("news", 2)
        for number in range(3):
            assert await websocket.receive() == f'42["news",{number}]'
        await websocket.aclose()


@pytest.mark.req("SIO5-21")
@trio_test
async def test_emits_acks_and_broadcasts_arrive_in_the_order_sent(transport: str) -> None:
    server = Server()

    @server.on("go")
    def go(socket: Socket) -> str:
        socket.emit("a", 1)
        server.emit("b", 2)
        socket.volatile.emit("v", 3)
        server.to(socket.id).emit("c", 4)
        socket.emit("d", b"x")
        server.emit("e", 5)
        return "answer"

    async with serving(server) as port, joined(port, transport) as (client, _):
        await send_batch(client, ['21["go"]', '22["go"]'])
        texts: list[str] = []
        while len(texts) < 14 and '32["answer"]' not in texts:
            texts.append((await client.receive())[0])
    once = ['2["a",1]', '2["b",2]', '2["v",3]', '2["c",4]']
    once += ['51-["d",{"_placeholder":true,"num":0}]', '2["e",5]']
    expected = [*once, '31["answer"]', *once, '32["answer"]']
    volatile = '2["v",3]'  # on polling nobody may be waiting for it
    assert [x for x in texts if x != volatile] == [x for x in expected if x != volatile]
    assert transport == "polling" or texts == expected


@pytest.mark.req("SIO5-22", "SIO5-30")
@pytest.mark.parametrize(
    "packet", ['2["unknown"]', '25["unknown",1]', '2[17,"x"]', '2["connection"]']
)
@trio_test
async def test_event_without_a_handler_is_ignored(transport: str, packet: str) -> None:
    server, _ = recording_server()
    connected = Record()
    server.on("connection")(connected.add)
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send(packet)
        assert await ask(client, "ping") == ["pong"]
        assert len(connected.entries) == 1
        assert server.statistics().handler_failures == 0


@pytest.mark.req("SIO5-54")
@trio_test
async def test_text_while_attachments_are_missing_closes(transport: str) -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send('52-["note",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await client.engine.send(b"one")
        await send_unanswered(client, '2["note"]')
        await check_closed(client)
        assert seen.entries == []


@pytest.mark.req("SIO5-55")
@pytest.mark.parametrize(
    "before", [[], ['2["ping"]'], ['51-["note",{"_placeholder":true,"num":0}]']]
)
@trio_test
async def test_binary_that_nothing_announced_closes(transport: str, before: list[str]) -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        for packet in before:
            await client.send(packet, *([b"wanted"] if packet[0] == "5" else []))
        await client.engine.send(b"unwanted")
        await check_closed(client)
        assert seen.entries == [(b"wanted",)] * sum(packet[0] == "5" for packet in before)


@pytest.mark.req("SIO5-55")
@trio_test
async def test_binary_before_connect_closes(transport: str) -> None:
    server, _ = recording_server()
    async with serving(server) as port, open_client(port, transport) as client:
        await client.engine.send(b"unwanted")
        await check_closed(client)


@pytest.mark.req("SIO5-57")
@trio_test
async def test_binary_packets_without_attachments_are_handled_at_once(transport: str) -> None:
    server, seen = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send('50-["note",1]')
        assert await seen.wait(1) == [(1,)]
        await client.send('50-9["ping"]')
        assert (await client.receive())[0] == '39["pong"]'


@pytest.mark.req("SIO5-18")
@pytest.mark.parametrize("name", RESERVED)
@trio_test
async def test_reserved_names_cannot_be_emitted(transport: str, name: str) -> None:
    server, _ = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        with pytest.raises(LocalProtocolError, match=name):
            socket.emit(name)
        with pytest.raises(LocalProtocolError, match=name):
            socket.volatile.emit(name)
        with pytest.raises(LocalProtocolError, match=name):
            await socket.emit_with_ack(name)
        with pytest.raises(LocalProtocolError, match=name):
            server.emit(name)
        with pytest.raises(LocalProtocolError, match=name):
            server.to("room").emit(name)
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_only_text_names_an_event() -> None:
    server, _ = recording_server()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        socket = the_socket(server)
        name: Any = None
        with pytest.raises(LocalProtocolError, match="None"):
            socket.volatile.emit(name)
        with pytest.raises(LocalProtocolError, match="None"):
            await socket.emit_with_ack(name)
        with pytest.raises(LocalProtocolError, match="None"):
            server.emit(name)
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_what_cannot_be_sent_raises_and_sends_nothing(transport: str) -> None:
    server, _ = recording_server()
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        for bad in (object(), deep, [b"x"] * 11):
            with pytest.raises(LocalProtocolError):
                socket.emit("news", bad)
            with pytest.raises(LocalProtocolError):
                server.emit("news", bad)
            with pytest.raises(LocalProtocolError):
                await socket.emit_with_ack("news", bad)
        socket.emit("news", math.nan)
        assert await client.receive_event() == ["news", None]
        assert await ask(client, "ping") == ["pong"]


@trio_test
async def test_emitting_to_a_client_that_is_gone_is_counted(transport: str) -> None:
    server, _ = recording_server()
    async with serving(server) as port:
        async with joined(port, transport) as (client, _):
            socket = the_socket(server)
            await client.send("1")
            await until(lambda: not socket.connected)
        before = server.statistics().packets_dropped
        socket.emit("news")
        socket.volatile.emit("news")
        assert server.statistics().packets_dropped == before + 2


@pytest.mark.parametrize("name", ["connect", "connect_error", "newListener", "removeListener"])
def test_handlers_of_names_that_no_client_can_send_are_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        Server().on(name)(lambda _: None)


@pytest.mark.parametrize("name", ["connection", "disconnect", "note"])
def test_an_event_has_one_handler(name: str) -> None:
    server = Server()
    server.on(name)(lambda *_: None)
    with pytest.raises(LocalProtocolError, match="already"):
        server.on(name)(lambda *_: None)


def test_a_plain_handler_cannot_be_concurrent() -> None:
    with pytest.raises(LocalProtocolError, match="not async"):
        Server().on("note", concurrent=True)(lambda _: None)
