"""How long namespaces that clients brought into being live, and clients that change their mind."""

from typing import Any

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    open_client,
    send_batch,
    serving,
    until,
)
from tests.socketio.test_dynamic_namespaces import INVALID, ROOM, refusal, room_server
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Namespace, Server, ServerOptions, Socket
from trio_socketio.socketio.history import History
from trio_socketio.socketio.participant import Participant

# --- their end -----------------------------------------------------------------------------------

CLEANING = ServerOptions(cleanup_empty_child_namespaces=True, max_dynamic_namespaces=1)


def history_of(socket: Socket) -> History:
    participant = socket._participant
    assert isinstance(participant, Participant)
    return participant.history


@trio_test
async def test_empty_children_stay_unless_told(transport: str) -> None:
    server = room_server()
    async with serving(server) as port, joined(port, transport, "/room-1") as (client, _):
        await client.send("1/room-1,")
        await until(lambda: not server.of("/room-1").sockets)
        assert await refusal(client, "/x") == INVALID
        assert "/room-1" in server.namespaces


@pytest.mark.req("SURF-03")
@trio_test
async def test_empty_children_end_when_told(transport: str) -> None:
    server = room_server(CLEANING)
    server.of("/room-9")
    closed = Record()
    async with serving(server) as port, joined(port, transport, "/room-1") as (client, _):
        child = server.of("/room-1")
        child.adapter.close = lambda: closed.add("closed")  # type: ignore[method-assign] # a spy
        async with joined(port, transport, "/room-1") as (second, _):
            await second.send("1/room-1,")
            await until(lambda: len(child.sockets) == 1)
            assert "/room-1" in server.namespaces
        await client.send("1/room-1,")
        await until(lambda: "/room-1" not in server.namespaces)
        assert closed.entries == ["closed"]
        assert set(server.of(ROOM).children) == {"/room-9"}
        await client.connect("/room-2")  # there is room again
        await client.connect("/room-9")
        await client.send("1/room-9,")
        await until(lambda: not server.of("/room-9").sockets)
        assert "/room-9" in server.namespaces  # the program named it


@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_a_child_that_lets_nobody_in_ends(transport: str, kind: str) -> None:
    server = room_server(CLEANING)

    def refuse(_: Socket) -> None:
        raise ConnectRefused("no")

    async def refuse_async(_: Socket) -> None:
        await trio.lowlevel.checkpoint()
        raise ConnectRefused("no")

    server.of(ROOM).use(refuse if kind == "plain" else refuse_async)
    async with serving(server) as port, open_client(port, transport) as client:
        for number in range(3):
            assert await refusal(client, f"/room-{number}") == {"message": "no"}
        assert set(server.namespaces) == {"/"}


@trio_test
async def test_a_child_lives_while_somebody_is_about_to_join(transport: str) -> None:
    server = room_server(CLEANING)
    go_on = trio.Event()
    begun = Record()

    @server.of(ROOM).use
    async def wait(socket: Socket) -> None:
        begun.add(socket.handshake.auth)
        if socket.handshake.auth:
            await go_on.wait()

    async with (
        serving(server) as port,
        joined(port, transport, "/room-1") as (first, _),
        open_client(port, transport) as second,
    ):
        child = server.of("/room-1")
        await second.send('0/room-1,{"wait":1}')
        await begun.wait(2)
        await first.send("1/room-1,")
        await until(lambda: not child.sockets)
        assert server.of("/room-1") is child
        await second.send("1/room-1,")  # thinks better of it
        go_on.set()
        await until(lambda: "/room-1" not in server.namespaces)


@trio_test
async def test_a_child_whose_only_client_is_put_out_at_once_ends(transport: str) -> None:
    server = room_server(CLEANING)

    @server.on("new_namespace")
    def created(_: Namespace) -> None:
        (socket,) = server.of("/").sockets.values()
        socket.disconnect(close=True)

    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send("0/room-1,")
        await check_closed(client)
        assert set(server.namespaces) == {"/"}


# --- clients that change their mind --------------------------------------------------------------


