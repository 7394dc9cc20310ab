"""The sockets of aborted sessions, and a lease that ends while a server serves."""

import time
from collections.abc import AsyncIterator
from math import inf

import pytest
import trio
from tests.socketio.serving import (
    Record,
    joined,
    send_batch,
    serving,
    the_session,
    the_socket,
    until,
)
from tests.wire import ConnectionEnded
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.runtime.fence import Fence, boottime
from trio_socketio.runtime.runtime import open_runtime


def abort_all(server: Server) -> None:
    """Cut off every session of a server that is running."""
    assert server._running is not None
    for session in tuple(server._running.engine.sessions.values()):
        session.abort()


@pytest.mark.req("LEASE-50")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@trio_test
async def test_sockets_leave_with_the_reason(transport: str) -> None:
    server, seen = Server(), Record()

    @server.on("disconnecting")
    def disconnecting(socket: Socket, reason: str) -> None:
        seen.add(("disconnecting", reason))

    @server.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        seen.add(("disconnect", reason, socket.connected))

    async with serving(server) as port, joined(port, transport) as (_, own_id):
        socket = the_socket(server)
        assert socket.id == own_id
        the_session(server).abort()
        assert await seen.wait(2) == [
            ("disconnecting", "service restart"),
            ("disconnect", "service restart", False),
        ]
        assert server.of("/").sockets == {}


@pytest.mark.req("LEASE-48")
@trio_test
async def test_events_that_wait_are_dropped_and_counted() -> None:
    server, seen = Server(), Record()
    go_on = trio.Event()

    @server.on("slow")
    async def slow(socket: Socket, number: int) -> None:
        seen.add(number)
        await go_on.wait()

    @server.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        seen.add(reason)

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        for number in range(4):
            await client.emit("slow", number)
        await until(lambda: the_socket(server)._open_events().pending == 4)
        the_session(server).abort()
        await until(lambda: server.statistics().events_dropped == 3)
        go_on.set()
        assert await seen.wait(2) == [0, "service restart"]


@pytest.mark.req("LEASE-51")
@trio_test
async def test_what_is_emitted_later_is_counted_as_dropped() -> None:
    server = Server()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        socket, session = the_socket(server), the_session(server)
        session.abort()
        socket.emit("to the socket")
        server.emit("to everybody")  # the socket leaves its rooms in the next turn
        assert server.statistics().packets_dropped == 2
        with pytest.raises(ConnectionEnded):
            await client.receive()


@trio_test
async def test_a_handler_can_cut_off_its_own_session() -> None:
    server, seen = Server(), Record()

    @server.on("go")
    def go(socket: Socket) -> None:
        socket.emit("too late")
        socket.session.abort()
        seen.add("gone")

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await client.emit("go")
        with pytest.raises(ConnectionEnded) as ended:
            await client.receive()
        assert ended.value.code == 1012
        assert seen.entries == ["gone"]


# --- a lease


def hold_lease(server: Server) -> list[Fence]:
    """Have a lifespan of the server take its fence."""
    fences: list[Fence] = []

    @server.lifespan
    async def lifespan(server: Server) -> AsyncIterator[None]:
        fences.append(server._fence)
        server._fence.use(lambda: abort_all(server))
        server._fence.at = boottime() + 60
        yield

    return fences


@pytest.mark.req("LEASE-41")
@trio_test
async def test_a_handler_that_blocks_past_the_lease_answers_nobody() -> None:
    server = Server()
    fences = hold_lease(server)

    @server.on("block")
    def block(socket: Socket) -> str:
        server.emit("news")
        fences[0].at = boottime() + 0.01
        time.sleep(0.03)
        return "an answer"

    async with (
        serving(server) as port,
        joined(port, "websocket") as (client, _),
        joined(port, "websocket") as (other, _),
    ):
        await client.emit("block", ack_id=1)
        for one in (client, other):
            with pytest.raises(ConnectionEnded) as ended:
                await one.receive()
            assert ended.value.code == 1012
    assert fences[0].at == inf


@pytest.mark.req("LEASE-45")
@pytest.mark.parametrize(("concurrent", "suspends"), [(False, False), (False, True), (True, False)])
@trio_test
async def test_no_event_is_begun_with_when_a_lease_has_ended(
    concurrent: bool, suspends: bool
) -> None:
    """Also if a worker has its turn before the poller."""
    server, seen = Server(), Record()
    fences = hold_lease(server)
    go_on = trio.Event()

    @server.on("work", concurrent=concurrent)
    async def work(socket: Socket, number: int) -> None:
        seen.add(number)
        if suspends:
            await go_on.wait()
        fences[0].at = boottime() - 1.0
        time.sleep(0.003)  # noqa: ASYNC251 - it stands still, for longer than a slice

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await send_batch(client, [f'2["work",{number}]' for number in range(4)])
        if suspends:
            await until(lambda: the_socket(server)._open_events().pending == 4)
            go_on.set()
        with pytest.raises(ConnectionEnded) as ended:
            await client.receive()
        assert ended.value.code == 1012
        await until(lambda: server.statistics().events_dropped == 3)
        assert seen.entries == [0]


@pytest.mark.req("LEASE-45")
@trio_test
async def test_no_packet_is_decoded_when_a_lease_has_ended() -> None:
    server, seen = Server(), Record()
    fences = hold_lease(server)
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        intake, participant = server._host.intake, the_socket(server)._participant

        def receive(packet: bytes, weight: int) -> None:
            seen.add("received")

        assert intake.put_off(participant, receive, bytes(70_000), len)
        fences[0].at = boottime() - 1.0
        with pytest.raises(ConnectionEnded):
            await client.receive()
        assert seen.entries == []
        assert server.statistics().input_dropped == 1


@trio_test
async def test_two_servers_on_one_runtime_have_fences_of_their_own() -> None:
    one, other = Server(), Server()
    fences = hold_lease(one), hold_lease(other)
    async with open_runtime() as runtime, one.mounted(runtime), other.mounted(runtime):
        early, late = fences[0][0], fences[1][0]
        assert early is not late
        late.at = early.at + 5
        assert runtime.poller.fences.at == early.at
        early.close()
        assert runtime.poller.fences.at == late.at
    assert runtime.poller.fences.at == inf
