"""Control from one of our nodes reaches the clients of Node, too, once, and counts its servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from tests.cluster.cluster import Node
from tests.control.serving import FakeSystem
from tests.interop.redis_cluster import node_process
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import (
    Client,
    ClientOptions,
    RedisPubSub,
    Server,
    open_client,
    open_redis,
    open_server,
)
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService

KEY = "control"


@asynccontextmanager
async def our_node(redis_server: RedisServer, name: str) -> AsyncIterator[tuple[Node, int]]:
    async with open_redis(redis_server.url) as redis, trio.open_nursery() as nursery:
        server = Server(adapter=RedisPubSub(redis, key=KEY))
        nodes = ClusterNodes(redis, server, name, prefix="control")
        service = ControlService(server, FakeSystem(), ControlOptions(), nodes=nodes)
        await nursery.start(nodes.run)
        async with open_server(server, port=0) as addresses:
            yield Node(name, redis, server, nodes, service), addresses[0][1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def visitor(port: int, name: str, got: list[Any]) -> AsyncIterator[Client]:
    options = ClientOptions(reconnect=False)
    async with open_client(f"http://127.0.0.1:{port}", options=options) as client:

        @client.on("news")
        def news(*arguments: Any) -> None:
            got.append((name, *arguments))

        @client.on("question")
        def question() -> str:
            return name

        yield client


@pytest.mark.req("NODE-40", "NODE-41", "NODE-42", "NODE-44")
@trio_test
async def test_control_reaches_the_clients_of_node(shared_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        theirs = await enter(node_process(shared_redis, KEY, "n"))
        a, a_port = await enter(our_node(shared_redis, "a"))
        b, b_port = await enter(our_node(shared_redis, "b"))
        got: list[Any] = []
        for name, port in (("a", a_port), ("b", b_port), ("n", theirs.port)):
            await enter(visitor(port, name, got))
        with trio.fail_after(10):
            while not (a.nodes.others() and b.nodes.others()):
                await trio.sleep(0.01)
            listed = await a.call("system.nodes")
            assert [one["name"] for one in listed["nodes"]] == ["a", "b"]
            for number in range(10):
                sent = await a.call("emit", event="news", args=[number, {"é": 1.5}], all=True)
                assert sent == {
                    "nodes": {"a": 1, "b": 1},
                    "reached": 2,
                    "missing": {},
                    "unknown": 1,
                }
            asked = await b.call("emit_with_ack", event="question", all=True, timeout_s=5)
            assert (asked["asked"], asked["unknown"], asked["unanswered"]) == (2, 1, [])
            assert sorted(one["answer"] for one in asked["answers"]) == ["a", "b", "n"]
            assert [one["answer"] for one in asked["answers"] if not one["socket"]] == ["n"]
        for name in "abn":
            told = [rest for who, *rest in got if who == name]
            assert told == [[number, {"é": 1.5}] for number in range(10)]
