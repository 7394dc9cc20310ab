"""The Adapter's seams: what one node asks for happens on all, and their answers come together."""

import re
from typing import Any, cast

import pytest
import trio
from tests.socketio.in_process import answer, enter, session_of
from tests.socketio.linked_nodes import LinkedAdapter, linked_servers
from tests.socketio.serving import Record
from trio.testing import MockClock, trio_test

from trio_socketio import AckTimeout, LocalProtocolError, Server, open_server


def texts(socket: Any) -> list[bytes]:
    return [packet.text for packet in session_of(socket).sent]


def test_a_broadcast_reaches_all_nodes_and_a_local_one_its_own() -> None:
    here, there = linked_servers(2)
    mine, theirs = enter(here.of("/")), enter(there.of("/"))
    here.emit("all", b"\0")
    here.local.emit("here")
    mine.broadcast.emit("others")
    here.to(theirs.id).compress(False).emit("one")
    assert texts(mine) == [b'451-["all",{"_placeholder":true,"num":0}]', b'42["here"]']
    assert texts(theirs)[1:] == [b'42["others"]', b'42["one"]']
    assert session_of(theirs).sent[-1].compress is False


@pytest.mark.req("JOIN-27")
@trio_test
async def test_sockets_of_all_nodes_are_fetched_and_moved() -> None:
    here, there = linked_servers(2)
    mine, theirs = enter(here.of("/")), enter(there.of("/"), auth={"a": 1})
    theirs.data["name"] = "Ada"
    here.sockets_join(["x", "y"])
    here.to(theirs.id).sockets_leave("y")
    found = {remote.id: remote for remote in await here.to("x").fetch_sockets()}
    assert set(found) == {mine.id, theirs.id}
    assert found[theirs.id].rooms == {theirs.id, "x"}
    assert found[theirs.id].data == {"name": "Ada"}
    assert not hasattr(found[theirs.id].handshake, "auth"), "credentials stay where they are"
    assert found[theirs.id].handshake.address == "203.0.113.9"
    found[theirs.id].join("z")
    assert theirs.rooms == {theirs.id, "x", "z"}
    assert {remote.id for remote in await here.local.fetch_sockets()} == {mine.id}
    assert await here.of("/").adapter.node_count() == 2


@trio_test
async def test_clients_of_all_nodes_answer(autojump_clock: MockClock) -> None:
    here, there, silent = linked_servers(3)
    mine, theirs = enter(here.of("/")), enter(there.of("/"))
    record = Record()

    async def gather(timeout_s: float) -> None:
        try:
            record.add(await here.emit_with_ack("q", timeout_s=timeout_s))
        except AckTimeout as error:
            record.add(("late", error.responses))

    for is_mute in (False, True):
        cast("LinkedAdapter", silent.of("/").adapter).is_mute = is_mute
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather, 5)
            await trio.testing.wait_all_tasks_blocked()
            answer(theirs, {"from": "there"})
            answer(mine, "here")
    assert record.entries == [
        [{"from": "there"}, "here"],
        ("late", [{"from": "there"}, "here"]),
    ]
    (remote,) = await here.to(theirs.id).fetch_sockets()
    async with trio.open_nursery() as nursery:
        cast("LinkedAdapter", silent.of("/").adapter).is_mute = False

        async def ask() -> None:
            record.add(await remote.emit_with_ack("q"))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        answer(theirs, 7)
    assert record.entries[-1] == 7


# --- from server to server -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_other_nodes_hear_and_answer(kind: str) -> None:
    here, *others = linked_servers(3)
    seen = Record()
    for number, server in enumerate([here, *others]):
        if kind == "plain":

            @server.on_server_side("sum")
            def total(*numbers: int, number: int = number) -> int:
                seen.add((number, numbers))
                return number + sum(numbers)

        else:

            @server.on_server_side("sum")
            async def later(*numbers: int, number: int = number) -> int:
                await trio.lowlevel.checkpoint()
                seen.add((number, numbers))
                return number + sum(numbers)

    async with open_server(others[0]), open_server(others[1]):
        here.server_side_emit("sum", 1, 2)
        here.server_side_emit("nobody")
        assert sorted(await here.server_side_emit_with_ack("sum", 10)) == [11, 12]
        assert sorted(await seen.wait(4)) == [(1, (1, 2)), (1, (10,)), (2, (1, 2)), (2, (10,))]


@trio_test
async def test_a_node_that_fails_to_answer_is_late(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = linked_servers(2)

    @there.on_server_side("bad")
    def bad() -> None:
        raise RuntimeError("no luck")

    async with trio.open_nursery() as handlers:
        there._workers.start(handlers)
        with pytest.raises(AckTimeout) as raised:
            await here.server_side_emit_with_ack("bad", timeout_s=3)
        assert raised.value.responses == []
        assert there.statistics().handler_failures == 1
        handlers.cancel_scope.cancel()
    assert "no luck" in caplog.text


@trio_test
async def test_alone_there_is_nobody_to_hear_or_answer() -> None:
    server = Server()
    seen = Record()
    server.on_server_side("hello")(seen.add)
    server.server_side_emit("hello", 1)
    answers = await server.of("/x").server_side_emit_with_ack("hello", 1)
    assert answers == []
    assert seen.entries == []


@pytest.mark.parametrize("name", ["connect", "connection", "new_namespace", 7])
@trio_test
async def test_names_that_servers_use_are_barred(name: Any) -> None:
    server = Server()
    for emit in (server.server_side_emit, server.of(re.compile("/x")).on_server_side):
        with pytest.raises(LocalProtocolError, match=r"reserved|is text"):
            emit(name)
    with pytest.raises(LocalProtocolError, match=r"reserved|is text"):
        await server.server_side_emit_with_ack(name)


def test_an_event_between_servers_has_one_handler() -> None:
    server = Server()
    server.on_server_side("x")(print)
    with pytest.raises(LocalProtocolError, match="handler"):
        server.on_server_side("x")(print)


@trio_test
async def test_a_parent_speaks_for_its_children() -> None:
    here, there = linked_servers(2)
    seen = Record()
    parents = [server.of(re.compile("/child-.")) for server in (here, there)]
    for name in ("/child-a", "/child-b"):
        here.of(name)
        there.of(name)
    parents[1].on_server_side("hello")(seen.add)
    there.of("/child-c")
    theirs = enter(there.of("/child-b"))
    async with open_server(there):
        parents[0].server_side_emit("hello", 1)
        assert await seen.wait(2) == [1, 1]
        parents[0].emit("news")
        assert texts(theirs) == [b'42/child-b,["news"]']
