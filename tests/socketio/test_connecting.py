"""How clients come into namespaces, and what happens on the way."""

import json
from time import sleep

import pytest
import trio
import trio.testing
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
from trio.testing import trio_test

from trio_socketio import (
    ConnectRefused,
    LocalProtocolError,
    Server,
    ServerOptions,
    SessionClosed,
    Socket,
)


def echo_server(*namespaces: str, options: ServerOptions | None = None) -> Server:
    """`echo` is acknowledged with the namespace's name and the arguments."""
    server = Server(options)
    for name in ("/", *namespaces):

        @server.of(name).on("echo")
        def echo(socket: Socket, *arguments: object) -> tuple[object, ...]:
            return socket.namespace.name, *arguments

    return server


@pytest.mark.req("SIO5-01")
@trio_test
async def test_nothing_happens_before_connect(transport: str) -> None:
    server = Server(ServerOptions(ping_interval_s=0.1))
    connected = Record()
    server.on("connection")(connected.add)
    async with serving(server) as port, open_client(port, transport) as client:
        for _ in range(2):
            assert await client.engine.receive() == "2"
            await client.engine.send("3")
        server.emit("news")
        assert await client.engine.receive() == "2"
        assert connected.entries == []
        assert server.statistics().sockets == {"/": 0}
        await client.connect()
        await connected.wait(1)


@pytest.mark.req("SIO5-02", "SIO5-03", "SIO5-08", "SIO5-11")
@trio_test
async def test_every_connect_is_answered_once(transport: str) -> None:
    async with (
        serving(echo_server("/chat")) as port,
        open_client(port, transport) as client,
    ):
        await send_batch(client, ["0", "0/chat,", "0/nowhere,"])
        first, second, third = [(await client.receive())[0] for _ in range(3)]
        assert len(json.loads(first[1:])["sid"]) == 20
        assert len(json.loads(second.removeprefix("0/chat,"))["sid"]) == 20
        assert third == '4/nowhere,{"message":"Invalid namespace"}'
        assert await ask(client, "echo") == ["/"]


@pytest.mark.req("SIO5-04")
@trio_test
async def test_ids_are_all_different(transport: str) -> None:
    server = echo_server("/chat")
    async with (
        serving(server) as port,
        joined(port, transport) as (client, first),
        joined(port, transport) as (other, second),
    ):
        ids = {first, second, await client.connect("/chat"), await other.connect("/chat")}
        ids |= {client.engine.handshake["sid"], other.engine.handshake["sid"]}
        assert len(ids) == 6
        assert set(server.of("/").sockets) == {first, second}


@pytest.mark.req("SIO5-05")
@pytest.mark.parametrize("auth", [None, {}, {"token": "x", "deep": [{"a": None}]}])
@trio_test
async def test_auth_reaches_the_application(transport: str, auth: dict[str, object] | None) -> None:
    server = Server()
    async with serving(server) as port, joined(port, transport, auth=auth):
        socket = the_socket(server)
        assert socket.handshake.auth == socket.handshake.auth == (auth or {})


@pytest.mark.req("SIO5-09")
@pytest.mark.parametrize("first", ['2["echo"]', "30[]", "1", '4{"message":"no"}'])
@trio_test
async def test_anything_before_connect_closes(transport: str, first: str) -> None:
    server = echo_server()
    async with serving(server) as port, open_client(port, transport) as client:
        await send_unanswered(client, first)
        await check_closed(client)
        await until(lambda: server.statistics().sessions == 0)


@pytest.mark.req("SIO5-10")
@trio_test
async def test_connect_timeout_closes_who_joined_nothing(transport: str) -> None:
    server = echo_server(options=ServerOptions(connect_timeout_s=0.1))
    async with (
        serving(server) as port,
        joined(port, transport) as (inside, _),
        open_client(port, transport) as outside,
        open_client(port, transport) as refused,
    ):
        await refused.send("0/nowhere,")
        await refused.receive()
        await check_closed(outside)
        await check_closed(refused)
        assert await ask(inside, "echo") == ["/"]


@pytest.mark.req("SIO5-11")
@trio_test
async def test_packets_reach_their_own_namespace_only(transport: str) -> None:
    names = [f"/room-{number}" for number in range(40)]
    async with (
        serving(echo_server(*names)) as port,
        open_client(port, transport) as client,
    ):
        for name in names:
            await client.connect(name)
        for name in reversed(names):
            assert await ask(client, "echo", 1, namespace=name) == [name, 1]


