"""The Admin UI over servers that share a Redis: two of ours, and an instrumented one of Node."""

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.ops.admin_ui.administrator import LOGIN, PASSWORD_HASH, open_admin
from tests.redis_server import RedisServer
from tests.socketio.serving import joined, until
from trio.testing import trio_test

from trio_socketio import RedisPubSub, Server, Socket, open_redis, open_server
from trio_socketio.ops.admin_ui import AdminUI, AdminUIOptions

SCRIPT = Path(__file__).parent / "admin_node.mjs"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch


@dataclass
class Ours:
    """One of our servers."""

    name: str
    server: Server
    port: int


@asynccontextmanager
async def our_server(redis_server: RedisServer, key: str, name: str) -> AsyncIterator[Ours]:
    async with open_redis(redis_server.url) as redis:
        server = Server(adapter=RedisPubSub(redis, key=key))
        options = AdminUIOptions(
            auth="basic", username="ops", password_hash=PASSWORD_HASH, server_id=name
        )
        AdminUI(server, options, redis=redis)

        @server.on("connection")
        def connected(socket: Socket) -> None:
            socket.data["from"] = "ours"

        @server.on("hello")
        def hello(socket: Socket, *values: Any) -> None:
            socket.emit("echo", *values)

        async with open_server(server) as addresses:
            yield Ours(name, server, addresses[0][1])


@asynccontextmanager
async def node_server(redis_server: RedisServer, key: str) -> AsyncIterator[int]:
    command = ["node", str(SCRIPT), redis_server.tcp_url, key, PASSWORD_HASH]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=SCRIPT.parent,
                check=False,
                task_status=task_status,
            )
        )
        assert process.stdout is not None
        line = b""
        with trio.fail_after(20):
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
        try:
            yield int(line)
        finally:
            nursery.cancel_scope.cancel()


def by_id(sockets: list[Any]) -> dict[str, Any]:
    return {socket["id"]: socket for socket in sockets if socket["nsp"] == "/"}


async def know_one_another(port: int, ids: set[str]) -> None:
    """Wait until a server lists the sockets of both, which it asks the other one for."""
    with trio.fail_after(10):
        while True:
            async with open_admin(port, LOGIN) as admin:
                if set(by_id((await admin.wait("all_sockets"))[0])) == ids:
                    return
            await trio.sleep(0.1)


@pytest.mark.req("AUI-20", "AUI-21", "AUI-29", "AUI-31")
@trio_test
async def test_administrators_of_our_server_and_of_node_see_and_change_both(
    shared_redis: RedisServer,
) -> None:
    key = "admin-mixed"
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        node = await enter(node_server(shared_redis, key))
        ours = await enter(our_server(shared_redis, key, "ours"))
        _, on_node = await enter(joined(node, "websocket"))
        _, on_ours = await enter(joined(ours.port, "polling"))
        for port in (ours.port, node):
            await know_one_another(port, {on_node, on_ours})
            async with open_admin(port, LOGIN) as admin:
                found = by_id((await admin.wait("all_sockets"))[0])
                # Node sends it before CONNECT.
                (session_id,) = [told[1] for told in admin.told if told[0] == "session"]
                assert set(found) == {on_node, on_ours}
                assert found[on_node]["transport"] == "websocket"
                assert found[on_ours]["transport"] == "polling"
                assert [found[one]["data"] for one in (on_node, on_ours)] == [
                    {"from": "node"},
                    {"from": "ours"},
                ]
                assert all(len(one["clientId"]) == 12 for one in found.values())
                assert all(one["handshake"]["headers"]["host"] for one in found.values())
                # Events of a third client, on either server.
                for other in (ours.port, node):
                    async with joined(other, "websocket") as (third, third_id):
                        await third.emit("hello", 1, {"two": [3]})
                        assert await third.receive_event() == ["echo", 1, {"two": [3]}]
                        _, at = await admin.wait("socket_connected")
                        received = await admin.wait("event_received")
                        sent = await admin.wait("event_sent")
                    gone = await admin.wait_of("socket_disconnected", "/", third_id)
                    assert received[:3] == ["/", third_id, ["hello", 1, {"two": [3]}]]
                    assert sent[:3] == ["/", third_id, ["echo", 1, {"two": [3]}]]
                    assert all(map(TIME, (at, received[3], sent[3], gone[3])))
                reports: set[str] = set()
                while port == ours.port and reports != {"ours", "node"}:
                    reports.add((await admin.wait("server_stats"))[0]["serverId"])
                # Commands take effect on both.
                await admin.send("join", "/", "everybody", None)
                await admin.wait_of("room_joined", "/", "everybody")
                await admin.wait_of("room_joined", "/", "everybody")
                await admin.send("leave", "/", "everybody")
                await admin.wait_of("room_left", "/", "everybody")
                await admin.wait_of("room_left", "/", "everybody")
            # The session holds on the other server, too.
            other = node if port == ours.port else ours.port
            async with open_admin(other, {"sessionId": session_id}) as again:
                await again.wait("all_sockets")
                assert "session" not in again.names()
        async with open_admin(ours.port, LOGIN) as admin:
            await admin.wait("all_sockets")
            await admin.send("_disconnect", "/", True, on_node)
            await admin.wait_of("socket_disconnected", "/", on_node)
        async with open_admin(node, LOGIN) as admin:
            await admin.wait("all_sockets")
            await admin.send("_disconnect", "/", False, on_ours)
            await admin.wait_of("socket_disconnected", "/", on_ours)
            await until(lambda: not ours.server.of("/").sockets)


@pytest.mark.req("AUI-20", "AUI-21")
@trio_test
async def test_what_the_admin_ui_knows_of_clients_is_not_in_their_data(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "admin-data"
    async with (
        our_server(shared_redis, key, "one") as one,
        our_server(shared_redis, key, "two") as two,
        joined(one.port, "websocket") as (_, first),
        joined(two.port, "polling") as (_, second),
    ):
        found = {socket.id: socket for socket in await one.server.fetch_sockets()}
        assert {name: socket.data for name, socket in found.items()} == {
            first: {"from": "ours"},
            second: {"from": "ours"},
        }
        # A socket that leaves while others are asked is not listed.
        (socket,) = one.server.of("/").sockets.values()
        adapter = one.server.of("/").adapter
        fetch = adapter.fetch_sockets

        async def fetch_and_lose(target: Any) -> Any:
            answer = await fetch(target)
            socket.disconnect()
            return answer

        monkeypatch.setattr(adapter, "fetch_sockets", fetch_and_lose)
        async with open_admin(one.port, LOGIN) as admin:
            (listed,) = await admin.wait("all_sockets")
    assert set(by_id(listed)) == {second}
    assert by_id(listed)[second]["transport"] == "polling"
