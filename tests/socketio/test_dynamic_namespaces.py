"""Namespaces that clients bring into being, and their parents."""

import json
import re
from typing import Any

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    joined,
    open_client,
    serving,
    until,
)
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import (
    AckTimeout,
    Adapter,
    ConnectRefused,
    LocalProtocolError,
    Namespace,
    Server,
    ServerOptions,
)

ROOM = re.compile(r"/room-\d+")
INVALID = {"message": "Invalid namespace"}


async def refusal(client: SocketIOClient, name: str, auth: Any = None) -> Any:
    """Ask to join what one may not join; gives the payload of the CONNECT_ERROR."""
    await client.send(f"0{name}," + ("" if auth is None else json.dumps(auth)))
    text, _ = await client.receive()
    assert text.startswith(f"4{name},"), text
    return json.loads(text[len(name) + 2 :])


def room_server(options: ServerOptions | None = None) -> Server:
    server = Server(options)
    server.of(ROOM).on("where")(lambda socket: socket.namespace.name)
    return server


# --- which names there are -----------------------------------------------------------------------


@pytest.mark.req("SURF-01")
@trio_test
async def test_a_name_that_a_pattern_matches_is_joined(transport: str) -> None:
    server = room_server()
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/room-1")
        await client.connect("/room-22")
        assert await ask(client, "where", namespace="/room-1") == ["/room-1"]
        assert await ask(client, "where", namespace="/room-22") == ["/room-22"]
        assert set(server.of(ROOM).children) == {"/room-1", "/room-22"}
        assert server.statistics().sockets == {"/": 0, "/room-1": 1, "/room-22": 1}


@pytest.mark.req("SURF-01", "SIO5-08")
@pytest.mark.parametrize("name", ["/room-", "/room-1x", "/x/room-1", "/room-1\n", "/ROOM-1"])
@trio_test
async def test_a_pattern_matches_whole_names_only(transport: str, name: str) -> None:
    server = room_server()
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, name) == INVALID
        await client.connect("/room-1")
        assert set(server.namespaces) == {"/", "/room-1"}


@pytest.mark.req("SURF-01")
@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_a_predicate_gets_name_and_auth_and_decides(transport: str, kind: str) -> None:
    server = Server()
    asked = Record()

    def decide(name: str, auth: dict[str, Any]) -> bool:
        asked.add((name, auth))
        return auth.get("token") == "right"

    async def decide_async(name: str, auth: dict[str, Any]) -> bool:
        await trio.lowlevel.checkpoint()
        return decide(name, auth)

    parent = server.of(decide if kind == "plain" else decide_async)
    parent.on("ping")(lambda _: "pong")
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, "/a", {"token": "wrong"}) == INVALID
        await client.connect("/a", {"token": "right"})
        await client.connect("/b", {"token": "right"})
        assert await ask(client, "ping", namespace="/a") == ["pong"]
        assert asked.entries == [
            ("/a", {"token": "wrong"}),
            ("/a", {"token": "right"}),
            ("/b", {"token": "right"}),
        ]
        async with joined(port, transport, "/a", {}):  # it exists: only middleware would be asked
            assert len(asked.entries) == 3


@trio_test
async def test_a_client_that_leaves_meanwhile_founds_nothing(transport: str) -> None:
    server = Server()
    asked, decide = trio.Event(), trio.Event()
    later = Record()

    async def accept(name: str, auth: dict[str, Any]) -> bool:
        asked.set()
        with trio.CancelScope(shield=True):
            await decide.wait()
        return True

    server.of(accept).use(later.add)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0/room,")
        await asked.wait()
        await client.send("1/room,")
        decide.set()
        await until(lambda: server.statistics().joining == 0)
        assert set(server.namespaces) == {"/"}
    assert later.entries == []


@trio_test
async def test_static_names_come_first_then_parents_in_order(transport: str) -> None:
    server = Server()
    asked = Record()
    server.of("/room-1").on("who")(lambda _: "static")

    @server.of
    def first(name: str, auth: dict[str, Any]) -> bool:
        asked.add(name)
        return name == "/room-2"

    assert first.children == {}
    first.on("who")(lambda _: "first")
    server.of(ROOM).on("who")(lambda _: "pattern")
    server.of(lambda *_: True).on("who")(lambda _: "last")
    async with serving(server) as port, open_client(port, transport) as client:
        for name, who in [
            ("/room-1", "static"),
            ("/room-2", "first"),
            ("/room-3", "pattern"),
            ("/x", "last"),
        ]:
            await client.connect(name)
            assert await ask(client, "who", namespace=name) == [who]
        assert asked.entries == ["/room-2", "/room-3", "/x"]


