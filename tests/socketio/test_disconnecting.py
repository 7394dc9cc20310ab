"""How sockets end: the reasons, the order, and what is left afterwards."""

import socket as socket_module
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    send_batch,
    send_unanswered,
    serving,
    the_socket,
    until,
)
from tests.wire import PollingEngine, SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions, Socket

Ending = Callable[[SocketIOClient, Socket], Awaitable[None]]


def recording_server(options: ServerOptions | None = None) -> tuple[Server, Record]:
    """The reasons, in / and /chat."""
    server = Server(options)
    ends = Record()
    for name in ("/", "/chat"):
        namespace = server.of(name)
        namespace.on("disconnect")(lambda s, reason: ends.add((s.namespace.name, reason)))
        namespace.on("ping")(lambda _: "pong")
    return server, ends


# --- every way -----------------------------------------------------------------------------------


async def close_by_close_packet(client: SocketIOClient, _: Socket) -> None:
    await client.engine.send("1")


async def close_by_closing(client: SocketIOClient, _: Socket) -> None:
    """The WebSocket's stream ends; on polling the close packet is the only orderly way."""
    if isinstance(client.engine, WebSocketEngine):
        stream = client.engine.websocket.stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()
    else:
        await client.engine.send("1")


async def break_the_transport(client: SocketIOClient, _: Socket) -> None:
    """A reset on WebSocket; a GET that is dropped on polling."""
    if isinstance(client.engine, WebSocketEngine):
        stream = client.engine.websocket.stream
        assert isinstance(stream, trio.SocketStream)
        linger = pack("ii", 1, 0)
        stream.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, linger)
        await trio.aclose_forcefully(stream)
    else:
        assert isinstance(client.engine, PollingEngine)
        await client.engine.getter.send("GET", client.engine.target)
        await ask_by_post(client)
        await client.engine.getter.aclose()


async def ask_by_post(client: SocketIOClient) -> None:
    """One round trip beside the GET: what was sent there before has been read."""
    assert isinstance(client.engine, PollingEngine)
    assert (await client.engine.post("3")).status == 200


async def break_the_frames(client: SocketIOClient, _: Socket) -> None:
    """An unmasked frame on WebSocket; a second GET on polling."""
    if isinstance(client.engine, WebSocketEngine):
        await client.engine.websocket.stream.send_all(b"\x81\x02hi")
    else:
        assert isinstance(client.engine, PollingEngine)
        await client.engine.getter.send("GET", client.engine.target)
        await ask_by_post(client)
        second = PollingEngine(client.engine.port, client.engine.path, client.engine.handshake)
        assert (await second.poll()).status == 400
        await second.aclose()


async def break_a_packet(client: SocketIOClient, _: Socket) -> None:
    await send_unanswered(client, "9")


async def break_engine_packet(client: SocketIOClient, _: Socket) -> None:
    if isinstance(client.engine, PollingEngine):
        assert (await client.engine.post("x")).status == 400
    else:
        await client.engine.send("x")


async def close_session(_: SocketIOClient, socket: Socket) -> None:
    socket.session.close("forced server close")


async def close_engine(_: SocketIOClient, socket: Socket) -> None:
    socket.session.close()


@pytest.mark.req("SIO5-37")
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (close_by_close_packet, "transport close"),
        (close_by_closing, "transport close"),
        (break_the_transport, "transport error"),
        (break_the_frames, "transport error"),
        (break_a_packet, "parse error"),
        (break_engine_packet, "parse error"),
        (close_session, "forced server close"),
        (close_engine, "forced close"),
    ],
)
@trio_test
async def test_end_of_the_session_ends_every_socket_once(
    transport: str, end: Ending, reason: str
) -> None:
    server, ends = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        await client.connect("/chat")
        await end(client, socket)
        assert await ends.wait(2) == [("/", reason), ("/chat", reason)]
        assert socket._membership.reason == reason
        assert not socket.connected
        if end in (close_session, close_engine):
            await check_closed(client)  # a polling client fetches the close packet first
        await until(lambda: server.statistics().sessions == 0)
        assert server.statistics().sockets == {"/": 0, "/chat": 0}
    assert len(ends.entries) == 2


@pytest.mark.req("SIO5-37")
@trio_test
async def test_silent_client_times_out(transport: str) -> None:
    server, ends = recording_server(ServerOptions(ping_interval_s=0.08, ping_timeout_s=0.05))
    async with serving(server) as port, joined(port, transport):
        assert await ends.wait(1) == [("/", "ping timeout")]


@pytest.mark.req("SIO5-31", "SIO5-33")
@trio_test
async def test_client_leaves_a_namespace(transport: str) -> None:
    server, ends = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/chat")
        await client.send("1/chat,")
        assert await ends.wait(1) == [("/chat", "client namespace disconnect")]
        assert await ask(client, "ping") == ["pong"]
        await client.send("1")
        assert (await ends.wait(2))[1] == ("/", "client namespace disconnect")
        await client.connect("/chat")  # the session is still there
        assert await ask(client, "ping", namespace="/chat") == ["pong"]


