"""The guide about presence over nodes is true: its file, commands, program and settings."""

import signal
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.cluster_guide import Ports
from tests.interop.server_process import free_port
from tests.presence_scene import (
    BLOCKS,
    LEASE_S,
    ROWS,
    TOKEN,
    USERS,
    Scene,
    block,
    open_node,
    open_scene,
)
from tests.redis_server import RedisServer, running_redis
from tests.socketio.serving import until
from tests.test_cli_redis import ready
from tests.wire import ConnectionEnded, open_client
from trio_socketio.control import follow_presence

CHAT: Final = "/chat"
REPLACED: Final = ["session/replaced", {"reason": "replaced"}]


def test_every_block_is_run() -> None:
    assert [(kind, code.partition("\n")[0].partition(":")[0]) for kind, code in BLOCKS] == [
        ("toml", "# im.toml"),
        ("", "trio-socketio serve --config im.toml --port 3001 --node a --admin 127.0.0.1"),
        ("redis", "# redis.conf"),
        ("python", "# nodes.py REDIS-URL NAME PORT"),
    ]
    assert len(ROWS) == 9


def settings() -> list[list[str]]:
    """The settings of Redis that the guide names."""
    return [line.split() for line in block("redis").splitlines() if not line.startswith("#")]


@pytest.mark.req("CLUS-07", "CLUS-09", "CLUS-14", "CLUS-15", "CLUS-16")
@pytest.mark.time_limit(90)
@trio_test
async def test_the_nodes_of_the_guide(tmp_path: Path) -> None:
    """One after the other on the same two nodes, whose start takes long."""
    options = [part for name, *values in settings() for part in (f"--{name}", *values)]
    with running_redis(*options) as server:
        for name, value in settings():
            assert server.command("CONFIG", "GET", name) == {name.encode(): value.encode()}
        async with open_scene(server, tmp_path) as scene:
            await a_user_has_one_seat_on_all_nodes(scene)
            for state in (
                a_user_is_revoked_on_all_nodes,
                backends_of_a_group_share_one_log,
                data_is_lost,
                memory_is_full,
                it_is_a_replica,
                keys_are_foreign,
                a_namespace_is_foreign,
                a_node_stands_still,
                a_node_stops,
            ):
                await scene.begin()
                await state(scene)
                await scene.wait_ready("a")


async def a_user_has_one_seat_on_all_nodes(scene: Scene) -> None:
    async with open_client(scene.port["a"]) as old, open_client(scene.port["b"]) as new:
        await old.connect(CHAT, TOKEN)
        assert [await scene.count(name) for name in scene.nodes] == [1, 1]
        await new.connect(CHAT, TOKEN)
        assert await old.receive_event(CHAT) == REPLACED
        assert await old.receive() == ("1/chat,", [])
        found = await scene.call("a", "presence.get", {"namespace": CHAT, "users": ["ann"]})
        assert [seat["node"] for seat in found["users"][0]["seats"]] == ["b"]
    await scene.wait_online(0)
    info = await scene.call("a", "system.info", {})
    assert info["presence_fault"] == ""
    assert 0 < info["lease_left_s"] < LEASE_S


async def a_user_is_revoked_on_all_nodes(scene: Scene) -> None:
    async with open_client(scene.port["b"]) as client:
        await client.connect(CHAT, TOKEN)
        done = await scene.call("a", "auth.revoke", {"user": "ann"})
        assert done["done"] == 1
        await scene.wait_online(0)
    await scene.call("b", "auth.unrevoke", {"user": "ann"})


