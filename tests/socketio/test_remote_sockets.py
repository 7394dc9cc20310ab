"""Sockets from afar: asked for, moved, and put out."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.socketio.in_process import answer, enter, session_of
from tests.socketio.serving import Record, ask, check_closed, joined, serving, the_socket, until
from trio.testing import MockClock, trio_test

from trio_socketio import (
    AckTimeout,
    HandshakeDetails,
    LocalProtocolError,
    RemoteSocket,
    Server,
    ServerOptions,
    SessionClosed,
    Target,
)
from trio_socketio.socketio.socket_life import lose

ROOMS = ["red", "green", "blue"]


@trio_test
async def test_what_is_known_of_a_socket_from_afar(transport: str) -> None:
    server = Server()
    async with serving(server) as port, joined(port, transport, auth={"token": 1}) as (_, sid):
        socket = the_socket(server)
        socket.join(["x", "y"])
        socket.data["name"] = "Ada"
        (remote,) = await server.fetch_sockets()
        assert remote.id == sid
        assert remote.rooms == {sid, "x", "y"}
        assert remote.data == {"name": "Ada"}
        assert isinstance(remote.handshake, HandshakeDetails)
        for field in ("headers", "query", "url", "address", "secure", "issued_s"):
            assert getattr(remote.handshake, field) == getattr(socket.handshake, field)
        remote.data["name"] = "Eve"
        socket.leave("x")
        assert socket.data == {"name": "Ada"}
        assert remote.rooms == {sid, "x", "y"}
        assert sid in repr(remote)


@trio_test
async def test_what_can_be_done_to_a_socket_from_afar(transport: str) -> None:
    server = Server()
    ended = Record()
    server.on("ping")(lambda _: "pong")
    server.on("disconnect")(lambda _, reason: ended.add(reason))
    async with (
        serving(server) as port,
        joined(port, transport) as (client, sid),
        joined(port, transport) as (other, _),
    ):
        (remote,) = await server.in_(sid).fetch_sockets()
        socket = server.of("/").sockets[sid]
        remote.emit("news", 1)
        remote.send("m")
        assert await client.receive_event() == ["news", 1]
        assert await client.receive_event() == ["message", "m"]
        remote.join(["x", "y"])
        remote.leave("y")
        assert socket.rooms == {sid, "x"}
        remote.disconnect()
        assert (await client.receive())[0] == "1"
        assert await ended.wait(1) == ["server namespace disconnect"]
        assert await ask(other, "ping") == ["pong"]
        with pytest.raises(SessionClosed):
            await remote.emit_with_ack("q")


@trio_test
async def test_a_remote_socket_answers_like_a_socket(autojump_clock: MockClock) -> None:
    server = Server()
    socket, other = enter(server.of("/")), enter(server.of("/"))
    (remote,) = await server.to(socket.id).fetch_sockets()
    answers = Record()

    async def gather(asked: RemoteSocket) -> None:
        answers.add(await asked.emit_with_ack("q"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather, remote)
        await trio.testing.wait_all_tasks_blocked()
        answer(socket, {"a": 1})
    assert answers.entries == [{"a": 1}]
    assert session_of(other).sent == []
    for asked, timeout_s in ((remote, 20), (remote.timeout(3), 3)):
        began = trio.current_time()
        with pytest.raises(AckTimeout):
            await asked.emit_with_ack("q")
        assert trio.current_time() - began == timeout_s


@trio_test
async def test_everybody_is_moved_and_put_out(transport: str) -> None:
    server = Server()
    async with (
        serving(server) as port,
        joined(port, transport) as (first, first_id),
        joined(port, transport) as (second, second_id),
    ):
        main = server.of("/")
        server.sockets_join("x")
        main.to(first_id).sockets_join(["y", "z"])
        server.sockets_leave(["z", "nowhere"])
        assert main.sockets[first_id].rooms == {first_id, "x", "y"}
        assert main.sockets[second_id].rooms == {second_id, "x"}
        assert {s.id for s in await main.in_("x").fetch_sockets()} == {first_id, second_id}
        assert {s.id for s in await main.except_("y").fetch_sockets()} == {second_id}
        main.in_("y").disconnect_sockets()
        assert (await first.receive())[0] == "1"
        assert await first.connect()
        main.to(second_id).disconnect_sockets(close=True)
        assert (await second.receive())[0] == "1"
        await check_closed(second)
        await until(lambda: server.statistics().sessions == 1)


@trio_test
async def test_who_is_in_too_many_rooms_spoils_nothing(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(ServerOptions(max_rooms_per_socket=2))
    full, empty = enter(server.of("/")), enter(server.of("/"))
    full.join(["a", "b"])
    server.sockets_join(["x", "y"])
    assert full.rooms == {full.id, "a", "b"}
    assert empty.rooms == {empty.id, "x", "y"}
    assert "2 rooms" in caplog.text


@trio_test
async def test_what_adapters_are_asked() -> None:
    server = Server()
    socket, other = enter(server.of("/")), enter(server.of("/"))
    socket.join("x")
    adapter = server.of("/").adapter
    assert await adapter.sockets(Target()) == {socket.id, other.id}
    assert await adapter.sockets(Target(("x",))) == {socket.id}
    assert await adapter.socket_rooms(socket.id) == frozenset({socket.id, "x"})
    assert await adapter.socket_rooms("nobody") is None
    assert await adapter.node_count() == 1


# --- rooms that tell -----------------------------------------------------------------------------

scripts = st.lists(
    st.tuples(
        st.sampled_from(["enter", "join", "leave", "gone"]),
        st.integers(0, 2),
        st.one_of(st.sampled_from(ROOMS), st.integers(0, 2)),
    ),
    max_size=30,
)


@given(scripts)
def test_rooms_tell_of_every_change_and_of_nothing_else(
    script: list[tuple[str, int, str | int]],
) -> None:
    server = Server()
    namespace = server.of("/")
    rooms: dict[str, set[str]] = {}

    @namespace.adapter.on("create_room")
    def created(room: str) -> None:
        assert room not in rooms
        rooms[room] = set()

    @namespace.adapter.on("delete_room")
    def deleted(room: str) -> None:
        assert rooms.pop(room) == set()

    @namespace.adapter.on("join_room")
    def came(room: str, sid: str) -> None:
        assert sid not in rooms[room]
        rooms[room].add(sid)

    @namespace.adapter.on("leave_room")
    def went(room: str, sid: str) -> None:
        rooms[room].remove(sid)

    sockets = [enter(namespace)]
    for action, number, where in script:
        socket = sockets[number % len(sockets)]
        room = where if isinstance(where, str) else sockets[where % len(sockets)].id
        if action == "enter":
            sockets.append(enter(namespace))
        elif action == "join":
            socket.join(room)
        elif action == "leave":
            socket.leave(room)
        elif socket.connected:
            lose(socket, "transport close")
        model: dict[str, set[str]] = {}
        for present in namespace.sockets.values():
            for name in present.rooms:
                model.setdefault(name, set()).add(present.id)
        assert rooms == model
    assert server.statistics().handler_failures == 0


def test_a_hook_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    adapter = server.of("/").adapter
    seen = Record()

    @adapter.on("join_room")
    def fail(room: str, sid: str) -> None:
        raise RuntimeError(room)

    adapter.on("join_room")(lambda room, _: seen.add(room))
    socket = enter(server.of("/"))
    socket.join("x")
    assert seen.entries == [socket.id, "x"]
    assert server.statistics().handler_failures == 2
    assert "hook of join_room" in caplog.text


def test_hooks_are_plain_and_known() -> None:
    adapter = Server().of("/").adapter

    async def slow(room: str) -> None:
        """Nobody waits for it."""

    with pytest.raises(LocalProtocolError, match="plain"):
        adapter.on("create_room")(slow)
    with pytest.raises(LocalProtocolError, match="rooms have no event"):
        adapter.on("create-room")