@trio_test
async def test_too_many_namespaces_are_refused(transport: str) -> None:
    server = echo_server("/a", "/b", options=ServerOptions(max_namespaces_per_session=2))
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/a")
        await client.connect("/")
        await client.send("0/b,")
        assert (await client.receive())[0] == '4/b,{"message":"Too many namespaces"}'
        await client.send("1/a,")
        await client.connect("/b")


def watched_server(*namespaces: str) -> tuple[Server, Record]:
    """See echo_server; and who came with which auth, and who went."""
    server = echo_server(*namespaces)
    seen = Record()
    for name in ("/", *namespaces):
        namespace = server.of(name)
        namespace.on("connection")(lambda socket: seen.add(("+", socket.id, socket.handshake.auth)))
        namespace.on("disconnect")(lambda socket, reason: seen.add(("-", socket.id, reason)))
    return server, seen


def let_in_by_number(server: Server, name: str = "/") -> dict[int, trio.Event]:
    """Clients name an event in their auth; middleware waits for it, and refuses number 0."""
    decided = {number: trio.Event() for number in range(10)}

    @server.of(name).use
    async def decide(socket: Socket) -> None:
        await decided[socket.handshake.auth["n"]].wait()
        if socket.handshake.auth["n"] == 0:
            raise ConnectRefused("zero")

    return decided


@pytest.mark.req("SIO5-12", "SIO5-81", "SIO5-82")
@trio_test
async def test_connecting_twice_joins_anew_and_harms_no_other_namespace(transport: str) -> None:
    server, seen = watched_server("/chat")
    async with serving(server) as port, open_client(port, transport) as client:
        chat = await client.connect("/chat")
        first = await client.connect("/", {"user": "ann"})
        pending = Record()

        async def ask_first(socket: Socket) -> None:
            try:
                await socket.emit_with_ack("question")
            except SessionClosed as error:
                pending.add(error.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_first, the_socket(server))
            assert (await client.receive())[0].endswith('["question"]')
            second = await client.connect("/", {"user": "bob"})
        assert pending.entries == ["client namespace disconnect"]
        assert seen.entries == [
            ("+", chat, {}),
            ("+", first, {"user": "ann"}),
            ("-", first, "client namespace disconnect"),
            ("+", second, {"user": "bob"}),
        ]
        assert first != second
        assert list(server.of("/").sockets) == [second]
        assert await ask(client, "echo", 1) == ["/", 1]
        assert await ask(client, "echo", 2, namespace="/chat") == ["/chat", 2]


@pytest.mark.req("SIO5-12", "SIO5-81")
@pytest.mark.parametrize("leave", [[], ["1"]])
@trio_test
async def test_connecting_twice_in_one_batch_keeps_the_order(
    transport: str, leave: list[str]
) -> None:
    server, seen = watched_server()
    async with serving(server) as port, open_client(port, transport) as client:
        batch = ["0", '21["echo",1]', *leave, "0", '22["echo",2]', *leave, "0", '23["echo",3]']
        await send_batch(client, batch)
        answers = [(await client.receive())[0] for _ in range(6)]
        assert [text for text in answers if text[0] == "3"] == [f'3{n}["/",{n}]' for n in (1, 2, 3)]
        await seen.wait(5)
        assert [sign for sign, *_ in seen.entries] == ["+", "-", "+", "-", "+"]
        assert len({socket_id for _, socket_id, _ in seen.entries}) == 3
        assert len(server.of("/").sockets) == 1


@pytest.mark.req("SIO5-12", "SIO5-60")
@trio_test
async def test_the_last_connect_of_a_batch_counts_whoever_else_leaves(transport: str) -> None:
    server, seen = watched_server("/a", "/b")
    async with serving(server) as port, open_client(port, transport) as client:
        for name in ("/a", "/b"):
            await client.connect(name)
        await send_batch(client, ['0/a,{"n":1}', "0/b,", '0/a,{"n":2}'])
        await seen.wait(8)
        assert the_socket(server, "/a").handshake.auth == {"n": 2}
        assert seen.entries[-1][::2] == ("+", {"n": 2})
        assert the_socket(server, "/b").connected


