"""Clients 1.x and 2.x: in the main namespace unasked, with ids and errors of their own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.socketio.serving import Record, check_closed, joined, send_unanswered, serving, until
from tests.wire import EngineClient, HttpClient, SocketIOClient
from tests.wire_v3 import PollingEngineV3, WebSocketEngineV3, pack
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Server, ServerOptions, Socket, Target


def make_server(**options: Any) -> Server:
    server = Server(ServerOptions(allow_eio3=True, **options))
    server.on("ping")(lambda _: "pong")
    return server


@asynccontextmanager
async def open_client(
    port: int, transport: str, query: str = "&EIO=3"
) -> AsyncIterator[SocketIOClient]:
    """A client that has read nothing yet."""
    engine: EngineClient
    if transport == "websocket":
        engine = await WebSocketEngineV3.open(port, query=query)
    else:
        engine = await PollingEngineV3.open(port, query=query)
    client = SocketIOClient(engine)
    try:
        yield client
    finally:
        with trio.CancelScope(shield=True):
            if isinstance(engine, PollingEngineV3):
                await engine.getter.aclose()
                http = HttpClient(port)
                await http.request("POST", engine.target, body=pack("1").encode())
                await http.aclose()
            await client.aclose()


@asynccontextmanager
async def in_main(port: int, transport: str) -> AsyncIterator[SocketIOClient]:
    async with open_client(port, transport) as client:
        assert await client.receive() == ("0", [])
        yield client


def sid_of(client: SocketIOClient) -> str:
    sid: str = client.engine.handshake["sid"]
    return sid


@pytest.mark.req("SIO4-01", "SIO4-06")
@trio_test
async def test_a_client_is_in_the_main_namespace_unasked(transport: str) -> None:
    server = make_server()
    seen = Record()

    @server.on("connection")
    def connected(socket: Socket) -> None:
        seen.add(
            (socket.id, socket.handshake.auth, socket.handshake.query.get("color"), socket.rooms)
        )
        socket.emit("welcome")

    async with serving(server) as port, open_client(port, transport, "&color=red") as client:
        assert await client.receive() == ("0", [])
        assert await client.receive() == ('2["welcome"]', [])
        sid = sid_of(client)
        assert seen.entries == [(sid, {}, "red", {sid})]
        assert list(server.of("/").sockets) == [sid]


@pytest.mark.req("SIO4-01")
@trio_test
async def test_the_first_answer_to_a_poll_has_the_connect_too() -> None:
    async with serving(make_server()) as port, open_client(port, "polling") as client:
        assert isinstance(client.engine, PollingEngineV3)
        assert list(client.engine.packets) == ["40"]


@pytest.mark.req("SIO4-02", "SIO4-03", "SIO4-06")
@pytest.mark.parametrize(
    ("query", "auth"),
    [
        ("", {}),
        ("?", {}),
        ("?token=x", {"token": "x"}),
        ("?token=a%26b%20%C3%A9+c&empty=&a=1&a=2", {"token": "a&b é c", "empty": "", "a": "2"}),
    ],
)
@trio_test
async def test_a_query_behind_a_namespace_is_the_auth(
    transport: str, query: str, auth: dict[str, str]
) -> None:
    server = make_server()
    seen = Record()
    server.of("/admin").on("connection")(
        lambda socket: seen.add((socket.id, socket.handshake.auth))
    )
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send(f"0/admin{query},")
        assert await client.receive() == ("0/admin,", [])
        assert seen.entries == [(f"/admin#{sid_of(client)}", auth)]
        await client.emit("ping", ack_id=1)
        assert await client.receive() == ('31["pong"]', [])


@pytest.mark.req("JOIN-28")
@trio_test
async def test_others_are_shown_an_alias_of_its_id(transport: str) -> None:
    server = make_server()
    async with serving(server) as port, in_main(port, transport) as client:
        (socket,) = server.of("/").sockets.values()
        assert socket.id == sid_of(client)
        alias = socket.public_id
        assert len(alias) == 20
        assert socket.id not in alias
        (remote,) = await server.fetch_sockets()
        assert remote.id == alias
        assert remote.rooms == {alias}
        assert await server.of("/").adapter.sockets(Target()) == {alias}
        assert server.to(alias).emit("news") == 1
        assert await client.receive() == ('2["news"]', [])
        remote.emit("news")
        assert await client.receive() == ('2["news"]', [])
        assert server.except_(alias).emit("news") == 0
        remote.disconnect()
        assert await client.receive() == ("1", [])
        assert server.to(alias).emit("news") == 0


@pytest.mark.req("JOIN-28")
@trio_test
async def test_its_id_is_in_no_log(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is the secret of its session: whoever reads the log must not be able to take it over."""
    server = make_server()

    @server.on("fail")
    def fail(socket: Socket) -> None:
        raise RuntimeError(f"of {socket!r}")

    @server.on("fail later")
    async def fail_later(socket: Socket) -> None:
        raise RuntimeError(f"of {socket!r}")

    async with serving(server) as port, in_main(port, transport) as client:
        sid = sid_of(client)
        (socket,) = server.of("/").sockets.values()
        socket.on_any(lambda *_: 1 / 0)
        socket.on_any_outgoing(lambda *_: 1 / 0)
        socket.emit("news")
        assert await client.receive() == ('2["news"]', [])
        await client.emit("fail")
        await client.emit("fail later")
        await client.emit("ping", ack_id=1)
        assert await client.receive() == ('31["pong"]', [])
        alias = socket.public_id
        assert await server.of("/").adapter.socket_rooms(sid) == frozenset((alias,))
    assert caplog.text.count("failed") >= 4
    assert alias in caplog.text
    assert sid not in caplog.text
    caplog.clear()