def waiting_server() -> tuple[Server, Record, trio.Event]:
    """Its predicate decides when the event is set."""
    server = Server()
    asked = Record()
    go_on = trio.Event()

    @server.of
    async def decide(name: str, auth: dict[str, Any]) -> bool:
        asked.add(name)
        await go_on.wait()
        return True

    server.of("/").on("ping")(lambda _: "pong")
    assert decide.children == {}
    return server, asked, go_on


@trio_test
async def test_who_leaves_while_a_predicate_decides_brings_nothing_into_being(
    transport: str,
) -> None:
    server, asked, go_on = waiting_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send("0/x,")
        await asked.wait(1)
        await client.send("1/x,")
        assert await ask(client, "ping") == ["pong"]
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert set(server.namespaces) == {"/"}
        await client.connect("/x")


@trio_test
async def test_two_who_ask_at_once_meet(transport: str) -> None:
    server, asked, go_on = waiting_server()
    async with (
        serving(server) as port,
        open_client(port, transport) as first,
        open_client(port, transport) as second,
    ):
        for client in (first, second):
            await client.send("0/x,")
        await asked.wait(2)
        go_on.set()
        for client in (first, second):
            assert (await client.receive())[0].startswith("0/x,")
        assert len(server.of("/x").sockets) == 2


@pytest.mark.req("SIO5-60")
@trio_test
async def test_the_last_connect_before_the_predicate_has_decided_is_answered(
    transport: str,
) -> None:
    server, asked, go_on = waiting_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send("0/x,")
        await asked.wait(1)
        await client.send('0/x,{"n":2}')
        await asked.wait(2)
        go_on.set()
        assert (await client.receive())[0].startswith("0/x,")
        assert await ask(client, "ping") == ["pong"]
        (socket,) = server.of("/x").sockets.values()
        assert socket.handshake.auth == {"n": 2}


@pytest.mark.req("SIO5-35")
@pytest.mark.parametrize("packet", ["3/x,1[]", '2/x,["early"]'])
@trio_test
async def test_packets_before_the_predicate_has_decided_close(transport: str, packet: str) -> None:
    server, asked, go_on = waiting_server()
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0/x,")
        await asked.wait(1)
        await send_batch(client, [packet])
        await check_closed(client)
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert set(server.namespaces) == {"/"}


@trio_test
async def test_wishes_of_one_client_are_bounded(transport: str) -> None:
    server, asked, go_on = waiting_server()
    server.options = ServerOptions(max_namespaces_per_session=3)
    async with serving(server) as port, open_client(port, transport) as client:
        for number in range(3):
            await client.send(f"0/{number},")
        assert await refusal(client, "/3") == {"message": "Too many namespaces"}
        assert len(asked.entries) == 3
        go_on.set()
        answers = {(await client.receive())[0].partition(",")[0] for _ in range(3)}
        assert answers == {"0/0", "0/1", "0/2"}


@trio_test
async def test_what_a_session_remembers_of_namespaces_it_left_is_bounded(transport: str) -> None:
    server = room_server(
        ServerOptions(max_namespaces_per_session=3, cleanup_empty_child_namespaces=True)
    )
    async with serving(server) as port, joined(port, transport) as (client, _):
        (socket,) = server.of("/").sockets.values()
        for number in range(20):
            await client.connect(f"/room-{number}")
            await client.send(f"1/room-{number},")
        await until(lambda: len(server.namespaces) == 1)
        assert list(history_of(socket)._left) == ["/room-17", "/room-18", "/room-19"]
        await client.send('2/room-19,["crossed"]')
        await client.connect("/room-19")
        await send_batch(client, ['2/room-3,["forgotten"]'])
        await check_closed(client)


@pytest.mark.parametrize("repeats", [1, 2])
@trio_test
async def test_the_place_of_a_child_that_ends_is_free_in_the_same_batch(
    transport: str, repeats: int
) -> None:
    server = room_server(CLEANING)
    async with serving(server) as port, joined(port, transport, "/room-1") as (client, _):
        batch = ["1/room-1,", "0/room-2,", *["1/room-2,", "0/room-2,"] * (repeats - 1)]
        await send_batch(client, batch)
        assert (await client.receive())[0].startswith("0/room-2,")
        assert set(server.namespaces) == {"/", "/room-2"}
