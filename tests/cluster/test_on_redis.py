"""Nodes in processes of their own on a real Redis: control from any of them, and one that dies."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from tests import wire
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio.control import BackendEvent, Control, open_control
from trio_socketio.control.spreading import NODES_S
from trio_socketio.protocol.nodes import INTERVAL_S, SILENCE_S

MARGIN_S = 1.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A node that serves."""

    process: "subprocess.Popen[bytes]"
    port: int
    control: Control


@contextmanager
def processes(redis: RedisServer, *names: str) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """Start nodes, and kill them at the end."""
    begun: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            arguments = [redis.url, name, str(redis.folder / f"{name}.sock")]
            command = [sys.executable, "-m", "tests.cluster.node_process", *arguments]
            begun[name] = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        yield begun
    finally:
        for process in begun.values():
            with process:
                process.kill()


async def read_port(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None
    with trio.fail_after(30):
        line = await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
    port: int = json.loads(line)["port"]
    return port


@pytest.mark.req("NODE-20", "NODE-31", "NODE-40", "NODE-44", "NODE-45", "NODE-48")
@trio_test
async def test_three_processes_are_one_server(shared_redis: RedisServer) -> None:
    with processes(shared_redis, "a", "b", "c") as begun:
        async with AsyncExitStack() as stack:
            nodes: dict[str, Running] = {}
            for name, process in begun.items():
                port = await read_port(process)
                path = shared_redis.folder / f"{name}.sock"
                control = await stack.enter_async_context(open_control(f"unix:{path}"))
                nodes[name] = Running(process, port, control)
            await work(stack, nodes)


async def work(stack: AsyncExitStack, nodes: dict[str, Running]) -> None:
    clients: dict[str, wire.SocketIOClient] = {}
    ids: dict[str, str] = {}
    for name, one in nodes.items():
        clients[name] = await stack.enter_async_context(wire.open_client(one.port))
        ids[name] = await clients[name].connect("/")
    a, b, c = (nodes[name].control for name in "abc")

    listed = (await a.call("system.nodes"))["nodes"]
    assert [one["name"] for one in listed] == ["a", "b", "c"]
    assert [one["pid"] for one in listed] == [nodes[name].process.pid for name in "abc"]

    joined = await a.call("rooms.join", {"rooms": ["r"], "sockets": [ids["b"], ids["c"]]})
    assert joined == {"done": 2, "missing": {}, "nodes": {"a": 0, "b": 1, "c": 1}}
    for control in (a, b):
        sent = await control.call("emit", {"event": "e", "args": [1, b"\0"], "rooms": ["r"]})
        assert sent == {"reached": 2, "missing": {}, "nodes": {"a": 0, "b": 1, "c": 1}}
    for name in "bc":
        for _ in range(2):
            assert await clients[name].receive() == (
                '51-["e",1,{"_placeholder":true,"num":0}]',
                [b"\0"],
            )
    assert (await c.call("sockets.get", {"socket": ids["a"]}))["node"] == "a"

    async def reply(name: str) -> None:
        text, _ = await clients[name].receive()
        number = text[1 : text.index("[")]
        await clients[name].send(f'3{number}["{name}"]')

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(reply, name)
        asked = await b.call("emit_with_ack", {"event": "q", "all": True, "timeout_s": 5})
    assert asked["asked"] == 3
    assert {one["socket"]: one["answer"] for one in asked["answers"]} == {
        ids[name]: name for name in "abc"
    }
    assert asked["unanswered"] == []

    async def handle(event: BackendEvent) -> Any:
        return [event.event, event.args]

    await c.register(handle)
    await c.call("rooms.list")  # which the others answer after they have heard of the backend
    await clients["a"].emit("order", 7, ack_id=5)
    assert (await clients["a"].receive())[0] == '35[["order",[7]]]'

    await check_death(nodes, a)


async def check_death(nodes: dict[str, Running], a: Control) -> None:
    nodes["b"].process.kill()
    killed_at = time.monotonic()
    sent = await a.call("emit", {"event": "e", "all": True})
    assert time.monotonic() - killed_at < NODES_S + MARGIN_S
    assert sent == {"reached": 2, "missing": {"nodes": ["b"]}, "nodes": {"a": 1, "c": 1}}
    while "b" in [one["name"] for one in (await a.call("system.nodes"))["nodes"]]:
        assert time.monotonic() - killed_at < SILENCE_S + INTERVAL_S + MARGIN_S
        await trio.sleep(0.05)
    asked_at = time.monotonic()
    sent = await a.call("emit", {"event": "e", "all": True})  # it may only stand still (NODE-23)
    assert time.monotonic() - asked_at < MARGIN_S
    assert sent == {"reached": 2, "missing": {"nodes": ["b"]}, "nodes": {"a": 1, "c": 1}}
