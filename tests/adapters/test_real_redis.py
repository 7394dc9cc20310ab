"""Our nodes on a real Redis that goes away, comes back, and stands still."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio
from tests.redis_server import RedisServer
from tests.socketio.in_process import enter, session_of
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import Redis, RedisPubSub, Server, Socket, open_redis


class RealNode:
    """A server of ours with a connection of its own."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.pubsub = RedisPubSub(redis, request_timeout_s=1)
        self.server = Server(adapter=self.pubsub)

    async def enter(self, name: str = "/") -> Socket:
        """Start a namespace, as serving does, and have a client join it."""
        namespace = self.server.of(name)
        await namespace._adapter_life.start(10)
        return enter(namespace)


@asynccontextmanager
async def real_nodes(redis: RedisServer, count: int) -> AsyncIterator[list[RealNode]]:
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(open_redis(redis.url)) for _ in range(count)]
        yield [RealNode(connection) for connection in connections]


def texts(socket: Socket) -> list[bytes]:
    return [packet.text for packet in session_of(socket).sent]


def numbers(socket: Socket) -> list[int]:
    return [int(text[7:-1]) for text in texts(socket) if text.startswith(b'42["n",')]


@pytest.mark.req("BUS-20", "BUS-22", "BUS-24")
@trio_test
async def test_redis_goes_away_and_comes_back(redis_server: RedisServer) -> None:
    async with real_nodes(redis_server, 2) as (here, there):
        mine, theirs = await here.enter(), await there.enter()
        for number in range(100):
            here.server.emit("n", number)
        await until(lambda: len(numbers(theirs)) == 100)

        redis_server.stop()
        await until(lambda: not (here.redis.connected or there.redis.connected))
        for number in range(100, 200):
            here.server.emit("n", number)
        assert numbers(mine) == [*range(200)], "local delivery does not wait"
        with trio.fail_after(1):
            early = await here.enter("/new")
        here.server.of("/new").emit("x")
        assert texts(early) == [b'42/new,["x"]']

        redis_server.start()
        began = trio.current_time()
        await until(lambda: here.redis.connected and there.redis.connected)
        late = await there.enter("/new")
        here.server.of("/new").emit("y")
        await until(lambda: texts(late) == [b'42/new,["y"]'])
        there.server.of("/new").emit("z")
        await until(lambda: texts(early)[-1] == b'42/new,["z"]')
        assert trio.current_time() - began < 3, "all is well soon after Redis is back"
        here.server.emit("n", 200)
        await until(lambda: numbers(theirs)[-1] == 200)
        assert all(former < later for former, later in pairwise(numbers(theirs)))
        assert {one.id for one in await here.server.fetch_sockets()} == {mine.id, theirs.id}
        counts = here.pubsub.statistics()
        assert counts.unpublished == 101
        assert counts.unheard_starts == 1
        assert counts.gaps >= 1


@pytest.mark.req("BUS-22")
@trio_test
async def test_redis_stands_still(redis_server: RedisServer) -> None:
    async with real_nodes(redis_server, 2) as (here, there):
        mine, theirs = await here.enter(), await there.enter()
        redis_server.freeze()
        try:
            began = trio.current_time()
            for number in range(1000):
                here.server.emit("n", number)
            assert len(numbers(mine)) == 1000
            here.server.sockets_join("x")
            assert "x" in mine.rooms
            assert trio.current_time() - began < 1
        finally:
            redis_server.thaw()
        await until(lambda: len(numbers(theirs)) == 1000)
        assert numbers(theirs) == [*range(1000)]
        await until(lambda: "x" in theirs.rooms)
