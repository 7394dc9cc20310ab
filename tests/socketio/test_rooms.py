"""Rooms, and whom a broadcast reaches."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.socketio.serving import ask, joined, serving, the_socket, until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Adapter, Broadcast, LocalProtocolError, Server, ServerOptions, Socket
from trio_socketio.engine.session import Session
from trio_socketio.socketio.membership import Membership
from trio_socketio.socketio.rooms import Rooms

# Who is where: a in x; b in x and y; c in y; d nowhere.
PLACES = {"a": "x", "b": "xy", "c": "y", "d": ""}


@asynccontextmanager
async def four(transport: str) -> AsyncIterator[tuple[Server, dict[str, SocketIOClient]]]:
    """The clients of PLACES; each is also in a room of its own name."""
    server = Server()
    server.on("ping")(lambda _: "pong")
    async with serving(server) as port, AsyncExitStack() as stack:
        clients = {}
        for name, rooms in PLACES.items():
            client, sid = await stack.enter_async_context(joined(port, transport))
            server.of("/").sockets[sid].join([name, *rooms])
            clients[name] = client
        yield server, clients


def named(server: Server, name: str) -> Socket:
    (socket,) = [s for s in server.of("/").sockets.values() if name in s.rooms]
    return socket


async def count_received(client: SocketIOClient) -> int:
    """How many events come before the answer to a ping."""
    await client.emit("ping", ack_id=0)
    count = 0
    while (text := (await client.receive())[0]) != '30["pong"]':
        assert text == '2["news",{"a":1}]'
        count += 1
    return count


@pytest.mark.req("SIO5-24")
@pytest.mark.parametrize(
    ("choose", "reached"),
    [
        (lambda s: s.of("/"), "abcd"),
        (lambda s: s, "abcd"),
        (lambda s: s.local, "abcd"),
        (lambda s: s.to("x"), "ab"),
        (lambda s: s.in_("y"), "bc"),
        (lambda s: s.to(["x", "y"]), "abc"),
        (lambda s: s.to("x").to("y"), "abc"),
        (lambda s: s.to("x").in_("y").to("b"), "abc"),
        (lambda s: s.except_("x"), "cd"),
        (lambda s: s.except_(["x", "y"]), "d"),
        (lambda s: s.to("x").except_("y"), "a"),
        (lambda s: s.except_("b").to("x"), "a"),
        (lambda s: s.to("x").except_("x"), ""),
        (lambda s: s.to("nobody"), ""),
        (lambda s: s.to([]), "abcd"),
        (lambda s: s.to(named(s, "d").id), "d"),
        (lambda s: s.to([named(s, "a").id, "x"]), "ab"),
        (lambda s: s.except_(named(s, "a").id), "bcd"),
        (lambda s: s.local.to("y").except_("c"), "b"),
        (lambda s: named(s, "a").broadcast, "bcd"),
        (lambda s: named(s, "a").to("x"), "b"),
        (lambda s: named(s, "a").in_(["x", "y"]), "bc"),
        (lambda s: named(s, "a").except_("y"), "d"),
        (lambda s: named(s, "d").to("x").to("y").except_("a"), "bc"),
        (lambda s: named(s, "c"), "c"),
    ],
)
@trio_test
async def test_broadcast_reaches_whom_it_names_once(
    transport: str, choose: Callable[[Server], Broadcast], reached: str
) -> None:
    async with four(transport) as (server, clients):
        choose(server).emit("news", {"a": 1})
        counts = {name: await count_received(client) for name, client in clients.items()}
        assert counts == {name: int(name in reached) for name in PLACES}


def test_steps_of_a_chain_do_not_change_it() -> None:
    server = Server()
    chain = server.to("x")
    chain.except_("y")
    assert chain.to("z") is not chain
    assert chain._target.rooms == ("x",)
    assert chain._target.excluded == ()


@pytest.mark.req("SIO5-24")
@trio_test
async def test_others_may_join_the_room_of_a_socket(transport: str) -> None:
    async with four(transport) as (server, clients):
        named(server, "a").join(named(server, "b").id)
        server.to(named(server, "b").id).emit("news", {"a": 1})
        counts = {name: await count_received(client) for name, client in clients.items()}
        assert counts == {"a": 1, "b": 1, "c": 0, "d": 0}


@trio_test
async def test_volatile_broadcast_reaches_websockets_that_are_not_behind() -> None:
    async with four("websocket") as (server, clients):
        server.volatile.emit("news", {"a": 1})
        server.to("x").volatile.emit("news", {"a": 1})
        counts = {name: await count_received(client) for name, client in clients.items()}
        assert counts == {"a": 2, "b": 2, "c": 1, "d": 1}


@pytest.mark.req("SIO5-23")
@trio_test
async def test_joining_and_leaving_send_nothing(transport: str) -> None:
    server = Server()
    server.on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, sid):
        socket = the_socket(server)
        assert socket.rooms == {sid}
        socket.join("x")
        socket.join(["y", "z", "x"])
        assert socket.rooms == {sid, "x", "y", "z"}
        socket.leave("x")
        socket.leave("never joined")
        assert socket.rooms == {sid, "y", "z"}
        assert await ask(client, "ping") == ["pong"]
        for name in ("join", "leave"):
            await client.emit(name, "y")
        assert await ask(client, "ping") == ["pong"]
        assert socket.rooms == {sid, "y", "z"}
        assert set(server.of("/").rooms.names()) == {"y", "z"}


@trio_test
async def test_own_room_cannot_be_left(transport: str) -> None:
    server = Server()
    async with serving(server) as port, joined(port, transport) as (client, sid):
        the_socket(server).leave(sid)
        server.to(sid).emit("news")
        assert await client.receive_event() == ["news"]


@trio_test
async def test_room_ends_with_its_last_member(transport: str) -> None:
    server = Server()
    async with serving(server) as port:
        async with joined(port, transport) as (client, _):
            socket = the_socket(server)
            socket.join(["x", "y"])
            socket.leave("x")
            assert server.of("/").rooms.names() == ["y"]
            await client.send("1")
            await until(lambda: not server.of("/").sockets)
        assert server.of("/").rooms.names() == []
        socket.join("z")
        assert server.of("/").rooms.names() == []


@trio_test
async def test_more_rooms_than_allowed_raise(transport: str) -> None:
    server = Server(ServerOptions(max_rooms_per_socket=2))
    async with serving(server) as port, joined(port, transport) as (_, sid):
        socket = the_socket(server)
        socket.join(["x", "y"])
        with pytest.raises(LocalProtocolError, match="2 rooms"):
            socket.join("z")
        socket.join("x")
        socket.leave("x")
        socket.join("z")
        assert socket.rooms == {sid, "y", "z"}
        socket.leave("y")
        with pytest.raises(LocalProtocolError, match="2 rooms"):
            socket.join(["a", "b", "c"])
        assert socket.rooms == {sid, "z"}  # none of them was entered


@trio_test
async def test_adapter_sees_every_change_and_broadcast(transport: str) -> None:
    calls: list[tuple[Any, ...]] = []

    class Spy(Adapter):
        def add(self, socket: Socket, room: str) -> None:
            calls.append(("add", room))
            super().add(socket, room)

        def remove(self, socket: Socket, room: str) -> None:
            calls.append(("remove", room))
            super().remove(socket, room)

        def remove_all(self, socket: Socket) -> None:
            calls.append(("remove_all",))
            super().remove_all(socket)

        def broadcast(self, arguments: list[Any], target: Any) -> int:
            calls.append(("broadcast", arguments, target.rooms, target.local))
            return super().broadcast(arguments, target)

    server = Server(adapter=Spy)
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        socket.join("x")
        socket.leave("x")
        server.local.to("x").emit("news", 1)
        await client.send("1")
        await until(lambda: ("remove_all",) in calls)
    assert calls == [
        ("add", "x"),
        ("remove", "x"),
        ("broadcast", ["news", 1], ("x",), True),
        ("remove_all",),
    ]


# --- the index alone -----------------------------------------------------------------------------


class Member:
    """What Rooms knows of a socket."""

    session: Session  # nothing is sent here

    def __init__(self, number: int) -> None:
        self.id = self.public_id = f"id-{number}"
        self._membership = Membership()


ROOM_NAMES = ["x", "y", "z", "id-0", "id-1"]
steps = st.tuples(
    st.sampled_from(["enter", "add", "remove", "remove_all"]),
    st.integers(0, 3),
    st.sampled_from(ROOM_NAMES),
)
some_rooms = st.lists(st.sampled_from(ROOM_NAMES), max_size=3)


@pytest.mark.req("SIO5-24")
@given(st.lists(steps, max_size=40), some_rooms, some_rooms)
def test_index_agrees_with_plain_sets(
    script: list[tuple[str, int, str]], wanted: list[str], excluded: list[str]
) -> None:
    rooms: Rooms[Member] = Rooms()
    members = [Member(number) for number in range(4)]
    model: dict[str, set[str]] = {}  # of those inside: the rooms, without their own
    for action, number, room in script:
        member = members[number]
        if action == "enter":
            rooms.sockets[member.id] = member
            model.setdefault(member.id, set())
        elif action == "add":
            rooms.add(member, room)
            if member.id in model and room != member.id:
                model[member.id].add(room)
        elif action == "remove":
            rooms.remove(member, room)
            model.get(member.id, set()).discard(room)
        else:
            rooms.remove_all(member)
            model.pop(member.id, None)

    def inside(sid: str, names: list[str]) -> bool:
        return any(name == sid or name in model[sid] for name in names)

    chosen = [socket.id for socket in rooms.select(wanted, excluded)]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == {
        sid for sid in model if (not wanted or inside(sid, wanted)) and not inside(sid, excluded)
    }
    assert {
        member.id: member._membership.joined or set() for member in members if member.id in model
    } == model
    assert set(rooms.names()) == set().union(*model.values())
    assert len(rooms) == len(rooms.names())
