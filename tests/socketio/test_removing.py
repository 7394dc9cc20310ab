"""Namespaces that end while the server serves."""

import pytest
import trio
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    open_client,
    pending,
    send_unanswered,
    serving,
    until,
)
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Adapter, LocalProtocolError, Namespace, Server, ServerOptions, Socket


def working(room: Namespace) -> tuple[trio.Event, Record]:
    """Register a handler of "work" that takes a while; gives when it begins, and what has ended."""
    begun, ended = trio.Event(), Record()

    @room.on("work")
    async def work(_: Socket) -> None:
        begun.set()
        await trio.sleep(0.1)
        ended.add("work")

    return begun, ended


@pytest.mark.req("JOIN-29")
@trio_test
async def test_sockets_and_joining_clients_are_put_out(transport: str) -> None:
    server = Server()
    room = server.of("/room")
    server.on("ping")(lambda _: "pong")
    left, waiting = Record(), trio.Event()
    room.on("disconnect")(lambda socket, reason: left.add((socket.id, reason)))

    @room.use
    async def check(socket: Socket) -> None:
        if socket.handshake.auth:
            waiting.set()
            await trio.sleep_forever()

    async with (
        serving(server) as port,
        joined(port, transport, "/room") as (inside, sid),
        open_client(port, transport) as coming,
    ):
        await inside.connect()
        await coming.connect()
        await coming.send('0/room,{"wait":true}')
        await waiting.wait()
        await server.remove("room", "closed for today")
        assert left.entries == [(sid, "closed for today")]
        assert (await inside.receive())[0] == "1/room,"
        assert (await coming.receive())[0] == '4/room,{"message":"closed for today"}'
        assert await ask(inside, "ping") == ["pong"]
        await inside.send("0/room,")
        assert (await inside.receive())[0] == '4/room,{"message":"Invalid namespace"}'
        await inside.emit("late", namespace="/room")  # it crosses our DISCONNECT
        assert await ask(inside, "ping") == ["pong"]
        assert "/room" not in server.statistics().sockets
        assert room.emit("nobody") == 0


@pytest.mark.req("JOIN-29")
@trio_test
async def test_it_waits_for_the_handlers(transport: str) -> None:
    server = Server()
    room = server.of("/room")
    begun, ended = working(room)
    room.on("disconnect")(lambda *_: ended.add("disconnect"))
    async with serving(server) as port, joined(port, transport, "/room") as (client, _):
        await client.emit("work", namespace="/room")
        await begun.wait()
        await server.remove("/room")
        assert ended.entries == ["work", "disconnect"]


