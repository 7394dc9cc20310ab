"""Clients who have joined come before newcomers, on whatever connections they come."""

import os
import select
import socket
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from tests.cluster.forwarding_nodes import forwarding_nodes, open_sid, target_of, upgraded
from tests.control.serving import controlled
from tests.ops.operated import operated
from tests.socketio.serving import (
    ask,
    bare_polling,
    bare_websocket,
    frame,
    joined,
    open_client,
    serving,
    until,
)
from tests.socketio.test_joining import Door, guarded_server
from tests.wire import HttpClient, WebSocketClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import EngineRequest, Server, ServerOptions, Socket
from trio_socketio.control import open_control
from trio_socketio.net.connection import Connection

if not hasattr(select, "epoll"):
    pytest.skip("only EpollPoller knows an order", allow_module_level=True)

from trio_socketio.runtime.readiness import EpollPoller


def preferred(connections: Iterable[Connection]) -> list[bool]:
    """Whether each of these connections comes before newcomers."""
    found = []
    for connection in connections:
        poller = connection.owner.poller
        assert isinstance(poller, EpollPoller)
        found.append(connection.fileno() in poller._connections)
        assert found[-1] is not (connection.fileno() in poller._newcomers.connections)
    return found


def is_preferred(server: Server, stream: trio.abc.Stream | None) -> bool:
    """Whether the server prefers the connection of a client that has this end of it."""
    assert server._running is not None
    assert isinstance(stream, trio.SocketStream)
    ours = stream.socket.getsockname()
    (found,) = preferred(
        one for one in server._running.connections._open if one._sock.getpeername() == ours
    )
    return found


def stream_of(engine: object) -> trio.abc.Stream:
    assert isinstance(engine, WebSocketEngine)
    return engine.websocket.stream


def write_nowait(engine: object, text: str) -> None:
    stream = stream_of(engine)
    assert isinstance(stream, trio.SocketStream)
    os.write(stream.socket.fileno(), frame(text))


@pytest.mark.req("RUN-47", "RUN-50")
@trio_test
async def test_a_client_who_has_joined_does_not_wait_for_all_who_join() -> None:
    """40 clients join at once, whose middleware takes longer than a turn for each of them."""
    server = Server()
    passed: list[str] = []

    @server.use
    def check(socket: Socket) -> None:
        passed.append(socket.id)
        ends = time.perf_counter() + 0.0015
        while time.perf_counter() < ends:
            pass

    @server.on("count")
    def count(socket: Socket) -> int:
        return len(passed)

    async with (
        serving(server) as port,
        joined(port, "websocket") as (client, _),
        AsyncExitStack() as stack,
    ):
        newcomers = [await stack.enter_async_context(bare_websocket(port)) for _ in range(40)]
        passed.clear()
        for engine in newcomers:
            write_nowait(engine, "40")
        counts = [0]
        while counts[-1] < 40:
            counts += await ask(client, "count")
        # A question and its answer take a few passes, each with a turn of one newcomer; some take
        # more if this process has to wait for the machine.
        steps = sorted(after - before for before, after in pairwise(counts))
        assert steps[len(steps) // 2] < 8, counts
        for engine in newcomers:
            assert str(await engine.receive()).startswith("40")


@pytest.mark.req("RUN-58")
@trio_test
async def test_clients_who_come_back_are_not_refused_in_favour_of_their_own_former_selves() -> None:
    """All come back at once, and each of their ends takes longer than a turn.

    There is room for what the accept loop takes before the server has seen that they have gone.
    """
    count = 100
    server = Server(ServerOptions(max_connections=count + 70))

    @server.on("disconnect")
    def leave(socket: Socket, reason: str) -> None:
        ends = time.perf_counter() + 0.0012
        while time.perf_counter() < ends:
            pass

    async with serving(server) as port:
        clients = [await WebSocketEngine.open(port) for _ in range(count)]
        for client in clients:
            await client.send("40")
            await client.receive()
        for client in clients:
            stream = stream_of(client)
            assert isinstance(stream, trio.SocketStream)
            stream.socket.close()
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert server._running is not None
            connections = server._running.connections
            await until(lambda: connections.accepted + connections.refused == 2 * count)
            assert connections.refused == 0


@pytest.mark.req("RUN-50")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_a_websocket_is_preferred_once_its_client_has_joined(is_async: bool) -> None:
    server = Server()
    began, go_on = trio.Event(), trio.Event()

    async def wait(_: Socket) -> None:
        began.set()
        await go_on.wait()

    if is_async:
        server.use(wait)
    async with serving(server) as port, open_client(port, "websocket") as client:
        stream = stream_of(client.engine)
        assert not is_preferred(server, stream)
        await client.send("0")
        if is_async:
            await began.wait()
            assert not is_preferred(server, stream)
            go_on.set()
        assert (await client.receive())[0].startswith("0")
        assert is_preferred(server, stream)


@pytest.mark.req("RUN-51")
@trio_test
async def test_a_connection_that_polls_is_preferred_with_its_first_request_after_the_joining() -> (
    None
):
    server = Server()
    async with serving(server) as port, bare_polling(port) as engine:
        await engine.send("40")
        await engine.receive()
        assert not is_preferred(server, engine.poster.stream)
        assert is_preferred(server, engine.getter.stream)
        await engine.send('42["x"]')
        assert is_preferred(server, engine.poster.stream)
        async with bare_polling(port) as other:
            await other.send("6")  # ignored, and joins nothing
            await other.send("6")
            assert not is_preferred(server, other.poster.stream)


@pytest.mark.req("RUN-50")
@pytest.mark.parametrize("when", ["before the WebSocket", "after the WebSocket"])
@trio_test
async def test_a_websocket_that_takes_a_session_over_is_preferred(when: str) -> None:
    server = Server()
    async with serving(server) as port, bare_polling(port) as engine:
        target = engine.target.replace("polling", "websocket")
        if when == "before the WebSocket":
            await engine.send("40")
        websocket = await WebSocketClient.open(port, target)
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        if when == "after the WebSocket":
            assert not is_preferred(server, websocket.stream)
            await engine.send("40")
        assert is_preferred(server, websocket.stream)
        await websocket.send("5")
        assert str(await websocket.receive()).startswith("40")
        assert is_preferred(server, websocket.stream)
        await websocket.aclose()


@pytest.mark.req("RUN-50")
@trio_test
async def test_it_is_preferred_too_if_the_client_has_joined_while_hooks_looked_at_it() -> None:
    server = Server()
    began, go_on = trio.Event(), trio.Event()

    async def look(request: EngineRequest) -> None:
        if request.is_upgrade:
            began.set()
            await go_on.wait()

    server.engine.use(look)
    async with serving(server) as port, bare_polling(port) as engine:
        opened: list[WebSocketClient] = []

        async def open_websocket() -> None:
            target = engine.target.replace("polling", "websocket")
            opened.append(await WebSocketClient.open(port, target))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_websocket)
            await began.wait()
            await engine.send("40")
            assert str(await engine.receive()).startswith("40")
            go_on.set()
        (websocket,) = opened
        assert is_preferred(server, websocket.stream)
        await websocket.aclose()


