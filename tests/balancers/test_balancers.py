"""Three nodes behind nginx and HAProxy, with the files of the guide and official clients."""

import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio
from tests.balancers.balancing import BALANCERS, KINDS, WAYS, open_balancer
from tests.cli_process import ServingProcess
from tests.cluster_guide import PREFIXES, Ports, block, blocks, open_node, open_nodes
from tests.interop.lobby_clients import open_clients
from tests.interop.old_server import open_old_server
from tests.redis_server import RedisServer
from tests.test_cli_services import get
from tests.wire import HttpClient
from trio.testing import trio_test

EACH = 4  # of each kind of client: more than there are nodes
FOREIGN = "session of another node"

each_balancer = pytest.mark.parametrize("balancer", BALANCERS)
each_way = pytest.mark.parametrize("way", WAYS)


async def refused(ports: Ports, *names: str) -> Counter[str]:
    """How many requests these nodes have refused, by reason."""
    counts: Counter[str] = Counter()
    for name in names:
        metrics = await get(ports[9001 + list(PREFIXES).index(name)], "/metrics")
        found = re.findall(
            r'^tsio_requests_refused_total\{reason="(.*)"\} (.*)$', metrics.text, re.MULTILINE
        )
        counts.update({reason: int(float(count)) for reason, count in found})
    return counts


async def nodes_know_the_client(ports: Ports, nodes: dict[str, ServingProcess]) -> None:
    """As far as the proxies of the client's own network tell who that is."""
    http = HttpClient(ports[3000])
    headers = [("X-Forwarded-For", "203.0.113.9")]
    opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling", headers)
    await http.aclose()
    sid = json.loads(opened.text[1:])["sid"]
    (node,) = [nodes[name] for name, prefix in PREFIXES.items() if sid.startswith(prefix)]
    await node.wait_logged("opened: polling from 203.0.113.9")


async def wait_answered(ports: Ports, status: int) -> None:
    """Wait until all nodes answer /readyz with a status."""
    for admin in (9001, 9002, 9003):
        await until_answered(ports[admin], status)


async def until_answered(admin: int, status: int) -> None:
    with trio.fail_after(10):
        while True:
            if (await get(admin, "/readyz")).status == status:
                return
            await trio.sleep(0.05)


