"""Three nodes behind a balancer that sends every request to the next: official clients and ours.

`make balancers` does it with nginx and HAProxy, and `python -m tests.cluster.round_robin` counts.
"""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cluster.plain_crowd import Crowd, open_crowd
from tests.cluster.three_nodes import PREFIXES, Nodes, open_nodes
from tests.interop.drivers import SERVE, driver_command
from tests.interop.matrix import Client, Family
from tests.interop.server_process import INTEROP_APP, ROOT
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import open_client

BENCH_APP: Final = "tests/apps/bench_app.py"
AT_ONCE: Final = 3
ROW_S: Final = 40.0
WAYS: Final = (("polling",), ("websocket",), ("polling", "websocket"))
COUNT, ROOM_SIZE = 1000, 20
JOIN_S: Final = 30.0
TALK_S: Final = 10.0

JAVASCRIPT: Final = (
    "text unicode binary large_text large_binary ack_from_server ack_many_at_once ack_from_client"
    " ack_from_client_binary gathered_acks order_of_a_burst order_of_a_burst_from_server"
    " order_while_connecting namespaces_two_at_once rooms_except_sender rooms_every_member"
    " rooms_own heartbeat disconnect_by_client disconnect_by_server_with_connection too_large"
)
FEATURES: Final = {
    Family.V5: f"{JAVASCRIPT} auth namespaces_leave_one refused",
    Family.V4: f"{JAVASCRIPT} legacy_mixed_room legacy_ids legacy_refused",
    Family.PYTHON: "text binary binary_from_server large_text order_of_a_burst ack_from_server"
    " ack_from_client gathered_acks namespaces auth refused rooms heartbeat disconnect_by_client"
    " disconnect_by_server_with_connection",
    Family.ENGINE: "engine_handshake engine_text engine_binary engine_while_upgrading"
    " engine_heartbeat engine_closed_by_client engine_closed_by_server engine_broken_packet",
}
ALL: Final = ("polling", "upgrade", "websocket")


@dataclass(frozen=True)
class Row:
    """An official client, and the transports on which it is driven."""

    client: Client
    transports: tuple[str, ...] = ALL


JSONP: Final = Client(
    "JSONP",
    Family.V4,
    ("socket.io-client-2",),
    loader="./jsonp.mjs",
    cannot={"too_large": "a page is not told of the status that a form was answered with"},
)
ROWS: Final = (
    Row(Client("socketio.Client", Family.PYTHON)),
    Row(Client("socketio.AsyncClient", Family.PYTHON), ("upgrade",)),
    Row(Client("socket.io-client", Family.V5)),
    Row(Client("socket.io-client-3", Family.V5), ("polling", "upgrade")),
    Row(Client("socket.io-client-2", Family.V4)),
    Row(JSONP, ("polling",)),
    Row(Client("engine.io-client", Family.ENGINE)),
    Row(Client("engine.io-client-3", Family.ENGINE)),
)
MSGPACK: Final = (
    Row(Client("msgpack", Family.V5, loader="./msgpack.mjs"), ("polling", "upgrade")),
)


async def drive(url: str, client: Client, transport: str) -> list[str]:
    """Run the scenarios of a client; return what has failed."""
    scenarios = [name for name in FEATURES[client.family].split() if name not in client.cannot]
    command = driver_command(client, url, scenarios, transport)
    errors = dict.fromkeys(scenarios, "not reported")
    with trio.move_on_after(ROW_S):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
        )
        for line in done.stdout.splitlines():
            said: dict[str, Any] = json.loads(line)
            errors[said["scenario"]] = said["error"]
    return [
        f"{client.name}, {transport}, {name}: {error}" for name, error in errors.items() if error
    ]


async def drive_all(nodes: Nodes, rows: tuple[Row, ...]) -> None:
    """Run all rows, a few at once; each node gets its part of the requests."""
    failures: list[str] = []
    lanes = trio.CapacityLimiter(AT_ONCE)

    async def run(client: Client, transport: str) -> None:
        async with lanes:
            failures.extend(await drive(nodes.balancer.url, client, transport))

    async with trio.open_nursery() as nursery:
        for row in rows:
            for transport in row.transports:
                nursery.start_soon(run, row.client, transport)
    assert not failures, "\n".join(failures)
    counts = [target.requests for target in nodes.balancer.targets.values()]
    assert max(counts) - min(counts) <= 1
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

    with trio.fail_after(ROW_S):
        async with trio.open_nursery() as nursery:
            for _ in range(len(PREFIXES) + 1):
                for transports in WAYS:
                    nursery.start_soon(be_client, transports)


@pytest.mark.time_limit(120)
@trio_test
async def test_official_clients_and_ours(tmp_path: Path, shared_redis: RedisServer) -> None:
    serve = (*SERVE, "--allow-eio3")
    async with open_nodes(shared_redis, tmp_path, INTEROP_APP, *serve, cluster="1") as nodes:
        await drive_all(nodes, ROWS)
        await drive_our_own(nodes)
        assert not nodes.balancer.answers[502]


@pytest.mark.time_limit(60)
@trio_test
async def test_clients_that_speak_messagepack(tmp_path: Path, shared_redis: RedisServer) -> None:
    serve = (*SERVE, "--parser", "msgpack")
    async with open_nodes(shared_redis, tmp_path, INTEROP_APP, *serve, cluster="2") as nodes:
        await drive_all(nodes, MSGPACK)
        assert not nodes.balancer.answers[502]


def whom_it_hurts(crowd: Crowd, nodes: Nodes, name: str) -> set[int]:
    """Those who have their session on a node, and those whose bytes go over it at present."""
    over = nodes.balancer.sessions_over(name)
    return {
        member.number
        for sid, member in crowd.sids.items()
        if sid.startswith(PREFIXES[name]) or sid in over
    }


def have_lost(crowd: Crowd) -> set[int]:
    return {member.number for member in crowd.members if member.lost}


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
        for _ in range(3):
            await crowd.talk(TALK_S)
        assert not crowd.reasons()

        hurt = whom_it_hurts(crowd, nodes, "a")
        assert COUNT / 3 < len(hurt) < COUNT * 3 / 4
        nodes.processes["a"].process.kill()
        await crowd.wait(lambda: have_lost(crowd) >= hurt, JOIN_S)
        await crowd.wait_joined(JOIN_S)
        await crowd.talk(TALK_S)
        assert have_lost(crowd) == hurt
        assert {member.lost for member in crowd.members} == {0, 1}
        assert not [sid for sid in crowd.sids if sid.startswith(PREFIXES["a"])]

        crowd.forget()
        answers = nodes.balancer.answers.copy()
        drained = nodes.processes["b"]
        nodes.balancer.targets["b"].is_down = True  # what asks for /readyz notices in time
        hurt = whom_it_hurts(crowd, nodes, "b")
        drained.process.send_signal(signal.SIGTERM)
        await drained.process.wait()
        await crowd.wait_joined(JOIN_S)
        await crowd.talk(TALK_S)
        assert have_lost(crowd) == hurt
        assert {member.lost for member in crowd.members} == {0, 1}
        assert nodes.balancer.answers[502] == answers[502]