@trio_test
async def test_a_client_is_refused_whose_namespace_cannot_be_created(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def make(namespace: Namespace) -> Adapter:
        if broken and namespace.name != "/":
            raise RuntimeError("no other node answers")
        return Adapter(namespace)

    server = Server(ServerOptions(max_dynamic_namespaces=1), adapter=make)
    server.of(ROOM).on("where")(lambda socket: socket.namespace.name)
    async with serving(server) as port, open_client(port, transport) as client:
        for name in ("/room-1", "/room-2"):
            assert await refusal(client, name) == {"message": "Internal server error"}
        assert server.statistics().handler_failures == 2
        assert set(server.namespaces) == {"/"}
        assert not server.of(ROOM).children
        broken = False
        await client.connect("/room-1")  # what failed takes no place
        assert await ask(client, "where", namespace="/room-1") == ["/room-1"]
    assert "creating a namespace failed" in caplog.text
    assert "no other node answers" in caplog.text  # with its traceback


@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_who_raises_does_not_accept(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    def fail(name: str, auth: dict[str, Any]) -> bool:
        raise RuntimeError("no database")

    async def fail_async(name: str, auth: dict[str, Any]) -> bool:
        return fail(name, auth)

    parent = server.of(fail if kind == "plain" else fail_async)
    server.of(ROOM)
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, "/x") == INVALID
        await client.connect("/room-1")
        assert server.statistics().handler_failures == 2
    assert f"predicate {parent.name} failed for socket /x" in caplog.text
    assert "no database" in caplog.text


@pytest.mark.req("SURF-33")
@trio_test
async def test_a_predicate_that_returns_an_exception_accepts_nothing(transport: str) -> None:
    server = Server()
    predicate: Any = lambda name, auth: ConnectRefused("no such room")  # noqa: E731 - a def would not be Any
    server.of(predicate)
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, "/room") == INVALID
        assert server.statistics().handler_failures == 1


@pytest.mark.req("SURF-01")
@trio_test
async def test_an_async_predicate_in_disguise_accepts_nothing(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def deny(name: str) -> bool:
        return False

    server = Server()
    server.of(lambda name, _: deny(name))
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, "/x") == INVALID
    assert "returned a coroutine" in caplog.text


@pytest.mark.req("SURF-02")
@pytest.mark.parametrize("name", ["/" + "a" * 255, "/a\x1bb"])
@trio_test
async def test_names_are_bounded_before_anybody_is_asked(transport: str, name: str) -> None:
    server = Server()
    asked = Record()
    server.of(re.compile(".*", re.DOTALL))

    @server.of
    def accept(name: str, auth: dict[str, Any]) -> bool:
        asked.add(name)
        return True

    assert accept.children == {}
    async with serving(server) as port, open_client(port, transport) as client:
        assert await refusal(client, name) == INVALID
        await client.connect("/" + "a" * 254)
        assert asked.entries == []


@pytest.mark.req("SURF-03")
@trio_test
async def test_clients_cannot_make_endless_namespaces(transport: str) -> None:
    server = room_server(ServerOptions(max_dynamic_namespaces=2))
    server.of("/room-9")  # the program's own do not count
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/room-1")
        await client.connect("/room-2")
        assert await refusal(client, "/room-3") == {"message": "Too many namespaces"}
        await client.connect("/room-9")
        async with joined(port, transport, "/room-2"):
            assert set(server.of(ROOM).children) == {"/room-1", "/room-2", "/room-9"}


