"""The guide about clusters is true: its files, commands and programs, and what it says of Redis.

What needs a load balancer is tested by `make balancers`, and so is what takes long.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cluster_guide import BLOCKS, PREFIXES, TEXT, Ports, block, join_lobby, open_nodes
from tests.redis_server import RedisServer
from tests.redis_states import open_scene
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
        ("nginx", "# nodes.conf"),
        ("js", "// drain.mjs"),
        ("js", "// emit.mjs REDIS-URL"),
        ("python", "# emit.py REDIS-URL"),
    ]
    assert [code.split(" ")[:2] for kind, code in BLOCKS if not kind] == [
        ["TRIO_SOCKETIO__ENGINE__SID_PREFIX=aaaa", "trio-socketio"],
        ["ACL", "SETUSER"],  # tests/test_cli_redis.py
    ]


# --- a balancer that goes by nothing


async def relay(ports: Iterator[int], client: trio.SocketStream) -> None:
    """Connect each client to the next port: sessions do not stick to their nodes."""
    async with client, await trio.open_tcp_stream("127.0.0.1", next(ports)) as server:
        await server.send_all(await client.receive_some())
        while data := await server.receive_some():
            await client.send_all(data)


async def ask(port: int, method: str, query: str, body: bytes = b"") -> Any:
    http = HttpClient(port)
    target = f"/socket.io/?EIO=4&transport=polling{query}"
    response = await http.request(method, target, [("Connection", "close")], body=body)
    await http.aclose()
    return response


@pytest.mark.req("OPS-47")
@trio_test
async def test_sessions_that_do_not_stick_are_refused_counted_and_logged(
    tmp_path: Path, shared_redis: RedisServer
) -> None:
    ports = Ports(shared_redis.port)
    async with open_nodes(tmp_path, ports) as nodes, trio.open_nursery() as tasks:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        turns = cycle([ports[3001], ports[3002], ports[3003]])
        tasks.start_soon(trio.serve_listeners, partial(relay, turns), [listener])
        port = listener.socket.getsockname()[1]
        opened = await ask(port, "GET", "")
        sid = json.loads(opened.text[1:])["sid"]
        assert sid.startswith(PREFIXES["a"])
        for _ in range(2):
            refused = await ask(port, "GET", f"&sid={sid}")
            assert refused.status == 400
            assert refused.text in TEXT
        assert (await ask(port, "POST", f"&sid={sid}", b"40")).text == "ok"  # a again
        for number, name in ((9002, "b"), (9003, "c")):
            assert "it belongs to another node" in await nodes[name].wait_logged("refused a")
            metrics = (await get(ports[number], "/metrics")).text
            assert f"tsio_requests_refused_total{FOREIGN} 1.0" in metrics
            assert f"tsio_requests_refused_total{FOREIGN}" in TEXT
        metrics = (await get(ports[9001], "/metrics")).text
        assert "tsio_requests_refused_total{" not in metrics
        await emitters_reach_all(tmp_path, ports)
        tasks.cancel_scope.cancel()


async def emitters_reach_all(folder: Path, ports: Ports) -> None:
    """Run both emitters of the guide."""
    (folder / "node_modules").symlink_to(MODULES)
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    programs = {
        "node": (node, "emit.mjs", block("js", "// emit.mjs")),
        "python": (sys.executable, "emit.py", block("python", "# emit.py")),
    }
    async with AsyncExitStack() as stack:
        clients = []
        for port in (3001, 3003):
            client = await stack.enter_async_context(open_client(ports[port]))
            await join_lobby(client)
            clients.append(client)
        for name, (interpreter, file, code) in programs.items():
            (folder / file).write_text(code)
            url = f"redis://127.0.0.1:{ports[6379]}"
            await trio.run_process([interpreter, file, url], cwd=folder)
            for client in clients:
                event = await client.receive_event()
                while event[0] != "message":  # that somebody has joined
                    event = await client.receive_event()
                assert event == ["message", "lobby", name, "hello"]


# --- Redis


@trio_test
async def test_what_the_guide_says_of_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    """What goes quickly; the other rows are tested by tests/balancers."""
    async with open_scene(redis_server, tmp_path) as scene:
        for state in (
            scene.have_no_memory,
            scene.take_right,
            scene.go_away,
            scene.come_back,
            scene.change_password,
        ):
            await scene.begin()
            await state()
