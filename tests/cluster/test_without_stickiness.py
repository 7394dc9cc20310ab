"""Three nodes behind a balancer that sends every request to the next: official clients and ours.

`make balancers` does it with nginx and HAProxy, and `python -m tests.cluster.round_robin` counts.
"""

import signal
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cluster.official_clients import JSONP, drive, drive_all, named, short_row
from tests.cluster.plain_crowd import Crowd, open_crowd
from tests.cluster.three_nodes import PREFIXES, Nodes, open_nodes
from tests.interop.drivers import SERVE
from tests.interop.server_process import INTEROP_APP
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import open_client

BENCH_APP: Final = "tests/apps/bench_app.py"
CLIENT_S: Final = 20.0
WAYS: Final = (("polling",), ("websocket",), ("polling", "websocket"))
COUNT, ROOM_SIZE = 1000, 20
JOIN_S: Final = 30.0
TALK_S: Final = 10.0

ALL: Final = ("polling", "upgrade", "websocket")
ROWS: Final = (
    *(("socketio.Client", transport) for transport in ("polling", "upgrade")),
    ("socketio.AsyncClient", "websocket"),
    *(("socket.io-client", transport) for transport in ALL),
    *(("socket.io-client-3", transport) for transport in ("polling", "upgrade")),
    *(("socket.io-client-2", transport) for transport in ALL),
    *(("engine.io-client", transport) for transport in ("polling", "upgrade")),
    *(("engine.io-client-3", transport) for transport in ("polling", "upgrade")),
)


def assert_spread(nodes: Nodes) -> None:
    """Every request went to the next node, and none has failed inside of it."""
    counts = [target.requests for target in nodes.balancer.targets.values()]
    assert max(counts) - min(counts) <= 1
    assert not nodes.balancer.answers[502]
    for name in nodes.processes:
        assert "Traceback" not in nodes.log(name)


async def drive_our_own(nodes: Nodes) -> None:
    """Several clients of ours on each of the ways to connect: text, binary, acks, both ways."""

    async def be_client(transports: tuple[str, ...]) -> None:
        async with open_client(nodes.balancer.url, transports=transports) as client:

            @client.on("question")
            async def question(value: Any) -> Any:
                return ["answer", value], b"binary"

            await until(lambda: client.transport == transports[-1])
            for arguments in (["text", {"a": [True]}], [b"\0\1"], ["x" * 100_000, bytes(50_000)]):
                answer = await client.emit_with_ack("echo", *arguments)
                assert (list(answer) if len(arguments) > 1 else [answer]) == arguments
            answers: dict[int, int] = {}

            async def ask(number: int) -> None:
                answers[number] = await client.emit_with_ack("echo", number)

            async with trio.open_nursery() as asking:
                for number in range(20):
                    asking.start_soon(ask, number)
            assert answers == {number: number for number in range(20)}

    with trio.fail_after(CLIENT_S):
        async with trio.open_nursery() as nursery:
            for _ in range(len(PREFIXES) + 1):
                for transports in WAYS:
                    nursery.start_soon(be_client, transports)


@pytest.mark.req("FWD-01", "FWD-12", "FWD-13")
@pytest.mark.time_limit(120)
@trio_test
async def test_official_clients_and_ours(tmp_path: Path, shared_redis: RedisServer) -> None:
    serve = (*SERVE, "--allow-eio3")
    async with open_nodes(shared_redis, tmp_path, INTEROP_APP, *serve, cluster="1") as nodes:
        rows = [short_row(named(name), transport) for name, transport in ROWS]
        failures = await drive_all(nodes.balancer.url, [*rows, short_row(JSONP, "polling")])
        assert not failures, "\n".join(failures)
        await drive_our_own(nodes)
        assert_spread(nodes)


@pytest.mark.time_limit(60)
@trio_test
async def test_clients_that_speak_messagepack(tmp_path: Path, shared_redis: RedisServer) -> None:
    serve = (*SERVE, "--parser", "msgpack")
    async with open_nodes(shared_redis, tmp_path, INTEROP_APP, *serve, cluster="2") as nodes:
        row = short_row(named("msgpack"), "upgrade")
        assert not await drive(nodes.balancer.url, row)
        assert_spread(nodes)


def whom_it_hurts(crowd: Crowd, nodes: Nodes, name: str) -> tuple[set[int], set[int]]:
    """Those who have their session on a node, and those whose bytes go over it at present.

    A poll of the latter may be over before the node is.
    """
    over = nodes.balancer.sessions_over(name)
    sids = crowd.sids.items()
    return (
        {member.number for sid, member in sids if sid.startswith(PREFIXES[name])},
        {member.number for sid, member in sids if sid in over},
    )


def have_lost(crowd: Crowd) -> set[int]:
    return {member.number for member in crowd.members if member.lost}


def only_these_came_back(crowd: Crowd, hurt: tuple[set[int], set[int]]) -> None:
    """Nobody else was lost, and the first attempt of each to come back was let in."""
    of_the_node, over_it = hurt
    lost = have_lost(crowd)
    assert of_the_node <= lost <= of_the_node | over_it
    for member in crowd.members:
        assert member.lost == sum(member.reasons.values()) == (member.number in lost)


@pytest.mark.req("FWD-01", "FWD-21", "FWD-25", "FWD-30")
@pytest.mark.time_limit(120)
@trio_test
async def test_a_thousand_clients(tmp_path: Path, shared_redis: RedisServer) -> None:
    """They come, none is lost; then a node is killed, and another one drained."""
    serve = ("--allow-eio3", "--stop-window", "1")
    async with (
        open_nodes(shared_redis, tmp_path, BENCH_APP, *serve, cluster="3") as nodes,
        open_crowd(COUNT, ROOM_SIZE, nodes.balancer.port) as crowd,
    ):
        await crowd.wait_joined(JOIN_S)
        for prefix in PREFIXES.values():
            assert len([sid for sid in crowd.sids if sid.startswith(prefix)]) > COUNT / 5
        for _ in range(2):
            await crowd.talk(TALK_S)
        assert not crowd.reasons()

        hurt = whom_it_hurts(crowd, nodes, "a")
        assert COUNT / 3 < len(hurt[0] | hurt[1]) < COUNT * 3 / 4
        await nodes.end("a", signal.SIGKILL)
        await crowd.wait(lambda: have_lost(crowd) >= hurt[0], JOIN_S)
        await crowd.wait_joined(JOIN_S)
        await crowd.talk(TALK_S)
        only_these_came_back(crowd, hurt)
        assert not [sid for sid in crowd.sids if sid.startswith(PREFIXES["a"])]

        crowd.forget()
        hurt = whom_it_hurts(crowd, nodes, "b")
        await nodes.end("b", signal.SIGTERM)
        await crowd.wait_joined(JOIN_S)
        await crowd.talk(TALK_S)
        only_these_came_back(crowd, hurt)