@pytest.mark.req("SIO5-32", "SIO5-33")
@trio_test
async def test_server_puts_a_socket_out(transport: str) -> None:
    server, ends = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/chat")
        socket = the_socket(server, "/chat")
        socket.emit("bye")
        socket.disconnect()
        socket.disconnect()
        socket.emit("too late")
        assert await client.receive_event("/chat") == ["bye"]
        assert (await client.receive())[0] == "1/chat,"
        assert await ask(client, "ping") == ["pong"]
        assert ends.entries == [("/chat", "server namespace disconnect")]


@pytest.mark.req("SIO5-32")
@trio_test
async def test_server_hangs_up(transport: str) -> None:
    server, ends = recording_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/chat")
        socket = the_socket(server, "/chat")
        socket.emit("bye")
        socket.disconnect(close=True)
        assert await client.receive_event("/chat") == ["bye"]
        assert sorted([(await client.receive())[0] for _ in range(2)]) == ["1", "1/chat,"]
        await check_closed(client)
        assert sorted(await ends.wait(2)) == [
            ("/", "server namespace disconnect"),
            ("/chat", "server namespace disconnect"),
        ]
        await until(lambda: server.statistics().sessions == 0)


# --- order, and what handlers see ----------------------------------------------------------------


@asynccontextmanager
async def queueing(transport: str) -> AsyncIterator[tuple[SocketIOClient, Record, trio.Event]]:
    """A client whose first event is being handled until the event is set."""
    server = Server()
    seen = Record()
    go_on = trio.Event()

    @server.on("slow")
    async def slow(socket: Socket, number: int) -> None:
        seen.add(("begin", number, sorted(socket.rooms - {socket.id})))
        await go_on.wait()
        socket.join("too late")
        socket.leave("x")
        socket.emit("too late")
        seen.add(("end", number))

    @server.on("quick")
    def quick(_: Socket, number: int) -> None:
        seen.add(("quick", number))

    @server.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.add(("disconnecting", reason, sorted(socket.rooms - {socket.id})))

    @server.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        seen.add(("disconnect", reason, sorted(socket.rooms - {socket.id})))

    server.of("/other").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, _):
        the_socket(server).join(["x", "y"])
        await client.connect("/other")
        await client.emit("slow", 1)
        await seen.wait(1)
        yield client, seen, go_on
        assert server.of("/").rooms.names() == []


@pytest.mark.req("SIO5-20", "SIO5-37")
@pytest.mark.parametrize(
    ("last", "reason"), [("41", "client namespace disconnect"), ("1", "transport close")]
)
@trio_test
async def test_queued_events_then_disconnecting_then_disconnect(
    transport: str, last: str, reason: str
) -> None:
    async with queueing(transport) as (client, seen, go_on):
        await send_batch(client, ['2["quick",2]', '2["slow",3]', '2["quick",4]'])
        await client.engine.send(last)
        if last == "41":
            assert await ask(client, "ping", namespace="/other") == ["pong"]
        assert len(seen.entries) == 1
        go_on.set()
        assert await seen.wait(8) == [
            ("begin", 1, ["x", "y"]),
            ("end", 1),
            ("quick", 2),
            ("begin", 3, ["x", "y"]),
            ("end", 3),
            ("quick", 4),
            ("disconnecting", reason, ["x", "y"]),
            ("disconnect", reason, ["x", "y"]),
        ]


@pytest.mark.req("SIO5-31")
@trio_test
async def test_rooms_are_left_before_the_queue_is_done(transport: str) -> None:
    server = Server()
    go_on = trio.Event()
    began = Record()

    @server.on("slow")
    async def slow(socket: Socket) -> None:
        began.add(socket)
        await go_on.wait()

    async with (
        serving(server) as port,
        joined(port, transport) as (client, sid),
    ):
        the_socket(server).join("x")
        await client.emit("slow")
        await began.wait(1)
        await client.send("1")
        await until(lambda: sid not in server.of("/").sockets)
        assert server.of("/").rooms.names() == []
        go_on.set()


@pytest.mark.req("SIO5-31")
@trio_test
async def test_nothing_after_the_disconnect_in_one_batch_is_handled(transport: str) -> None:
    server, _ = recording_server()
    notes = Record()
    server.on("note")(lambda _, number: notes.add(number))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/chat")
        await send_batch(client, ['2["note",1]', "1", '2["note",2]', '25["ping"]'])
        assert await ask(client, "ping", namespace="/chat") == ["pong"]
        assert notes.entries == [1]


@trio_test
async def test_failing_disconnect_handlers_harm_nobody(transport: str) -> None:
    server = Server()
    seen = Record()

    @server.on("disconnecting")
    def disconnecting(*_: Any) -> None:
        raise RuntimeError

    @server.on("disconnect")
    async def disconnect(socket: Socket, _: str) -> None:
        seen.add(socket.id)
        raise RuntimeError

    server.of("/other").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, sid):
        await client.connect("/other")
        await client.send("1")
        assert await seen.wait(1) == [sid]
        assert await ask(client, "ping", namespace="/other") == ["pong"]
        assert server.statistics().handler_failures == 2