@pytest.mark.req("RUN-51")
@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "EIO=4&transport=nonsense"),
        ("GET", "EIO=3&transport=polling"),
        ("PUT", "EIO=4&transport=polling"),
    ],
)
@trio_test
async def test_a_request_that_is_refused_prefers_no_connection(method: str, query: str) -> None:
    server = Server()
    async with serving(server) as port, bare_polling(port) as engine:
        await engine.send("40")
        await engine.receive()
        sid = engine.target.partition("sid=")[2]
        http = HttpClient(port)
        target = f"/socket.io/?{query}&sid={sid}"
        assert (await http.request(method, target)).status == 400
        assert not is_preferred(server, http.stream)
        await http.aclose()


@pytest.mark.req("RUN-50", "BND-15")
@trio_test
async def test_a_client_that_is_accepted_before_it_is_authenticated_is_a_newcomer() -> None:
    server, _ = guarded_server(Door())
    server.options = ServerOptions(max_unjoined_sessions=1)
    async with serving(server) as port, open_client(port, "websocket") as client:
        stream = stream_of(client.engine)
        await client.connect()
        assert not is_preferred(server, stream)
        http = HttpClient(port)
        answer = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
        assert answer.status == 503
        await http.aclose()
        await client.send('25["auth",{"name":"ann"}]')
        assert (await client.receive())[0] == '35["welcome"]'
        assert is_preferred(server, stream)
        assert server.statistics().sessions_unjoined == 0


@pytest.mark.req("RUN-52")
@trio_test
async def test_the_control_socket_is_preferred_from_the_start(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, open_control(where.address):
        poller = where.runtime.poller
        await until(lambda: len(poller._registered()) == 1)
        assert isinstance(poller, EpollPoller)
        assert not poller._newcomers.connections


@pytest.mark.req("RUN-52")
@trio_test
async def test_the_admin_port_is_preferred_from_the_start() -> None:
    server = Server()
    async with operated(server) as ports:
        http = HttpClient(ports.admin)
        assert (await http.request("GET", "/livez")).status == 200
        assert server._running is not None
        poller = server._running.runtime.poller
        assert isinstance(poller, EpollPoller)
        assert len(poller._registered()) == 1
        assert not poller._newcomers.connections
        await http.aclose()


@pytest.mark.req("RUN-52", "RUN-53")
@trio_test
async def test_what_leads_to_another_node_is_preferred_there_and_here() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])  # and has not joined
        for name, end in (("a", "_incoming"), ("b", "_ground")):
            group = getattr(nodes[name].forwarding, end)
            links = group._open if name == "a" else group.links._open
            assert set(preferred(links)) == {True}
        assert is_preferred(nodes["b"].server, stream_of(client.engine))
        await client.aclose()


@pytest.mark.req("RUN-53")
@trio_test
async def test_who_polls_through_another_node_is_preferred_once_that_node_has_answered() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        sid = await open_sid(nodes["a"])
        http = HttpClient(nodes["b"].port)
        unknown = await http.request("POST", target_of(sid[:-1] + "?"), body=b"40")
        assert unknown.status == 400
        assert not is_preferred(nodes["b"].server, http.stream)
        assert (await http.request("POST", target_of(sid), body=b"40")).status == 200
        assert is_preferred(nodes["b"].server, http.stream)
        await http.aclose()
