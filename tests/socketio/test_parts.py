"""The parts of a socket: an idle one has few, and a client that has left leaves nothing behind."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
from tests.socketio.serving import ask, joined, serving, the_socket, until
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions, SessionClosed, Socket

PARTS = ("_acks", "_events", "_outgoing", "_recovery", "_data", "_auth")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Cycles stay: what is gone was gone at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def parts_of(socket: Socket) -> set[str]:
    return {part for part in PARTS if getattr(socket, part) is not None}


@trio_test
async def test_an_idle_socket_has_no_part_that_it_does_not_need(transport: str) -> None:
    server = Server()
    server.on("event")(lambda socket: None)
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        assert parts_of(socket) == set()
        assert socket.handshake.auth == {}
        assert socket.listeners_any() == socket.listeners_any_outgoing() == []
        assert parts_of(socket) == {"_auth"}
        await ask(client, "event")
        assert parts_of(socket) == {"_auth", "_events"}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("recovery", [False, True])
@trio_test
async def test_a_socket_is_gone_with_its_client(transport: str, recovery: bool) -> None:
    """Whatever it was used for: no part refers to the socket, or to the client."""
    server = Server(ServerOptions(state_recovery=recovery))
    gone: list[weakref.ref[Any]] = []

    @server.on("event")
    async def handle(socket: Socket, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    @server.on("disconnect")
    def forget(socket: Socket, _: str) -> None:
        gone.append(weakref.ref(socket))

    async def use(socket: Socket) -> None:
        socket.join("room")
        socket.use(lambda event: None)
        socket.on_any_outgoing(lambda *_: None)
        socket.data["name"] = "value"
        with suppress(SessionClosed):  # pytest.raises would keep the frame
            await socket.emit_with_ack("question")

    async with serving(server) as port:
        async with trio.open_nursery() as nursery, joined(port, transport) as (client, _):
            await ask(client, "event")
            nursery.start_soon(use, the_socket(server))
            assert (await client.receive())[0] == '20["question"]'
            await client.connect()  # it joins anew: the first socket is gone, too
            await ask(client, "event")
            await client.send("1")
            await until(lambda: len(gone) == 2)  # the session remembers it, as long as it lasts
        await until(lambda: [reference() for reference in gone] == [None, None])
