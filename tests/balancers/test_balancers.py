"""Three nodes behind nginx and HAProxy, with the files of the guide and official clients."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio
from tests.balancers.balancing import BALANCERS, KINDS, WAYS, open_balancer, open_clients
from tests.cluster_guide import PREFIXES, Ports, open_node, open_nodes
from tests.redis_server import RedisServer
from tests.test_cli_services import get
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


@each_balancer
@each_way
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
        print(balancer, way, clients.reasons, await refused(ports, "b", "c"))

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
        for name in (9001, 9002, 9003):
            while (await get(ports[name], "/readyz")).status == 200:
                await trio.sleep(0.05)
        await trio.sleep(4)  # HAProxy takes a node for down after three checks
        async with open_clients(ports[3000], 1, *KINDS) as newcomers:
            assert not newcomers.reasons
        assert not clients.lost
        await trio.to_thread.run_sync(redis_server.start)
        for name in (9001, 9002, 9003):
            while (await get(ports[name], "/readyz")).status != 200:
                await trio.sleep(0.05)
        await clients.talk("Redis is back")
        assert not clients.lost
        assert not await refused(ports, *PREFIXES)


@trio_test
async def test_haproxy_sends_no_newcomers_to_a_node_that_drains(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    async with (
        open_nodes(tmp_path, ports),
        open_balancer("haproxy", "prefix", tmp_path, ports),
    ):
        pass