async def backends_of_a_group_share_one_log(scene: Scene) -> None:
    """Of two members, on two nodes, one gets everything."""
    got: dict[str, list[str]] = {name: [] for name in scene.nodes}

    async def follow(
        name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with follow_presence(CHAT, scene.control(name), group="shop") as batches:
            async for batch in batches:
                got[name] += [entry["type"] for entry in batch.entries]
                if batch.online is not None:
                    task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(follow, "a")
        nursery.start_soon(follow, "b")
        for port in scene.port.values():
            async with open_client(port) as client:
                await client.connect(CHAT, TOKEN)
            await scene.wait_online(0)
        await until(lambda: sum(map(len, got.values())) >= 4)
        nursery.cancel_scope.cancel()
    assert sorted(got.values()) == [[], ["online", "offline"] * 2]


async def data_is_lost(scene: Scene) -> None:
    """Nobody is put out, and all nodes know again who is there."""
    async with open_client(scene.port["a"]) as client:
        await client.connect(CHAT, TOKEN)
        await scene.begin()
        scene.server.command("FLUSHALL")
        await scene.check("a", "Redis has lost data")
        await scene.wait_online(1)
        assert await scene.count("b") == 1
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
            await client.receive()
    await scene.wait_online(0)


async def memory_is_full(scene: Scene) -> None:
    scene.server.command("CONFIG", "SET", "maxmemory", "1")
    await scene.check("a", "Redis has no memory left")
    scene.server.command("CONFIG", "SET", "maxmemory", "0")


async def it_is_a_replica(scene: Scene) -> None:
    scene.server.command("REPLICAOF", "127.0.0.1", free_port())
    await scene.check("a", "Redis is a replica")
    scene.server.command("REPLICAOF", "NO", "ONE")


async def keys_are_foreign(scene: Scene) -> None:
    kept = scene.server.command("DUMP", "tsio:{presence#0}:dead")
    scene.server.command("SET", "tsio:{presence#0}:dead", "not ours")
    await scene.check("a", "keys of others have our prefix")
    assert scene.server.command("GET", "tsio:{presence#0}:dead") == b"not ours"
    scene.server.command("DEL", "tsio:{presence#0}:dead")
    if kept is not None:
        scene.server.command("RESTORE", "tsio:{presence#0}:dead", 0, kept)


async def a_namespace_is_foreign(scene: Scene) -> None:
    """Its clients find no seat; the node is ready for those of others."""
    kept = scene.server.command("DUMP", USERS)
    scene.server.command("SET", USERS, "not ours")
    async with open_client(scene.port["a"]) as client:
        with pytest.raises(ConnectionEnded, match="1012"):
            await client.connect(CHAT, TOKEN)
    await scene.check("a", "keys of others are in the place of one namespace")
    scene.server.command("DEL", USERS)
    if kept is not None:
        scene.server.command("RESTORE", USERS, 0, kept)


async def a_node_stands_still(scene: Scene) -> None:
    """The others end the seats of its users; it ends their connections when it goes on."""
    async with open_client(scene.port["b"]) as client:
        await client.connect(CHAT, TOKEN)
        assert await scene.count("a") == 1
        process = scene.nodes["b"].process
        process.send_signal(signal.SIGSTOP)
        try:
            await scene.wait_online(0)
            await scene.check("a", "a node is lost")
        finally:
            process.send_signal(signal.SIGCONT)
        with pytest.raises(ConnectionEnded) as ended:
            await client.receive()
        assert ended.value.code == 1012
    await scene.check("b", "the lease of this node has ended")


async def a_node_stops(scene: Scene) -> None:
    """Everybody can read that its users are offline when it has gone (PRES-65)."""
    async with open_client(scene.port["b"]) as client:
        await client.connect(CHAT, TOKEN)
        assert scene.online() == 1
        scene.nodes["b"].process.send_signal(signal.SIGTERM)
        assert await scene.nodes["b"].process.wait() == 0
        assert scene.online() == 0
        assert await scene.count("a") == 0


@pytest.mark.req("CLUS-10", "CLUS-12")
@pytest.mark.time_limit(60)
@trio_test
async def test_a_node_waits_until_redis_can_keep_presence(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    command = block("", "trio-socketio serve").splitlines()[0]
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    redis_server.command("SET", "tsio:{presence#0}:leases", "not ours")
    async with open_node(command, tmp_path, ports) as node:
        (logs, answers, _) = ROWS["Redis may throw keys away"]
        await node.wait_logged(logs[0])
        assert answers[0] in await ready(ports[9001], answers[0])
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await ready(ports[9001], "a key of Redis is not ours")
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.3):
            async with open_client(ports[3001]):
                pass
        redis_server.command("DEL", "tsio:{presence#0}:leases")
        await node.wait_port()
        await ready(ports[9001])
        assert await node.end() == 0


@pytest.mark.req("CLUS-03", "CLUS-10")
@pytest.mark.time_limit(60)
@trio_test
async def test_a_node_that_waits_for_a_lease_can_be_stopped(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    command = block("", "trio-socketio serve").splitlines()[0]
    redis_server.command("SET", "tsio:{presence#0}:leases", "not ours")
    async with open_node(command, tmp_path, Ports(redis_server.port)) as node:
        await node.wait_logged("gets no lease")
        assert await node.end() == 0


APP: Final = """
import logging
from trio_socketio import Joining, JoiningState, Server, Step
from trio_socketio.im.presence import Presence

def identify(joining: Joining) -> None:
    joining.identify(joining.auth["user"])

sio = Server()
presence = Presence(sio{store})
presence.seat("/chat")
sio.of("/chat").add_steps([Step(JoiningState.AUTHENTICATING, identify)])
"""
PER_NODE: Final = "users are per node, because presence is kept in its memory"


@pytest.mark.req("PRES-88", "CLUS-08", "CLUS-09")
@pytest.mark.time_limit(60)
@pytest.mark.parametrize(
    ("store", "option", "advice"),
    [
        ("", "", ""),
        ("", "memory", "leave out [presence] store"),
        (
            ", __import__('trio_socketio.im.presence').im.presence.MemoryStore()",
            "",
            "have the app make its Presence without a store",
        ),
    ],
)
@trio_test
async def test_the_presence_of_an_app_is_that_of_all_nodes(
    tmp_path: Path, shared_redis: RedisServer, store: str, option: str, advice: str
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("{store}", store))
    variables = {"TRIO_SOCKETIO__PRESENCE__STORE": option} if option else {}
    shared_redis.command("DEL", USERS)
    arguments = ("--app", f"{tmp_path}/app.py", "--redis", shared_redis.tcp_url, "--node", "app")
    async with serving(*arguments, variables=variables) as node:
        port = await node.wait_port()
        async with open_client(port) as client:
            await client.connect(CHAT, {"user": "ann"})
            assert shared_redis.command("HLEN", USERS) == (not advice)
        assert await node.end() == 0
    told = [line for line in node.log if PER_NODE in line]
    assert [advice in line for line in told] == [True] * bool(advice)


@pytest.mark.req("CLUS-08")
@trio_test
async def test_the_lobby_is_for_one_process(shared_redis: RedisServer) -> None:
    async with serving("--redis", shared_redis.tcp_url, "--node", "lobby") as node:
        told = await node.wait_logged(PER_NODE)
        assert told.endswith("serve an app (--app) or set [identity]: the lobby is for one process")
        assert await node.end() == 0


@pytest.mark.req("CLUS-16")
@pytest.mark.time_limit(60)
@trio_test
async def test_the_program_of_the_guide(tmp_path: Path, redis_server: RedisServer) -> None:
    program = tmp_path / "nodes.py"
    program.write_text(block("python"))
    ports = {name: free_port() for name in ("a", "b")}

    async def run(name: str, *, task_status: trio.TaskStatus[trio.Process]) -> None:
        command = [sys.executable, str(program), redis_server.tcp_url, name, str(ports[name])]
        await trio.run_process(command, check=False, task_status=task_status)

    async with trio.open_nursery() as nursery:
        for name in ports:
            await nursery.start(run, name)
        async with await open_soon(ports["a"]) as old, await open_soon(ports["b"]) as new:
            await old.connect(CHAT, {"user": "ann"})
            await new.connect(CHAT, {"user": "ann"})
            assert await old.receive_event(CHAT) == REPLACED
        nursery.cancel_scope.cancel()


async def open_soon(port: int) -> Any:
    """Open a client as soon as somebody listens."""
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.05)
        else:
            return open_client(port)


BLOCKS_IT: Final = """
import time

@sio.of("/chat").on("block")
def block(socket):
    time.sleep(2.5)
"""


@pytest.mark.req("CLUS-14")
@pytest.mark.time_limit(60)
@trio_test
async def test_the_log_names_a_handler_that_has_cost_the_lease(
    tmp_path: Path, shared_redis: RedisServer
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("{store}", "") + BLOCKS_IT)
    arguments = ("--app", f"{tmp_path}/app.py", "--redis", shared_redis.tcp_url, "--node", "block")
    # Under a prefix of its own: nodes of other tests may have had longer leases, which have to end
    # before a node with another lease can start.
    variables = {
        "TRIO_SOCKETIO__PRESENCE__LEASE_S": "2",
        "TRIO_SOCKETIO__REDIS__PREFIX": "block",
    }
    async with serving(*arguments, variables=variables) as node:
        port = await node.wait_port()
        async with open_client(port) as client:
            await client.connect(CHAT, {"user": "ann"})
            await client.emit("block", namespace=CHAT, ack_id=1)
            with pytest.raises(ConnectionEnded) as ended:
                await client.receive()  # the acknowledgement is not sent
            assert ended.value.code == 1012
        line = await node.wait_logged("its lease was not renewed for")
        assert "'block'" in line
        assert await node.end() == 0