@trio_test
async def test_only_events_count_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The removal that gave up waiting for a handler leaves nothing in the queue."""
    monkeypatch.setattr("trio_socketio.socketio.namespaces.REMOVAL_S", 0.05)
    server = Server(ServerOptions(stop_grace_s=0.05))
    room = server.of("/room")
    begun = trio.Event()

    @room.on("work")
    async def work(_: Socket) -> None:
        begun.set()
        await trio.sleep_forever()

    room.on("disconnect")(lambda *_: None)
    async with serving(server) as port, joined(port, "websocket", "/room") as (client, _):
        await client.emit("work", namespace="/room")
        await begun.wait()
        await server.remove("/room")
    assert server.statistics().events_dropped == 1


@trio_test
async def test_the_server_ends_while_it_waits() -> None:
    """Then only events count as dropped, and nobody waits for handlers any longer."""
    server = Server(ServerOptions(stop_grace_s=0.05))
    room = server.of("/room")
    begun = trio.Event()

    @room.on("work")
    async def work(_: Socket) -> None:
        begun.set()
        await trio.sleep_forever()

    room.on("disconnect")(lambda *_: None)
    with trio.fail_after(4):  # less than a removal waits for handlers
        async with (
            trio.open_nursery() as nursery,
            serving(server) as port,
            joined(port, "websocket", "/room") as (client, _),
        ):
            await client.emit("work", namespace="/room")
            await begun.wait()
            nursery.start_soon(server.remove, "/room")
            assert (await client.receive())[0] == "1/room,"
            await trio.sleep(0.1)
    assert server.statistics().events_dropped == 1  # "disconnect"


@trio_test
async def test_catch_all_listeners_see_events_alone() -> None:
    """And not what the removal has put at the end of the queue."""
    server = Server()
    room = server.of("/room")
    begun, removing, seen = trio.Event(), trio.Event(), Record()

    @room.on("work")
    async def work(socket: Socket) -> None:
        begun.set()
        await removing.wait()
        socket.on_any(lambda name, *_: seen.add(name))

    async with (
        serving(server) as port,
        joined(port, "websocket", "/room") as (client, _),
        trio.open_nursery() as nursery,
    ):
        await client.emit("work", namespace="/room")
        await begun.wait()
        nursery.start_soon(server.remove, "/room")
        assert (await client.receive())[0] == "1/room,"
        await wait_all_tasks_blocked()
        removing.set()
    assert seen.entries == []


class Watched(Adapter):
    """Remembers which of them were closed."""

    closed: list[str]

    def close(self) -> None:
        self.closed.append(self._namespace.name)


@trio_test
async def test_a_removal_that_is_cancelled_at_once_changes_nothing() -> None:
    Watched.closed = []
    server = Server(adapter=Watched)
    server.of("/room").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, "websocket", "/room") as (client, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.remove("/room")
        assert "/room" in server.namespaces
        assert Watched.closed == []
        assert await ask(client, "ping", namespace="/room") == ["pong"]
        await server.remove("/room")
        assert Watched.closed == ["/room"]


@trio_test
async def test_a_removal_that_is_cancelled_while_it_waits_is_complete() -> None:
    Watched.closed = []
    server = Server(ServerOptions(stop_grace_s=0.05), adapter=Watched)
    begun = trio.Event()

    @server.of("/room").on("work")
    async def work(_: Socket) -> None:
        begun.set()
        await trio.sleep_forever()

    async with serving(server) as port, joined(port, "websocket", "/room") as (client, _):
        await client.emit("work", namespace="/room")
        await begun.wait()
        with trio.move_on_after(0.1) as scope:
            await server.remove("/room")
        assert scope.cancelled_caught
        assert Watched.closed == ["/room"]
        assert "/room" not in server.namespaces
        assert (await client.receive())[0] == "1/room,"


@pytest.mark.parametrize("concurrent", [False, True])
@trio_test
async def test_a_handler_of_the_namespace_may_remove_it(concurrent: bool) -> None:
    """It waits for the other handlers, and not for itself. A concurrent one waits for the queue."""
    server = Server()
    room = server.of("/room")
    begun, ended = working(room)

    @room.on("close", concurrent=concurrent)
    async def close(_: Socket) -> None:
        await server.remove("/room")
        ended.add("close")

    async with (
        serving(server) as port,
        joined(port, "websocket", "/room") as (client, sid),
        joined(port, "websocket", "/room") as (other, _),
    ):
        socket = room.sockets[sid]
        await (client if concurrent else other).emit("work", namespace="/room")
        await begun.wait()
        await client.emit("close", namespace="/room")
        with trio.fail_after(3):  # less than a removal waits for handlers
            assert await ended.wait(2) == ["work", "close"]
        await until(lambda: pending(socket) == 0)
        assert socket._open_events()._task is None, "the next worker may be another one"


@pytest.mark.req("JOIN-30")
@trio_test
async def test_it_can_be_made_again(transport: str) -> None:
    server = Server()
    server.of("/room").on("ping")(lambda _: "old")
    async with serving(server) as port, joined(port, transport, "/room") as (client, _):
        await server.remove("/room")
        assert (await client.receive())[0] == "1/room,"
        server.of("/room").on("pong")(lambda _: "new")
        await client.connect("/room")
        assert await ask(client, "pong", namespace="/room") == ["new"]
        await client.emit("ping", namespace="/room", ack_id=1)  # not handled any more
        assert await ask(client, "pong", namespace="/room") == ["new"]


@trio_test
async def test_a_child_can_be_removed_and_comes_back_when_a_client_asks(transport: str) -> None:
    server = Server()
    parent = server.of(lambda name, auth: name == "/child")
    parent.on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport, "/child") as (client, _):
        await server.remove("/child")
        assert (await client.receive())[0] == "1/child,"
        assert parent.children == {}
        await client.connect("/child")
        assert await ask(client, "ping", namespace="/child") == ["pong"]


@pytest.mark.parametrize("name", ["/", "/nowhere"])
@trio_test
async def test_some_cannot_be_removed(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        await Server().remove(name)


@trio_test
async def test_it_can_be_removed_while_the_server_does_not_serve() -> None:
    server = Server()
    first = server.of("/room")
    await server.remove("/room")
    assert server.of("/room") is not first


@trio_test
async def test_others_are_not_affected(transport: str) -> None:
    server = Server()
    server.of("/room")
    server.of("/other").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport, "/other") as (client, _):
        await client.connect("/room")
        await server.remove("/room")
        assert (await client.receive())[0] == "1/room,"
        assert await ask(client, "ping", namespace="/other") == ["pong"]
        await send_unanswered(client, "2/never,[]")
        await check_closed(client)
    await until(lambda: server.statistics().sessions == 0)