@each_balancer
@each_way
@pytest.mark.time_limit(120)
@trio_test
async def test_clients_keep_their_nodes_and_find_others_when_one_is_killed(
    balancer: str, way: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    async with (
        open_nodes(tmp_path, ports) as nodes,
        open_balancer(balancer, way, tmp_path, ports),
        open_clients(ports[3000], EACH, *KINDS) as clients,
    ):
        for client, place in clients.at.items():
            assert place.transport == ("polling" if client < EACH else "websocket")
        assert {place.prefix for place in clients.at.values()} == {*PREFIXES.values()}
        for number in range(10):
            await clients.talk(f"round {number}")
        assert not clients.lost
        assert not clients.reasons
        assert not await refused(ports, *PREFIXES)
        await nodes_know_the_client(ports, nodes)

        orphans, others = clients.on("aaaa"), clients.on("bbbb") | clients.on("cccc")
        assert orphans
        assert others
        nodes["a"].process.send_signal(signal.SIGKILL)
        await clients.wait(lambda: {*clients.lost} >= orphans)
        await clients.wait_joined()
        assert {*clients.lost} == orphans
        assert not clients.on("aaaa")
        await clients.talk("without a")
        for number in range(3):
            await clients.talk(f"round {number} without a")
        assert {*clients.lost.values()} == {1}
        assert {*await refused(ports, "b", "c")} <= {FOREIGN}

        # A node that has come back gets clients again.
        async with open_node("a", tmp_path, ports) as node:
            await node.wait_port()
            with trio.fail_after(15):
                while True:
                    async with open_clients(ports[3000], 3, "polling") as newcomers:
                        if newcomers.on("aaaa"):
                            break
                    await trio.sleep(0.2)


@each_balancer
@pytest.mark.time_limit(120)
@trio_test
async def test_clients_are_let_in_while_redis_is_away(
    balancer: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    async with (
        open_nodes(tmp_path, ports),
        open_balancer(balancer, "prefix", tmp_path, ports),
        open_clients(ports[3000], EACH, *KINDS) as clients,
    ):
        redis_server.stop()
        await wait_answered(ports, 503)
        await trio.sleep(4)  # HAProxy takes a node for down after three checks
        async with open_clients(ports[3000], 1, *KINDS) as newcomers:
            assert not newcomers.reasons
        assert not clients.lost
        await trio.to_thread.run_sync(redis_server.start)
        await wait_answered(ports, 200)
        await clients.talk("Redis is back")
        assert not clients.lost
        assert not await refused(ports, *PREFIXES)


@pytest.mark.time_limit(120)
@trio_test
async def test_haproxy_sends_no_newcomers_to_a_node_that_drains(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    delay = {"TRIO_SOCKETIO__STOP__DELAY_S": "10"}
    async with (
        open_node("a", tmp_path, ports, **delay) as node,
        open_node("b", tmp_path, ports) as other,
        open_node("c", tmp_path, ports) as third,
    ):
        for one in (node, other, third):
            await one.wait_port()
        async with (
            open_balancer("haproxy", "prefix", tmp_path, ports),
            open_clients(ports[3000], EACH, *KINDS) as clients,
        ):
            orphans = clients.on(PREFIXES["a"])
            assert orphans
            node.process.send_signal(signal.SIGTERM)
            await until_answered(ports[9001], 503)
            await trio.sleep(4)  # three checks
            async with open_clients(ports[3000], 6, "polling") as newcomers:
                assert not newcomers.on(PREFIXES["a"])
                await newcomers.talk("we are elsewhere")
            await clients.talk("those that it has stay")
            assert not clients.lost
            await clients.wait(lambda: {*clients.lost} == orphans)
            await clients.wait_joined()
            assert not clients.on(PREFIXES["a"])


OLD_NODES = """
map $arg_sid $node { default old; }
upstream old { ip_hash; server 127.0.0.1:4001; server 127.0.0.1:4002; }
"""


@pytest.mark.time_limit(120)
@trio_test
async def test_a_node_cluster_is_moved_over_behind_nginx(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    drain = tmp_path / "drain.mjs"
    drain.write_text(block("js", "// drain.mjs"))
    (old,) = blocks("nginx", "default old;")
    async with (
        open_old_server(redis_server.tcp_url, ports[4001], drain) as first,
        open_old_server(redis_server.tcp_url, ports[4002], drain) as second,
        open_nodes(tmp_path, ports),
        open_balancer("nginx", "prefix", tmp_path, ports, nodes=OLD_NODES) as nginx,
        open_clients(ports[3000], EACH, *KINDS) as clients,
    ):
        assert not {place.prefix for place in clients.at.values()} & {*PREFIXES.values()}
        await clients.talk("all are on Node")
        (tmp_path / "nodes.conf").write_text(ports.put_into(old))
        nginx.send_signal(signal.SIGHUP)
        with trio.fail_after(10):
            while True:
                async with open_clients(ports[3000], 3, "polling") as newcomers:
                    if all(newcomers.on(prefix) for prefix in PREFIXES.values()):
                        break
        await clients.talk("the old ones stay where they are")
        assert not clients.lost
        await first.drain(0.5)
        await second.drain(0.5)
        await clients.wait_lost(clients.count)
        await clients.wait_joined()
        assert {place.prefix for place in clients.at.values()} == {*PREFIXES.values()}
        await clients.talk("none is on Node")
        assert {*clients.lost.values()} == {1}
        assert not await refused(ports, *PREFIXES)
