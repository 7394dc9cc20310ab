"""Catch-all listeners of what goes out."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from tests.socketio.serving import Record, ask, joined, serving, the_socket
from tests.socketio.test_any_listeners import sum_server
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Socket


async def to_itself(socket: Socket) -> None:
    socket.emit("news", 1)


async def flagged(socket: Socket) -> None:
    socket.compress(False).emit("news", 1)


async def to_all(socket: Socket) -> None:
    socket.namespace.emit("news", 1)


async def to_its_room(socket: Socket) -> None:
    socket.namespace.to(["x", socket.id]).emit("news", 1)


async def asking(socket: Socket) -> None:
    with trio.move_on_after(0):
        await socket.emit_with_ack("news", 1)


async def asking_all(socket: Socket) -> None:
    with trio.move_on_after(0):
        await socket.namespace.emit_with_ack("news", 1)


@pytest.mark.parametrize(
    "emit", [to_itself, flagged, to_all, to_its_room, asking, asking_all], ids=lambda f: f.__name__
)
@trio_test
async def test_listeners_hear_what_goes_out_before_it_does(
    transport: str, emit: Callable[[Socket], Awaitable[None]]
) -> None:
    server = sum_server()
    seen = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        socket.join("x")
        socket.on_any_outgoing(lambda *event: seen.add(("second", *event)))
        socket.prepend_any_outgoing(lambda *event: seen.add(("first", *event)))
        socket.on_any_outgoing(lambda *_: socket.namespace.except_("x").emit("to nobody"))
        await emit(socket)
        text, _ = await client.receive()
        assert json.loads(text[text.index("[") :]) == ["news", 1]
        assert seen.entries == [("first", "news", 1), ("second", "news", 1)]


@trio_test
async def test_listeners_hear_what_reaches_their_own_socket_only(transport: str) -> None:
    server = sum_server()
    seen = Record()
    async with (
        serving(server) as port,
        joined(port, transport) as (client, sid),
        joined(port, transport) as (_, other),
    ):
        server.of("/").sockets[other].on_any_outgoing(seen.add)
        server.to(sid).emit("news")
        server.except_(other).emit("news")
        assert seen.entries == []
        server.of("/").sockets[sid].broadcast.emit("others")
        assert seen.entries == ["others"]
        assert [await client.receive_event() for _ in range(2)] == [["news"], ["news"]]
        assert await ask(client, "fence") == ["fence"]


@trio_test
async def test_listener_that_fails_or_puts_its_socket_out(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = sum_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)

        def fail(*_: Any) -> None:
            raise RuntimeError("mute")

        socket.on_any_outgoing(fail)
        socket.emit("news")
        server.emit("news")
        assert [await client.receive_event() for _ in range(2)] == [["news"], ["news"]]
        assert server.statistics().handler_failures == 2
        socket.on_any_outgoing(lambda *_: socket.disconnect())
        server.emit("never")
        socket.emit("never")
        assert (await client.receive())[0] == "1"
        assert not server.of("/")._overheard
        await client.connect()
        assert await ask(client, "fence") == ["fence"]
    assert "outgoing listener" in caplog.text
    assert "mute" in caplog.text


@trio_test
async def test_listeners_of_what_goes_out_are_removed_and_listed(transport: str) -> None:
    server = sum_server()
    seen = Record()
    server.use(lambda socket: socket.on_any_outgoing(seen.add))  # before it is connected
    async with serving(server) as port, joined(port, transport):
        socket = the_socket(server)
        server.emit("all")
        assert seen.entries == ["all"]
        second = socket.on_any_outgoing(lambda *_: None)
        assert len(socket.listeners_any_outgoing()) == 2
        socket.off_any_outgoing(print)
        socket.off_any_outgoing(seen.add)
        assert socket.listeners_any_outgoing() == [second]
        socket.off_any_outgoing()
        assert socket.listeners_any_outgoing() == []
        assert not socket.namespace._overheard
        server.emit("all")
        socket.emit("one")
        socket.off_any_outgoing()
        assert len(seen.entries) == 1

        async def slow(*_: Any) -> None:
            """An emit cannot wait for it."""

        with pytest.raises(LocalProtocolError, match="plain"):
            socket.on_any_outgoing(slow)
