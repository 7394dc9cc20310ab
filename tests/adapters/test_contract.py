"""What every adapter does, that of a single node included: where a client is does not matter."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from tests.adapters.fake_redis import FakeRedis, started_nodes
from tests.socketio.in_process import answer, enter, session_of
from tests.socketio.linked_nodes import linked_servers
from trio.testing import MockClock, trio_test

from trio_socketio import AckTimeout, LocalProtocolError, Server, Socket

Pair = Callable[[], AbstractAsyncContextManager[tuple[Server, Server]]]


@asynccontextmanager
async def one_node() -> AsyncIterator[tuple[Server, Server]]:
    server = Server()
    async with trio.open_nursery() as handlers:
        server._workers.start(handlers)
        yield server, server
        handlers.cancel_scope.cancel()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Server, Server]]:
    here, there = linked_servers(2)
    yield here, there


@asynccontextmanager
async def over_redis() -> AsyncIterator[tuple[Server, Server]]:
    async with started_nodes(FakeRedis(), 2) as (here, there):
        yield here.server, there.server


@pytest.fixture(params=[one_node, linked, over_redis], ids=lambda pair: pair.__name__)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Opens two servers that behave as one."""
    chosen: Pair = request.param
    return chosen


def sent(socket: Socket) -> list[Any]:
    """What a client was sent, and nothing more of it."""
    taken = [(packet.text, packet.attachments) for packet in session_of(socket).sent]
    session_of(socket).sent.clear()
    return [text if not attachments else (text, *attachments) for text, attachments in taken]


@trio_test
async def test_each_receiver_gets_an_event_once(pair: Pair) -> None:
    async with pair() as (here, there):
        a, b, c = enter(here.of("/")), enter(there.of("/")), enter(there.of("/"))
        b.join(["x", "y"])
        c.join("y")
        here.emit("all", b"\0", {"n": None})
        here.to(["x", "y"]).emit("union")
        here.to("y").except_("x").emit("except")
        here.to(b.id).compress(False).emit("one")
        b.to("y").emit("others")
        b.broadcast.emit("outside")
        all_ = (b'451-["all",{"_placeholder":true,"num":0},{"n":null}]', b"\0")
        assert sent(a) == [all_, b'42["outside"]']
        assert session_of(b).sent[-1].compress is False
        assert sent(b) == [all_, b'42["union"]', b'42["one"]']
        assert sent(c) == [
            all_, b'42["union"]', b'42["except"]', b'42["others"]', b'42["outside"]',
        ]  # fmt: skip


@trio_test
async def test_events_keep_their_order_whatever_their_kind(pair: Pair) -> None:
    async with pair() as (here, there):
        socket = enter(there.of("/"))
        socket.join("x")
        for number in range(5):
            here.emit("n", number)
            here.to("x").emit("n", number, number)
        here.to("x").sockets_leave("x")
        here.to("x").emit("late")
        here.disconnect_sockets()
        here.emit("later")
        assert sent(socket)[:-1] == [
            text
            for number in range(5)
            for text in (b'42["n",%d]' % number, b'42["n",%d,%d]' % (number, number))
        ]


@pytest.mark.req("BUS-21")
@trio_test
async def test_what_cannot_be_sent_reaches_nobody(pair: Pair) -> None:
    async with pair() as (here, there):
        a, b = enter(here.of("/")), enter(there.of("/"))
        for bad in (object(), "\ud800", [b""] * 11):
            with pytest.raises(LocalProtocolError):
                here.emit("bad", bad)
            with pytest.raises(LocalProtocolError):
                await here.emit_with_ack("bad", bad, timeout_s=1)
        assert sent(a) == sent(b) == []


@trio_test
async def test_sockets_are_described_moved_and_disconnected(pair: Pair) -> None:
    async with pair() as (here, there):
        a, b = enter(here.of("/")), enter(there.of("/"), auth={"password": "secret"})
        b.data["name"] = "Ada"
        here.sockets_join(["x", "y"])
        there.to(b.id).sockets_leave("y")
        for asked in (here, there):
            found = {remote.id: remote for remote in await asked.to("x").fetch_sockets()}
            assert {name: remote.rooms for name, remote in found.items()} == {
                a.id: {a.id, "x", "y"},
                b.id: {b.id, "x"},
            }
            assert found[b.id].data == {"name": "Ada"}
            handshake = found[b.id].handshake
            assert handshake.headers == {"origin": "https://a.example"}
            assert (handshake.url, handshake.query) == ("/socket.io/?EIO=4", {"EIO": "4"})
            assert (handshake.address, handshake.secure) == ("203.0.113.9", True)
            assert handshake.issued_s == 1.5
            adapter = asked.of("/").adapter
            assert await adapter.socket_rooms(b.id) == frozenset((b.id, "x"))
            assert await adapter.socket_rooms("nobody") is None
        found[b.id].disconnect()
        assert a.connected
        assert not b.connected


@trio_test
async def test_every_client_answers_once(pair: Pair, autojump_clock: MockClock) -> None:
    async with pair() as (here, there):
        a, b = enter(here.of("/")), enter(there.of("/"))
        gathered: list[Any] = []

        async def gather() -> None:
            gathered.extend(await here.of("/").gather_acks("q", timeout_s=5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather)
            await trio.testing.wait_all_tasks_blocked()
            answer(b, {"from": "there"}, "ignored")
            answer(b, "again")
            answer(a)
        assert gathered == [(b.id, {"from": "there"}), (a.id, None)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_later, a)
            with pytest.raises(AckTimeout) as raised:
                await here.of("/").gather_acks("q", timeout_s=5)
        assert raised.value.acks == [(a.id, "late")]
        assert await here.to("nobody").emit_with_ack("q", timeout_s=5) == []


async def answer_later(socket: Socket) -> None:
    await trio.sleep(1)
    answer(socket, "late")
