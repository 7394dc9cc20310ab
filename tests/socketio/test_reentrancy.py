"""Handlers that change everything under the server's feet."""

import json
import select
from collections import Counter
from contextlib import AsyncExitStack, suppress
from functools import partial
from time import perf_counter
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.properties import examples
from tests.socketio.serving import Record, ask, joined, send_batch, serving, the_socket
from tests.wire import ConnectionEnded, SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.runtime.poller import GATHER_S

CLIENTS = 3
ROOMS = ["r", "s"]

# What a handler does: an action and the number of the client that it concerns.
actions = st.tuples(
    st.sampled_from(
        [
            "emit",
            "emit_all",
            "emit_room",
            "volatile",
            "binary",
            "join",
            "leave",
            "disconnect",
            "close",
            "session_close",
            "suspend",
            "fail",
        ]
    ),
    st.integers(0, CLIENTS - 1),
)
Script = list[tuple[str, int]]
scripts: st.SearchStrategy[Script] = st.lists(actions, max_size=4)
# By client: what comes in one batch, each event plain or async with a script of its own.
batches = st.lists(
    st.lists(st.tuples(st.sampled_from(["plain", "async"]), scripts), max_size=4),
    min_size=CLIENTS,
    max_size=CLIENTS,
)


class Chaos:
    """A server whose handlers do what scripts say."""

    def __init__(self, connection: Script, disconnecting: Script, disconnect: Script) -> None:
        self.server = Server()
        self.sockets: list[Socket] = []
        self.ended: Counter[str] = Counter()
        self.order: list[tuple[str, str]] = []
        server = self.server
        server.on("ping")(lambda _: "pong")

        @server.on("connection")
        def connected(socket: Socket) -> None:
            self.sockets.append(socket)
            socket.join("r")
            if len(self.sockets) == CLIENTS:
                self.act(socket, connection)

        @server.on("plain")
        def plain(socket: Socket, script: Any) -> None:
            self.act(socket, script)

        @server.on("async")
        async def run(socket: Socket, script: Any) -> None:
            for action in script:
                if action[0] == "suspend":
                    await trio.lowlevel.checkpoint()
                self.act(socket, [action])

        @server.on("disconnecting")
        def on_disconnecting(socket: Socket, _: str) -> None:
            self.order.append((socket.id, "disconnecting"))
            self.act(socket, disconnecting)

        @server.on("disconnect")
        async def on_disconnect(socket: Socket, _: str) -> None:
            self.order.append((socket.id, "disconnect"))
            self.ended[socket.id] += 1
            self.act(socket, disconnect)

    def act(self, own: Socket, script: Any) -> None:
        for action, number in script:
            socket = self.sockets[number % len(self.sockets)]
            if action == "emit":
                socket.emit("x", own.id)
            elif action == "emit_all":
                own.broadcast.emit("x")
                self.server.emit("x")
            elif action == "emit_room":
                self.server.to(ROOMS).except_(socket.id).emit("x", "y" * 1_000)
            elif action == "volatile":
                socket.volatile.emit("x")
            elif action == "binary":
                socket.emit("x", b"y")
            elif action == "join":
                socket.join([ROOMS[number % 2], own.id])
            elif action == "leave":
                socket.leave(ROOMS[number % 2])
            elif action == "disconnect":
                socket.disconnect()
            elif action == "close":
                socket.disconnect(close=True)
            elif action == "session_close":
                socket.session.close()
            elif action == "fail":
                raise RuntimeError("as the script says")

    def check(self) -> None:
        """What remains is whole."""
        inside = self.server.of("/").sockets
        for socket in self.sockets:
            assert socket.connected == (socket.id in inside)
            assert self.ended[socket.id] == (not socket.connected)
            if not socket.connected:
                own = [step for sid, step in self.order if sid == socket.id]
                assert own == ["disconnecting", "disconnect"]
        rooms = self.server.of("/").rooms
        for room in rooms.names():
            for socket in rooms.members(room):
                assert socket.connected
                assert room in socket.rooms or room == socket.id
        assert self.server.statistics().defects == 0


@settings(max_examples=examples(40), deadline=None)
@given(
    transport=st.sampled_from(["websocket", "polling"]),
    connection=scripts,
    disconnecting=scripts,
    disconnect=scripts,
    sent=batches,
)
@example(
    transport="websocket",
    connection=[],
    disconnecting=[("disconnect", 1), ("emit_all", 0), ("join", 2)],
    disconnect=[("close", 2), ("session_close", 0), ("emit_all", 0)],
    sent=[[("plain", [("disconnect", 0)]), ("plain", [("emit_all", 0)])], [], []],
)
def test_the_poller_survives_every_script(
    transport: str,
    connection: Script,
    disconnecting: Script,
    disconnect: Script,
    sent: list[list[tuple[str, Script]]],
) -> None:
    async def main() -> None:
        chaos = Chaos(connection, disconnecting, disconnect)
        async with serving(chaos.server) as port:
            async with AsyncExitStack() as stack:
                clients = [
                    (await stack.enter_async_context(joined(port, transport)))[0]
                    for _ in range(CLIENTS - 1)
                ]
                with suppress(ConnectionEnded, AssertionError):  # its own script may end it
                    clients.append((await stack.enter_async_context(joined(port, transport)))[0])
                async with trio.open_nursery() as nursery:
                    for client, events in zip(clients, sent, strict=False):
                        if events:
                            nursery.start_soon(send_events, client, events)
                await chaos.server._workers.wait_idle()
                async with joined(port, "websocket") as (witness, _):
                    await fence(witness)
                await chaos.server._workers.wait_idle()
                await chaos.server.engine._poller.wait_settled()
                await chaos.server._workers.wait_idle()
                chaos.check()
            async with joined(port, transport) as (witness, _):
                await fence(witness)
        chaos.sockets = []
        chaos.check()

    trio.run(main)