@pytest.mark.req("SIO4-03")
@trio_test
async def test_a_payload_of_a_connect_is_no_auth(transport: str) -> None:
    server = make_server()
    seen = Record()
    server.of("/admin").on("connection")(lambda socket: seen.add(socket.handshake.auth))
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send('0/admin?token=x,{"token":"y"}')
        assert await client.receive() == ("0/admin,", [])
        assert seen.entries == [{"token": "x"}]


@pytest.mark.req("SIO4-02", "SIO4-03")
@trio_test
async def test_a_client_that_leaves_and_rejoins_at_once_keeps_its_query() -> None:
    server = make_server()
    seen = Record()
    server.of("/admin").on("connection")(lambda socket: seen.add(socket.handshake.auth))
    async with serving(server) as port, in_main(port, "polling") as client:
        assert isinstance(client.engine, PollingEngineV3)
        http = HttpClient(port)
        packets = pack("40/admin?token=1", "41/admin", "40/admin?token=2")
        await http.request("POST", client.engine.target, body=packets.encode())
        await http.aclose()
        for _ in range(2):
            assert await client.receive() == ("0/admin,", [])
        assert seen.entries == [{"token": "1"}, {"token": "2"}]


@pytest.mark.req("SIO4-04")
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize(
    ("data", "told"),
    [(None, "no entry"), ({"code": 4}, {"code": 4}), ("why", "why"), (0, 0), ([], [])],
)
@trio_test
async def test_a_refusal_is_told_as_data_or_message(
    transport: str, kind: str, data: Any, told: Any
) -> None:
    server = make_server()

    def refuse(_: Socket) -> None:
        raise ConnectRefused("no entry", data=data)

    async def refuse_later(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        refuse(socket)

    server.of("/admin").use(refuse if kind == "plain" else refuse_later)
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send("0/admin,")
        text, _ = await client.receive()
        assert text.startswith("4/admin,")
        assert json.loads(text[8:]) == told
        await client.emit("ping", ack_id=1)
        assert await client.receive() == ('31["pong"]', [])


@pytest.mark.req("SIO4-05")
@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_a_client_that_the_main_namespace_refuses_may_join_another(
    transport: str, kind: str
) -> None:
    server = make_server(connect_timeout_s=0.3)
    server.of("/open").on("ping")(lambda _: "pong")

    def refuse(_: Socket) -> None:
        raise ConnectRefused("not here")

    async def refuse_later(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        refuse(socket)

    server.use(refuse if kind == "plain" else refuse_later)
    async with (
        serving(server) as port,
        open_client(port, transport) as client,
        open_client(port, transport) as idle,
    ):
        for each in (client, idle):
            assert await each.receive() == ('4"not here"', [])
        await client.send("0/open,")
        assert await client.receive() == ("0/open,", [])
        await check_closed(idle)
        await client.emit("ping", namespace="/open", ack_id=1)
        assert await client.receive() == ('3/open,1["pong"]', [])


@pytest.mark.req("SIO4-07")
@trio_test
async def test_an_unknown_namespace_is_refused(transport: str) -> None:
    async with serving(make_server()) as port, in_main(port, transport) as client:
        for name in ("/nowhere", "/nowhere?token=x"):
            await client.send(f"0{name},")
            assert await client.receive() == ('4/nowhere,"Invalid namespace"', [])


@pytest.mark.req("SIO4-08")
@pytest.mark.parametrize("text", ['2/nowhere,["a"]', "3/nowhere,1[]", "1/nowhere,", '4"error"'])
@trio_test
async def test_what_makes_no_sense_ends_the_session(transport: str, text: str) -> None:
    async with serving(make_server()) as port, in_main(port, transport) as client:
        await send_unanswered(client, text)
        await check_closed(client)


@pytest.mark.req("SIO4-13")
@pytest.mark.parametrize("text", ["0", "0/", "0/?token=x", "0/admin,", "0/admin?token=x,"])
@trio_test
async def test_connecting_twice_joins_anew(transport: str, text: str) -> None:
    server = make_server()
    server.of("/admin").on("ping")(lambda _: "pong")
    gone = Record()
    for name in ("/", "/admin"):
        server.of(name).on("disconnect")(lambda socket, reason: gone.add((socket.id, reason)))
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send("0/admin,")
        assert await client.receive() == ("0/admin,", [])
        await client.send(text)
        name = "/admin" if "admin" in text else "/"
        assert await client.receive() == ("0" if name == "/" else "0/admin,", [])
        sid = sid_of(client)
        socket_id = sid if name == "/" else f"/admin#{sid}"
        assert gone.entries == [(socket_id, "client namespace disconnect")]
        (socket,) = server.of(name).sockets.values()
        assert socket.id == socket_id
        assert socket.handshake.auth == ({"token": "x"} if "token" in text else {})
        for prefix in ("", "/admin,"):
            await client.send(f'2{prefix}1["ping"]')
            assert await client.receive() == (f'3{prefix}1["pong"]', [])


@pytest.mark.req("SIO4-12")
@trio_test
async def test_a_query_is_bounded(transport: str) -> None:
    server = make_server()
    server.of("/admin")
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send("0/admin?" + "a" * 4096 + ",")
        assert await client.receive() == ("0/admin,", [])
        await send_unanswered(client, "0/other?" + "a" * 4097 + ",")
        await check_closed(client)


@pytest.mark.req("SIO4-09")
@trio_test
async def test_leaving_a_namespace_leaves_the_others_and_is_no_farewell(transport: str) -> None:
    server = make_server()
    gone = Record()
    admin = server.of("/admin")
    admin.on("disconnect")(lambda socket, reason: gone.add((socket.id, reason)))
    server.on("disconnect")(lambda socket, reason: gone.add((socket.id, reason)))
    async with serving(server) as port, in_main(port, transport) as client:
        sid = sid_of(client)
        for number in range(2):  # the same id again
            await client.send("0/admin,")
            assert await client.receive() == ("0/admin,", [])
            assert list(admin.sockets) == [f"/admin#{sid}"]
            await client.send("1/admin,")
            await gone.wait(number + 1)
            assert list(admin.sockets) == []
        await client.emit("ping", ack_id=1)
        assert await client.receive() == ('31["pong"]', [])
        await client.send("1")
        await gone.wait(3)
        reason = "client namespace disconnect"
        assert gone.entries == [(f"/admin#{sid}", reason)] * 2 + [(sid, reason)]


@pytest.mark.req("SIO4-09")
@trio_test
async def test_a_server_puts_a_client_out(transport: str) -> None:
    server = make_server()
    server.on("out")(lambda socket: socket.disconnect())
    async with serving(server) as port, in_main(port, transport) as client:
        await client.emit("out")
        assert await client.receive() == ("1", [])
        await until(lambda: not server.of("/").sockets)


@pytest.mark.req("SIO4-10")
@trio_test
async def test_events_acks_and_binary(transport: str) -> None:
    server = make_server()
    server.on("echo")(lambda _, *arguments: arguments)

    @server.on("ask")
    async def ask(socket: Socket) -> Any:
        return await socket.emit_with_ack("question", b"\4q")

    async with serving(server) as port, in_main(port, transport) as client:
        await client.emit("echo", "é€😀", {"a": [1]}, ack_id=3)
        assert await client.receive() == ('33["é€😀",{"a":[1]}]', [])
        one = '{"_placeholder":true,"num":0}'
        await client.send(f'51-4["echo",{one}]', b"\1\2")
        assert await client.receive() == (f"61-4[{one}]", [b"\1\2"])
        await client.emit("ask", ack_id=5)
        assert await client.receive() == (f'51-0["question",{one}]', [b"\4q"])
        await client.send(f"61-0[{one}]", b"answer")
        assert await client.receive() == (f"61-5[{one}]", [b"answer"])


@pytest.mark.req("SIO4-10")
@trio_test
async def test_a_query_before_attachments_names_the_same_namespace(transport: str) -> None:
    server = make_server()
    seen = Record()
    server.of("/admin").on("data")(lambda _, data: seen.add(data))
    async with serving(server) as port, in_main(port, transport) as client:
        await client.send("0/admin?a=1,")
        assert await client.receive() == ("0/admin,", [])
        event = '51-/admin?a=1,["data",{"_placeholder":true,"num":0}]'
        await client.send(event, b"\1")
        assert await seen.wait(1) == [b"\1"]


@pytest.mark.req("SIO4-11")
@trio_test
async def test_a_broadcast_reaches_clients_of_both_revisions(transport: str) -> None:
    server = make_server()
    async with (
        serving(server) as port,
        in_main(port, "websocket") as old,
        in_main(port, transport) as older,
        joined(port, transport) as (new, new_id),
    ):
        server.emit("news", "é€😀", b"\1\2", b"")
        for client in (old, older, new):
            text, attachments = await client.receive()
            assert text.startswith('52-["news","é€😀",')
            assert attachments == [b"\1\2", b""]
        server.to(sid_of(old)).except_(new_id).emit("you")
        assert await old.receive_event() == ["you"]
        for client in (older, new):
            await client.emit("ping", ack_id=1)
            assert await client.receive() == ('31["pong"]', [])


@pytest.mark.req("SIO4-20")
@pytest.mark.parametrize(
    ("packet", "attachments", "answer"),
    [
        ("3{}0[]", [], None),
        ('3{}0["é",{{"a":[1]}}]', [], ("é", {"a": [1]})),
        ('61-{}0[{{"_placeholder":true,"num":0}}]', [b"\4a"], b"\4a"),
    ],
)
@pytest.mark.parametrize("namespace", ["/", "/admin"])
@trio_test
async def test_an_old_client_acknowledges(
    transport: str, namespace: str, packet: str, attachments: list[bytes], answer: Any
) -> None:
    server = make_server()
    answers = Record()

    @server.of(namespace).on("ask")
    async def ask(socket: Socket) -> None:
        answers.add(await socket.emit_with_ack("question"))

    prefix = "" if namespace == "/" else f"{namespace},"
    async with serving(server) as port, in_main(port, transport) as client:
        if prefix:
            await client.send(f"0{prefix}")
            assert await client.receive() == (f"0{prefix}", [])
        await client.send(f'2{prefix}["ask"]')
        assert await client.receive() == (f'2{prefix}0["question"]', [])
        await client.send(packet.format(prefix), *attachments)
        assert await answers.wait(1) == [answer]
