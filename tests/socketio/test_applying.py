"""Options that are changed while a server serves."""

import re
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.socketio.serving import joined, serving
from tests.wire import PATH, HttpClient, Response, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, ServerOptions, TcpEndpoint, open_runtime
from trio_socketio.errors import ConfigurationError
from trio_socketio.socketio.options import RELOADABLE

ORIGIN = "https://a.example"


async def get(port: int, origin: str | None = None) -> Response:
    http = HttpClient(port)
    headers = [] if origin is None else [("Origin", origin)]
    try:
        return await http.request("GET", f"{PATH}?EIO=4&transport=polling", headers)
    finally:
        await http.aclose()


def test_what_can_be_changed_is_documented() -> None:
    doc = Server.apply.__doc__ or ""
    assert {name for name in RELOADABLE if not name.startswith("cors_")} < set(
        re.split(r"[\s,.]+", doc)
    )
    assert {name for name in RELOADABLE if name.startswith("cors_")} == {
        name for name in ServerOptions.__dataclass_fields__ if name.startswith("cors_")
    }


@pytest.mark.req("CFG-14")
@trio_test
async def test_origins_hold_from_the_next_request_on() -> None:
    server = Server(ServerOptions(cors_origins=re.compile("https://[bc].example")))
    async with serving(server) as port, joined(port, "polling") as (client, _):
        assert (await get(port, ORIGIN)).status == 403
        assert (await get(port, "https://b.example")).status == 200
        assert server.apply(replace(server.options, cors_origins=ORIGIN)) == ()
        answer = await get(port, ORIGIN)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert (await get(port, "https://b.example")).status == 403
        assert server.options.cors_origins == (ORIGIN,)
        server.apply(replace(server.options, cors_origins=("https://d.example".__eq__, ORIGIN)))
        origins = (ORIGIN, "https://b.example", "https://d.example")
        assert [(await get(port, origin)).status for origin in origins] == [200, 403, 200]
        server.of("/").emit("still here")
        assert await client.receive_event() == ["still here"]


@pytest.mark.req("CFG-14")
@trio_test
async def test_bounds_hold_from_the_next_connection_on() -> None:
    server = Server(ServerOptions(max_connections=100))
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        server.apply(replace(server.options, max_connections=1, cors_origins="*"))
        answer = await get(port, ORIGIN)
        assert answer.status == 503
        assert answer.headers["access-control-allow-origin"] == "*"
        server.of("/").emit("still here")
        assert await client.receive_event() == ["still here"]
        server.apply(replace(server.options, max_connections=10, max_unjoined_sessions=1))
        idle = await WebSocketEngine.open(port)
        assert (await get(port)).status == 503
        server.apply(
            replace(server.options, max_unjoined_sessions=10, max_unjoined_sessions_per_address=1)
        )
        assert (await get(port)).status == 429
        server.apply(replace(server.options, max_unjoined_sessions_per_address=None))
        assert (await get(port)).status == 200
        server.apply(
            replace(server.options, session_rate_per_address=0.1, session_burst_per_address=1)
        )
        assert [(await get(port)).status for _ in range(2)] == [200, 429]
        server.apply(replace(server.options, session_rate_per_address=None))
        assert (await get(port)).status == 200
        await idle.aclose()


@trio_test
async def test_what_cannot_be_changed_is_named_and_stays() -> None:
    server = Server()
    before = server.options
    async with serving(server) as port:
        new = ServerOptions(ping_interval_s=1, max_connections=7, path="/x")
        assert server.apply(new) == ("path", "ping_interval_s")
        assert server.options == replace(before, max_connections=7)
        assert '"pingInterval":25000' in (await get(port)).text
    assert server.options.max_connections == 7


@trio_test
async def test_what_cannot_be_applied_changes_nothing() -> None:
    server = Server()
    before = server.options
    async with serving(server):
        wrong: Any = {"max_connections": 1}
        with pytest.raises(ConfigurationError, match="expected ServerOptions"):
            server.apply(wrong)
        with pytest.raises(LocalProtocolError, match="thread"):
            await trio.to_thread.run_sync(server.apply, ServerOptions(max_connections=1))
        assert server.options is before


@trio_test
async def test_a_server_serves_on_a_runtime_that_is_open() -> None:
    server = Server()
    async with open_runtime() as runtime, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[list[Any]]) -> None:
            await server.serve(
                runtime=runtime, endpoints=[TcpEndpoint(port=0)], task_status=task_status
            )

        addresses = await nursery.start(serve)
        async with joined(addresses[0][1], "websocket"):
            assert len(server.of("/").sockets) == 1
        server.stop()