async def fence(client: SocketIOClient) -> None:
    """The server still answers a newcomer, unless a script has put it out."""
    await client.emit("ping", ack_id=1)
    with suppress(ConnectionEnded):
        while not (await client.receive())[0].startswith(("31", "1")):
            pass


async def send_events(client: SocketIOClient, events: list[tuple[str, Script]]) -> None:
    """A client that was closed meanwhile sends in vain."""
    with suppress(ConnectionEnded, trio.BrokenResourceError, AssertionError):
        await send_batch(client, ["2" + json.dumps(event) for event in events])


# --- cases worth a name --------------------------------------------------------------------------


@trio_test
async def test_handler_that_puts_everybody_out_in_the_middle_of_a_batch(transport: str) -> None:
    server = Server()
    seen = Record()
    server.on("ping")(lambda _: "pong")
    server.on("note")(lambda _, x: seen.add(x))
    server.on("disconnect")(lambda socket, reason: seen.add((socket.id, reason)))

    @server.on("purge")
    def purge(_: Socket) -> None:
        for socket in list(server.of("/").sockets.values()):
            socket.disconnect()
        server.emit("nobody is left")

    async with (
        serving(server) as port,
        joined(port, transport) as (one, first),
        joined(port, transport) as (other, second),
    ):
        await send_batch(one, ['2["note",1]', '2["purge"]', '2["note",2]'])
        assert (await one.receive())[0] == "1"
        assert (await other.receive())[0] == "1"
        entries = await seen.wait(3)
        assert entries[0] == 1
        assert {entry[0] for entry in entries[1:]} == {first, second}
        assert {entry[1] for entry in entries[1:]} == {"server namespace disconnect"}
        await one.connect()
        assert await ask(one, "ping") == ["pong"]


@trio_test
async def test_disconnect_handlers_that_end_each_other(transport: str) -> None:
    server = Server()
    ended = Record()

    @server.on("disconnect")
    def disconnect(socket: Socket, _: str) -> None:
        ended.add(socket.id)
        for other in list(server.of("/").sockets.values()):
            other.emit("bye")
            other.disconnect(close=True)

    async with serving(server) as port, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(joined(port, transport)) for _ in range(5)]
        await clients[0][0].send("1")
        assert sorted(await ended.wait(5)) == sorted(sid for _, sid in clients)
        assert server.statistics().sockets == {"/": 0}


@trio_test
async def test_connection_handler_that_puts_its_socket_out(transport: str) -> None:
    server = Server()
    ended = Record()
    server.on("connection")(lambda socket: socket.disconnect())
    server.on("disconnect")(lambda socket, reason: ended.add((socket.id, reason)))
    async with serving(server) as port, joined(port, transport) as (client, sid):
        assert (await client.receive())[0] == "1"
        assert await ended.wait(1) == [(sid, "server namespace disconnect")]
        assert server.of("/").sockets == {}


@pytest.mark.alone
@trio_test
async def test_output_made_outside_a_turn_leaves_when_no_other_task_can_run() -> None:
    """Nothing else wakes the server: no traffic, no heartbeat."""
    server = Server()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        socket = the_socket(server)
        assert isinstance(client.engine, WebSocketEngine)
        stream = client.engine.websocket.stream
        assert isinstance(stream, trio.SocketStream)
        actions = partial(socket.emit, "news"), partial(server.emit, "news"), socket.disconnect
        for action in actions:
            await trio.testing.wait_all_tasks_blocked()
            action()
            await trio.testing.wait_all_tasks_blocked()
            assert select.select([stream.socket], [], [], 0)[0]
            await client.receive()


@pytest.mark.alone
@trio_test
async def test_output_made_outside_a_turn_leaves_soon_while_other_tasks_run() -> None:
    server = Server()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        socket = the_socket(server)
        assert isinstance(client.engine, WebSocketEngine)
        stream = client.engine.websocket.stream
        assert isinstance(stream, trio.SocketStream)
        for _ in range(5):
            socket.emit("news")
            began = perf_counter()
            while not select.select([stream.socket], [], [], 0)[0]:
                assert perf_counter() - began < 50 * GATHER_S  # else the others kept it for good
                await trio.lowlevel.checkpoint()
            await client.receive()