@pytest.mark.req("SIO5-12")
@pytest.mark.parametrize("batch", [["1", "0"], ["0"]], ids=["left", "anew"])
@trio_test
async def test_nobody_joins_once_the_session_has_ended(batch: list[str]) -> None:
    """A CONNECT that waits until the socket has left may come too late."""
    server, seen = watched_server()
    async with serving(server) as port, joined(port, "websocket", "/") as (client, sid):
        await send_batch(client, [*batch, "9"])  # the last one is no packet
        await check_closed(client)
        await until(lambda: not server.statistics().sessions)
    assert seen.entries == [("+", sid, {}), ("-", sid, "client namespace disconnect")]


@pytest.mark.req("SIO5-60")
@trio_test
async def test_the_last_connect_that_is_being_decided_is_answered(transport: str) -> None:
    server, seen = watched_server()
    decided = let_in_by_number(server)
    async with serving(server) as port, open_client(port, transport) as client:
        for number in (0, 1, 2):
            await client.send(f'0{{"n":{number}}}')
        for number in (0, 1):  # what was replaced neither refuses nor joins
            decided[number].set()
        await trio.testing.wait_all_tasks_blocked()
        assert seen.entries == []
        decided[2].set()
        text, _ = await client.receive()
        assert text.startswith('0{"sid":')
        assert await ask(client, "echo") == ["/"]  # the next packet: nothing else was answered
        assert [entry[2] for entry in seen.entries] == [{"n": 2}]
        assert len(server.of("/").sockets) == 1


@pytest.mark.req("SIO5-61")
@trio_test
async def test_what_crosses_the_answer_to_a_second_connect_is_ignored(transport: str) -> None:
    server, seen = watched_server("/chat")
    decided = let_in_by_number(server)
    decided[1].set()
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/chat")
        await client.connect("/", {"n": 1})
        await send_batch(client, ['0{"n":2}', '21["echo",1]', '35["late"]', '2["echo"]'])
        assert await ask(client, "echo", namespace="/chat") == ["/chat"]
        decided[2].set()
        assert (await client.receive())[0].startswith('0{"sid":')
        assert await ask(client, "echo", 2) == ["/", 2]
        assert [entry[0] for entry in seen.entries] == ["+", "+", "-", "+"]


@pytest.mark.req("SIO5-61")
@trio_test
async def test_a_second_connect_may_be_refused(transport: str) -> None:
    server, seen = watched_server("/chat")
    decided = let_in_by_number(server)
    for event in decided.values():
        event.set()
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/chat")
        await client.connect("/", {"n": 1})
        await client.send('0{"n":0}')
        assert await client.receive() == ('4{"message":"zero"}', [])
        assert await ask(client, "echo", namespace="/chat") == ["/chat"]
        assert [entry[0] for entry in seen.entries] == ["+", "+", "-"]
        assert not server.of("/").sockets


@pytest.mark.req("SIO5-13")
@trio_test
async def test_connect_error_from_a_client_closes(transport: str) -> None:
    async with serving(echo_server()) as port, joined(port, transport) as (client, _):
        await send_unanswered(client, '4{"message":"no"}')
        await check_closed(client)


@pytest.mark.req("SIO5-14", "SIO5-83")
@trio_test
async def test_connect_goes_out_before_what_the_connection_handler_sends(transport: str) -> None:
    server = Server()
    seen = Record()

    @server.on("connection")
    async def connected(socket: Socket) -> None:
        socket.emit("welcome")
        seen.add("connection begins")
        await trio.sleep(0.01)
        seen.add("connection ends")

    @server.on("early")
    def early(_: Socket) -> None:
        seen.add("event")

    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await client.emit("early")
        assert await client.receive_event() == ["welcome"]
        assert await seen.wait(3) == ["connection begins", "connection ends", "event"]


@pytest.mark.req("SIO5-33", "SIO5-34")
@trio_test
async def test_leave_and_join_again(transport: str) -> None:
    server = echo_server()
    async with serving(server) as port, joined(port, transport) as (client, first):
        await client.send("1")
        second = await client.connect()
        assert second != first
        assert await ask(client, "echo") == ["/"]
        await until(lambda: set(server.of("/").sockets) == {second})


@pytest.mark.req("SIO5-34")
@trio_test
async def test_leave_and_join_again_in_one_batch(transport: str) -> None:
    server = echo_server()
    ended = Record()
    server.on("disconnect")(lambda socket, reason: ended.add((socket.id, reason)))
    async with serving(server) as port, joined(port, transport) as (client, first):
        await send_batch(client, ["1", "0"])
        second = json.loads((await client.receive())[0][1:])["sid"]
        assert second != first
        assert ended.entries == [(first, "client namespace disconnect")]
        assert set(server.of("/").sockets) == {second}