@pytest.mark.req("BND-18")
@trio_test
async def test_a_client_that_comes_and_goes_does_not_use_up_all_namespaces(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = room_server(ServerOptions(max_dynamic_namespaces=2))
    async with serving(server) as port, open_client(port, transport) as other:
        await other.connect("/room-1")
        for number in range(2, 6):
            async with joined(port, transport, f"/room-{number}"):
                assert set(server.of(ROOM).children) == {"/room-1", f"/room-{number}"}
            await until(lambda: server.statistics().sessions == 1)
        await other.connect("/room-6")
        assert set(server.of(ROOM).children) == {"/room-1", "/room-6"}
        assert await refusal(other, "/room-7") == {"message": "Too many namespaces"}
    assert caplog.text.count("max_dynamic_namespaces (2) is reached") == 1
    caplog.clear()


@pytest.mark.req("BND-18")
@trio_test
async def test_a_namespace_that_somebody_has_come_back_to_does_not_give_way(
    transport: str,
) -> None:
    server = room_server(ServerOptions(max_dynamic_namespaces=1))
    async with serving(server) as port:
        async with joined(port, transport, "/room-1"):
            pass
        await until(lambda: server.statistics().sessions == 0)  # nobody is in it now
        async with joined(port, transport, "/room-1"), open_client(port, transport) as other:
            assert await refusal(other, "/room-2") == {"message": "Too many namespaces"}
            assert set(server.of(ROOM).children) == {"/room-1"}
            assert server.of("/room-1").emit("news") == 1


TOO_MANY_OF_ONE = {"message": "Too many new namespaces for one client"}


@pytest.mark.req("BND-12")
@trio_test
async def test_one_client_cannot_take_all_namespaces_that_there_may_be(transport: str) -> None:
    server = room_server()
    async with serving(server) as port, open_client(port, transport) as client:
        for number in range(10):
            await client.connect(f"/room-{number}")
        assert await refusal(client, "/room-10") == TOO_MANY_OF_ONE
        await client.send("1/room-0,")
        assert await refusal(client, "/room-11") == TOO_MANY_OF_ONE  # leaving ends none of them
        async with open_client(port, transport) as other:
            await other.connect("/room-10")
            await client.connect("/room-10")  # it is there now
        assert len(server.of(ROOM).children) == 11


@pytest.mark.req("BND-12")
@trio_test
async def test_namespaces_that_have_ended_do_not_count_against_their_founder(
    transport: str,
) -> None:
    server = room_server(
        ServerOptions(cleanup_empty_child_namespaces=True, max_namespaces_founded_per_session=2)
    )
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/")
        for number in range(5):
            name = f"/room-{number}"
            await client.connect(name)
            await client.send(f"1{name},")
            await until(lambda: not server.of(ROOM).children)
        await client.connect("/room-1")
        await client.connect("/room-2")
        assert await refusal(client, "/room-3") == TOO_MANY_OF_ONE


def test_a_matcher_has_one_parent() -> None:
    server = Server()
    assert server.of(ROOM) is server.of(re.compile(ROOM.pattern))
    assert server.of(ROOM) is not server.of(re.compile(ROOM.pattern, re.IGNORECASE))
    for nonsense in (7, re.compile(b"/room")):
        with pytest.raises(LocalProtocolError, match="predicate"):
            server.of(nonsense)  # type: ignore[arg-type] # that is the point


def test_a_name_that_a_pattern_matches_is_its_child() -> None:
    server = room_server()
    child = server.of("room-1")
    assert child is server.of(ROOM).children["/room-1"]
    assert "where" in child._registry.handlers
    assert server.of("/other").name not in server.of(ROOM).children


# --- what children inherit -----------------------------------------------------------------------


@trio_test
async def test_children_have_what_is_registered_with_their_parent_before_and_after(
    transport: str,
) -> None:
    server = Server()
    seen = Record()
    parent = server.of(ROOM)
    parent.use(lambda socket: seen.add(("early", socket.namespace.name)))
    parent.on("connection")(lambda socket: seen.add(("joined", socket.namespace.name)))
    parent.on("disconnect")(lambda socket, _: seen.add(("left", socket.namespace.name)))
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/room-1")
        parent.use(lambda socket: seen.add(("late", socket.namespace.name)))
        parent.on("ping")(lambda socket: "pong of " + socket.namespace.name)
        assert await ask(client, "ping", namespace="/room-1") == ["pong of /room-1"]
        await client.send("1/room-1,")
        await seen.wait(3)
        await client.connect("/room-1")
        assert await seen.wait(6) == [
            *(("early", "/room-1"), ("joined", "/room-1"), ("left", "/room-1")),
            *(("early", "/room-1"), ("late", "/room-1"), ("joined", "/room-1")),
        ]


@trio_test
async def test_new_namespace_is_told_before_anybody_joins(transport: str) -> None:
    server = Server()
    seen = Record()
    parent = server.of(ROOM)

    @server.on("new_namespace")
    def created(namespace: Namespace) -> None:
        seen.add((namespace.name, len(namespace.sockets)))
        namespace.on("ping")(lambda _: "own")
        if namespace.name == "/room-2":
            raise RuntimeError

    server.of("/static")
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect("/room-1")
        await client.connect("/room-2")
        parent.on("ping")(lambda _: "parent's")
        assert await ask(client, "ping", namespace="/room-1") == ["own"]
        assert seen.entries == [("/static", 0), ("/room-1", 0), ("/room-2", 0)]
        assert server.statistics().handler_failures == 1
        await client.connect()
        await client.emit("new_namespace", "forged")
        assert await ask(client, "ping", namespace="/room-1") == ["own"]
        assert len(seen.entries) == 3


def test_the_handler_of_new_namespace_is_plain() -> None:
    async def late(_: Namespace) -> None:
        """Would come when somebody has joined."""

    with pytest.raises(LocalProtocolError, match="plain"):
        Server().on("new_namespace")(late)


def test_a_parent_has_one_handler_per_event() -> None:
    parent = Server().of(ROOM)
    parent.on("ping")(lambda _: None)
    with pytest.raises(LocalProtocolError, match="already"):
        parent.on("ping")(lambda _: None)


# --- broadcasts from a parent --------------------------------------------------------------------


@pytest.mark.req("SURF-04")
@trio_test
async def test_a_broadcast_from_a_parent_reaches_all_children(transport: str) -> None:
    server = room_server()
    parent = server.of(ROOM)
    async with (
        serving(server) as port,
        joined(port, transport, "/room-1") as (first, first_id),
        joined(port, transport, "/room-2") as (second, second_id),
        joined(port, transport) as (other, _),
    ):
        parent.emit("all", 1)
        assert await first.receive_event("/room-1") == ["all", 1]
        assert await second.receive_event("/room-2") == ["all", 1]
        parent.sockets_join("x")
        parent.in_(second_id).sockets_leave("x")
        parent.to("x").emit("x", 2)
        parent.except_(first_id).emit("not first", 3)
        assert await first.receive_event("/room-1") == ["x", 2]
        assert await second.receive_event("/room-2") == ["not first", 3]
        parent.disconnect_sockets()
        assert (await first.receive())[0] == "1/room-1,"
        assert (await second.receive())[0] == "1/room-2,"
        server.emit("main")
        assert await other.receive_event() == ["main"]


@trio_test
async def test_a_parent_gathers_the_answers_of_its_children(transport: str) -> None:
    server = room_server()
    parent = server.of(ROOM)
    answers = Record()

    async def question(timeout_s: float) -> None:
        try:
            answers.add(sorted(await parent.emit_with_ack("q", timeout_s=timeout_s)))
        except AckTimeout as error:
            answers.add(("late", error.responses))

    async with (
        serving(server) as port,
        joined(port, transport, "/room-1") as (first, _),
        joined(port, transport, "/room-2") as (second, _),
        trio.open_nursery() as nursery,
    ):
        for timeout_s in (5.0, 0.05):
            nursery.start_soon(question, timeout_s)
            text, _ = await first.receive()
            await first.send("3" + text[1:].replace('["q"]', "[1]"))
            text, _ = await second.receive()
            if timeout_s > 1:
                await second.send("3" + text[1:].replace('["q"]', "[2]"))
                await answers.wait(1)
        assert await answers.wait(2) == [[1, 2], ("late", [1])]
        with pytest.raises(LocalProtocolError):
            await parent.emit_with_ack("q", object())


@trio_test
async def test_a_parent_fetches_sockets_of_this_node_only(transport: str) -> None:
    server = room_server()
    async with (
        serving(server) as port,
        joined(port, transport, "/room-1") as (_, first),
        joined(port, transport, "/room-2") as (_, second),
    ):
        with pytest.raises(LocalProtocolError, match=r"parent\.local"):
            await server.of(ROOM).fetch_sockets()
        found = await server.of(ROOM).local.fetch_sockets()
        assert {socket.id for socket in found} == {first, second}
        assert [s.id for s in await server.of(ROOM).local.to(second).fetch_sockets()] == [second]
