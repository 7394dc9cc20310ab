"""The guide about clusters is true: its files, commands and programs, and what it says of Redis.

What needs a load balancer is tested by `make balancers`, and so is what takes long.
"""

import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cluster_guide import (
    BLOCKS,
    PREFIXES,
    TEXT,
    block,
    join_lobby,
)
from tests.interop.lobby_clients import open_clients
from tests.interop.old_server import open_old_server
from tests.redis_server import RedisServer
from tests.redis_states import Scene, open_scene
from tests.test_cli_services import get
from tests.wire import HttpClient, open_client

MODULES: Final = Path(__file__).with_name("interop") / "node_modules"
FOREIGN: Final = '{reason="session of another node"}'


def test_every_block_is_run() -> None:
    """The first line of a block, after which tests look for it; here or in tests/balancers."""
    heads = [(kind, code.partition("\n")[0].partition(":")[0]) for kind, code in BLOCKS]
    assert [head for head in heads if head[0]] == [
        ("toml", "# cluster.toml"),
        ("nginx", "# nginx.conf"),  # tests/balancers from here on
        ("nginx", "# nodes.conf"),
        ("nginx", "# nodes.conf"),
        ("haproxy", "# haproxy.cfg"),
        ("haproxy", "# nodes.cfg"),
        ("haproxy", "# nodes.cfg"),
        ("toml", "# forwarding.toml"),
        ("nginx", "# round_robin.conf"),
        ("haproxy", "# round_robin.cfg"),
        ("yaml", "# nodes.yaml"),
        ("toml", "# tls.toml"),
        ("nginx", "# nodes.conf"),
        ("js", "// drain.mjs"),
        ("js", "// emit.mjs REDIS-URL"),
        ("python", "# emit.py REDIS-URL"),
    ]
    assert [code.split(" ")[:2] for kind, code in BLOCKS if not kind] == [
        ["TRIO_SOCKETIO__ENGINE__SID_PREFIX=aaaa", "trio-socketio"],
        ["(umask", "077"],
        ["ACL", "SETUSER"],  # tests/test_cli_redis.py
    ]


# --- a balancer that goes by nothing


@asynccontextmanager
async def relaying(targets: list[int]) -> AsyncIterator[int]:
    """Connect each client to the next target: sessions do not stick to their nodes.

    Args:
        targets: ports; the caller may change them.
    """
    turns = count()

    async def relay(client: trio.SocketStream) -> None:
        target = targets[next(turns) % len(targets)]
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with (
                client,
                await trio.open_tcp_stream("127.0.0.1", target) as server,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(pass_on, client, server, nursery.cancel_scope)
                await pass_on(server, client, nursery.cancel_scope)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as tasks:
        tasks.start_soon(trio.serve_listeners, relay, [listener])
        yield listener.socket.getsockname()[1]
        tasks.cancel_scope.cancel()


async def pass_on(
    source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some():
            await sink.send_all(data)
    scope.cancel()


async def ask(port: int, method: str, query: str, body: bytes = b"") -> Any:
    http = HttpClient(port)
    target = f"/socket.io/?EIO=4&transport=polling{query}"
    response = await http.request(method, target, [("Connection", "close")], body=body)
    await http.aclose()
    return response


@pytest.mark.req("OPS-47")
@pytest.mark.time_limit(120)
@trio_test
async def test_the_cluster_of_the_guide(tmp_path: Path, redis_server: RedisServer) -> None:
    """One after the other on the same three nodes, whose start takes longer than all of it."""
    async with open_scene(redis_server, tmp_path) as scene:
        await sessions_that_do_not_stick_are_refused_counted_and_logged(scene)
        await emitters_reach_all(scene, tmp_path)
        await clients_of_node_servers_are_moved_over(scene, tmp_path)
        for state in (  # those that take longer are tested by tests/balancers
            scene.have_no_memory,
            scene.take_right,
            scene.go_away,
            scene.come_back,
            scene.change_password,
        ):
            await scene.begin()
            await state()


async def sessions_that_do_not_stick_are_refused_counted_and_logged(scene: Scene) -> None:
    ports = scene.ports
    async with relaying([ports[3001], ports[3002], ports[3003]]) as port:
        opened = await ask(port, "GET", "")
        sid = json.loads(opened.text[1:])["sid"]
        assert sid.startswith(PREFIXES["a"])
        for _ in range(2):
            refused = await ask(port, "GET", f"&sid={sid}")
            assert refused.status == 400
            assert refused.text in TEXT
        assert (await ask(port, "POST", f"&sid={sid}", b"40")).text == "ok"  # a again
    assert f"tsio_requests_refused_total{FOREIGN}" in TEXT
    for admin, name in ((9002, "b"), (9003, "c")):
        metrics = (await get(ports[admin], "/metrics")).text
        assert f"tsio_requests_refused_total{FOREIGN} 1.0" in metrics
        await scene.wait_logged(name, "it belongs to another node, or to this one before a restart")
    assert "tsio_requests_refused_total{" not in (await get(ports[9001], "/metrics")).text


async def emitters_reach_all(scene: Scene, folder: Path) -> None:
    """Run both emitters of the guide."""
    (folder / "node_modules").symlink_to(MODULES)
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    programs = {
        "node": (node, "emit.mjs", block("js", "// emit.mjs")),
        "python": (sys.executable, "emit.py", block("python", "# emit.py")),
    }
    wanted = [["message", "lobby", name, "hello"] for name in programs]
    async with open_client(scene.ports[3001]) as ann, open_client(scene.ports[3003]) as bob:
        await join_lobby(ann)
        await join_lobby(bob)
        for interpreter, file, code in programs.values():
            (folder / file).write_text(code)
            await trio.run_process([interpreter, file, scene.server.tcp_url], cwd=folder)
        for client in (ann, bob):
            got: list[Any] = []
            while len(got) < 2:
                event = await client.receive_event()
                if event[-1] == "hello":
                    got.append(event)
            assert got == wanted


async def clients_of_node_servers_are_moved_over(scene: Scene, folder: Path) -> None:
    ports, url = scene.ports, scene.server.tcp_url
    drain = folder / "drain.mjs"
    drain.write_text(block("js", "// drain.mjs"))
    targets = [ports[4001], ports[4002]]
    async with (
        open_old_server(url, ports[4001], drain) as first,
        open_old_server(url, ports[4002], drain) as second,
        relaying(targets) as port,
        open_clients(port, 6, "websocket") as clients,
    ):
        assert not clients.on(PREFIXES["a"])
        await clients.talk("all are on Node")
        await clients.wait_numbers()
        targets[:] = [ports[3001]]
        for old in (first, second):
            await old.drain(0.2)
            staying = 3 if old is first else 0
            await clients.wait_lost(clients.count - staying)
            await clients.wait_joined()
            assert clients.count - len(clients.on(PREFIXES["a"])) == staying
            await clients.talk(f"{staying} have stayed")
        assert clients.reasons == {"transport close": 6}
        await clients.wait_numbers()
        for parts in clients.numbers.values():
            assert len(parts) == 2
            for part in parts:  # nothing of what was said while they were connected is missing
                assert part == [*range(part[0], part[-1] + 1)]