@pytest.mark.req("SIO5-34")
@trio_test
async def test_a_slow_disconnect_handler_does_not_let_later_events_pass() -> None:
    for _ in range(10):  # who is scheduled first is a matter of chance
        server = echo_server()
        seen = Record()
        server.on("number")(lambda _, number, seen=seen: seen.add(number))
        server.on("disconnect")(lambda *_: sleep(0.003))
        async with serving(server) as port, joined(port, "websocket") as (client, _):
            events = [f'2["number",{number}]' for number in range(200)]
            await send_batch(client, ["1", "0", *events, '29["echo"]'])
            while not (await client.receive())[0].startswith("39"):
                pass
            assert seen.entries == list(range(200))


@pytest.mark.parametrize("kind", ["middleware", "handler"])
@trio_test
async def test_joining_and_leaving_cannot_pile_up_tasks(transport: str, kind: str) -> None:
    server = Server(ServerOptions(max_namespaces_per_session=5))
    begun = Record()
    go_on = trio.Event()

    async def wait(_: Socket) -> None:
        begun.add("begun")
        with trio.CancelScope(shield=True):  # middleware is cancelled when its client leaves
            await go_on.wait()

    if kind == "middleware":
        server.use(wait)
    else:
        server.on("connection")(wait)
    async with serving(server) as port, open_client(port, transport) as client:
        for number in range(5):
            await client.send("0")
            await begun.wait(number + 1)
            await client.send("1")
        await send_batch(client, ["0"] * 3)
        refused = 0
        while refused < 3:
            text, _ = await client.receive()
            refused += text.startswith("4")
        assert begun.entries == ["begun"] * 5
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await client.connect()


@pytest.mark.req("SIO5-31", "SIO5-34")
@trio_test
async def test_leaving_again_in_the_same_batch_wins(transport: str) -> None:
    server = echo_server("/chat")
    async with serving(server) as port, joined(port, transport, "/chat") as (client, _):
        await client.connect()
        await send_batch(client, ["1/chat,", "0/chat,", "1/chat,"])
        await client.emit("echo", ack_id=7)
        while not (await client.receive())[0].startswith("37"):
            pass
        assert not server.of("/chat").sockets


@pytest.mark.req("SIO5-34")
@trio_test
async def test_a_refused_client_may_try_again(transport: str) -> None:
    server = echo_server()

    @server.use
    def check(socket: Socket) -> None:
        if not socket.handshake.auth:
            raise ValueError("no auth")

    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        assert (await client.receive())[0].startswith("4{")
        await client.connect("/", {"name": "x"})
        assert await ask(client, "echo") == ["/"]


@pytest.mark.req("SIO5-35")
@pytest.mark.parametrize("packet", ['2/never,["echo"]', "3/never,0[]", "1/never,"])
@trio_test
async def test_packets_of_a_namespace_never_joined_close(transport: str, packet: str) -> None:
    async with serving(echo_server("/never")) as port, joined(port, transport) as (client, _):
        await send_unanswered(client, packet)
        await check_closed(client)


@pytest.mark.req("SIO5-35")
@trio_test
async def test_binary_event_of_a_namespace_never_joined_closes(transport: str) -> None:
    async with serving(echo_server("/never")) as port, joined(port, transport) as (client, _):
        await send_unanswered(client, '51-/never,["echo",{"_placeholder":true,"num":0}]')
        await check_closed(client)


@pytest.mark.req("SIO5-32", "SIO5-36")
@trio_test
async def test_packets_that_cross_a_disconnect_are_ignored(transport: str) -> None:
    server = echo_server("/chat")
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/chat")
        the_socket(server, "/chat").disconnect()
        await client.emit("echo", namespace="/chat", ack_id=1)
        await client.send("3/chat,0[]")
        await client.send('51-/chat,["echo",{"_placeholder":true,"num":0}]', b"x")
        await client.send("1/chat,")
        assert (await client.receive())[0] == "1/chat,"
        assert await ask(client, "echo") == ["/"]
        await client.connect("/chat")
        assert await ask(client, "echo", namespace="/chat") == ["/chat"]


def test_names_of_namespaces() -> None:
    server = Server()
    assert server.of("chat") is server.of("/chat")
    with pytest.raises(LocalProtocolError, match="/a,b"):
        server.of("/a,b")
