"""Chains: whom they reach and how, against a plain model; and what flags do to one socket."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.socketio.in_process import enter, session_of
from tests.socketio.serving import joined, serving, the_socket
from trio.testing import MockClock, trio_test

from trio_socketio import AckTimeout, LocalProtocolError, Server, Socket, Target
from trio_socketio.socketio.socket_life import lose

ROOMS = ["red", "green", "blue"]
CHILD = re.compile("/child-.")
SOCKETS = 5

some_rooms = st.lists(st.sampled_from([*ROOMS, *range(SOCKETS)]), max_size=2)
steps = st.one_of(
    st.tuples(st.sampled_from(["to", "in_", "except_"]), some_rooms),
    st.tuples(st.sampled_from(["volatile", "local"]), st.none()),
    st.tuples(st.just("compress"), st.booleans()),
    st.tuples(st.just("timeout"), st.floats(0.1, 9)),
)
people = st.lists(
    st.tuples(st.sets(st.sampled_from(ROOMS)), st.booleans(), st.booleans()),
    min_size=SOCKETS,
    max_size=SOCKETS,
)
starts = st.sampled_from(["server", "namespace", "parent", *range(SOCKETS)])


@dataclass
class Model:
    """What a chain means, said plainly."""

    rooms: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    volatile: bool = False
    compress: bool = True

    def step(self, name: str, value: Any, ids: list[str]) -> None:
        if name in ("to", "in_"):
            self.rooms |= {room_name(room, ids) for room in value}
        elif name == "except_":
            self.excluded |= {room_name(room, ids) for room in value}
        elif name == "volatile":
            self.volatile = True
        elif name == "compress":
            self.compress = value

    def reaches(self, rooms: set[str]) -> bool:
        return (not self.rooms or bool(rooms & self.rooms)) and not rooms & self.excluded


def room_name(room: str | int, ids: list[str]) -> str:
    return room if isinstance(room, str) else ids[room]


def walk(start: Any, script: list[tuple[str, Any]], ids: list[str]) -> Any:
    """Apply the steps for real."""
    for name, value in script:
        if name in ("to", "in_", "except_"):
            start = getattr(start, name)([room_name(room, ids) for room in value])
        elif name in ("volatile", "local"):
            start = getattr(start, name)
        else:
            start = getattr(start, name)(value)
    return start


@given(people, starts, st.lists(steps, max_size=5))
def test_a_chain_reaches_whom_the_model_says(
    places: list[tuple[set[str], bool, bool]], start: str | int, script: list[tuple[str, Any]]
) -> None:
    server = Server()
    parent = server.of(CHILD)
    children = [server.of("/child-a"), server.of("/child-b")]
    heard: list[str] = []
    sockets: list[Socket] = []
    for number, (rooms, is_writable, listens) in enumerate(places):
        namespace = children[number % 2] if start == "parent" else server.of("/")
        socket = enter(namespace, is_writable=is_writable)
        socket.join(rooms)
        sockets.append(socket)
        if listens:
            socket.on_any_outgoing(lambda *_, sid=socket.id: heard.append(sid))
    ids = [socket.id for socket in sockets]
    model = Model()
    origin: Any = {"server": server, "namespace": server.of("/"), "parent": parent}.get(str(start))
    if isinstance(start, int):
        origin = sockets[start]
        if any(name in ("to", "in_", "except_", "local") for name, _ in script):
            model.excluded.add(ids[start])  # the others
        else:
            model.rooms.add(ids[start])  # the socket itself
    for name, value in script:
        model.step(name, value, ids)

    chain = walk(origin, script, ids)
    chain.emit("news", 1)

    for socket, (rooms, is_writable, listens) in zip(sockets, places, strict=True):
        reached = model.reaches({*rooms, socket.id})
        session = session_of(socket)
        got_it = reached and (is_writable or not model.volatile)
        assert len(session.sent) == got_it
        assert session.dropped == (reached and not got_it)
        assert (socket.id in heard) == (reached and listens)
        assert all(packet.compress is model.compress for packet in session.sent)
        assert all(packet.text.endswith(b'["news",1]') for packet in session.sent)
    assert len(heard) == len(set(heard))
    if not isinstance(start, int) and start != "parent":
        found = trio.run(chain.fetch_sockets)
        expected = [
            s.id
            for s, (rooms, _, _) in zip(sockets, places, strict=True)
            if model.reaches({*rooms, s.id})
        ]
        assert sorted(socket.id for socket in found) == sorted(expected)


@given(st.lists(steps, max_size=5))
def test_no_step_changes_what_it_starts_from(script: list[tuple[str, Any]]) -> None:
    server = Server()
    chains = [server.to("x"), enter(server.of("/")).broadcast]
    before = [chain._target for chain in chains]
    for chain in chains:
        walk(chain, script, ["id"] * SOCKETS)
    assert [chain._target for chain in chains] == before
    assert all(isinstance(target, Target) for target in before)


def test_flags_of_a_socket_do_not_stick() -> None:
    socket = enter(Server().of("/"), is_writable=False)
    quiet = socket.volatile.compress(False)
    quiet.emit("lost")
    socket.emit("kept")
    socket.send("kept", 2)
    (first, second) = session_of(socket).sent
    assert (first.text, first.compress) == (b'42["kept"]', True)
    assert second.text == b'42["message","kept",2]'
    assert session_of(socket).dropped == 1
    socket.compress(False).timeout(3).send("raw")
    assert session_of(socket).sent[-1].compress is False


def test_flags_of_a_socket_go_with_what_it_broadcasts() -> None:
    socket = enter(Server().of("/"))
    chain = socket.volatile.compress(False).timeout(3)
    flags: dict[str, Any] = {"volatile": True, "compress": False, "timeout_s": 3}
    assert chain.broadcast._target == Target(excluded=(socket.id,), **flags)
    assert chain.local._target == Target(excluded=(socket.id,), local=True, **flags)
    assert chain.to("x")._target == Target(("x",), (socket.id,), **flags)
    assert chain.in_(["x", "y"])._target == Target(("x", "y"), (socket.id,), **flags)
    assert chain.except_("x")._target == Target((), (socket.id, "x"), **flags)
    assert socket.local._target == Target(excluded=(socket.id,), local=True)


def test_emits_to_a_socket_that_is_gone_are_dropped_and_counted() -> None:
    socket = enter(Server().of("/"))
    lose(socket, "transport close")
    socket.compress(False).emit("late")
    socket.send("late")
    assert session_of(socket).sent == []
    assert session_of(socket).dropped == 2


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout_s: float) -> None:
    server = Server()
    with pytest.raises(LocalProtocolError, match="timeout"):
        server.timeout(timeout_s)
    with pytest.raises(LocalProtocolError, match="timeout"):
        enter(server.of("/")).timeout(timeout_s)


@pytest.mark.req("SIO5-18")
@pytest.mark.parametrize("name", ["connect", "disconnecting", 7, None])
def test_reserved_names_are_barred_from_every_emit(name: Any) -> None:
    server = Server()
    socket = enter(server.of("/"))
    for sender in (server, server.of("/"), server.of(CHILD), server.local, socket, socket.volatile):
        with pytest.raises(LocalProtocolError, match="name"):
            sender.emit(name)
    assert session_of(socket).sent == []


@trio_test
async def test_a_volatile_question_that_cannot_leave_fails_at_once() -> None:
    socket = enter(Server().of("/"), is_writable=False)
    with pytest.raises(AckTimeout, match="dropped"):
        await socket.volatile.emit_with_ack("q", timeout_s=60)
    assert session_of(socket).dropped == 1


@trio_test
async def test_the_timeout_of_a_chain_is_that_of_its_questions(
    autojump_clock: MockClock,
) -> None:
    socket = enter(Server().of("/"))
    for ask, timeout_s in (
        (socket.timeout(3).emit_with_ack, 3),
        (socket.emit_with_ack, 20),
        (socket.namespace.timeout(4).emit_with_ack, 4),
        (socket.namespace.emit_with_ack, 20),
    ):
        began = trio.current_time()
        with pytest.raises(AckTimeout):
            await ask("q")
        assert trio.current_time() - began == pytest.approx(timeout_s)
    began = trio.current_time()
    with pytest.raises(AckTimeout):
        await socket.timeout(3).emit_with_ack("q", timeout_s=1)
    assert trio.current_time() - began == pytest.approx(1)


@trio_test
async def test_send_emits_message(transport: str) -> None:
    server = Server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        server.send("a", 1)
        server.of("/").local.send("b")
        the_socket(server).send()
        assert [await client.receive_event() for _ in range(3)] == [
            ["message", "a", 1],
            ["message", "b"],
            ["message"],
        ]
