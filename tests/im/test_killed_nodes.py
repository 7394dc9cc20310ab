"""A group of backends on two nodes, which share a store on a real Redis: nobody misses anything."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.control.serving import Controlled, controlled
from tests.im.feed_world import CHAT, Crowd
from tests.im.test_killed_backend import Backend, check, count_up, store_state
from tests.im.turns_world import FaultyTurns
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import Redis, Server, open_redis
from trio_socketio.im.presence import Presence
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.redis_turns import RedisTurns

EVENTS: Final = 5_000
LIMIT_S: Final = 150.0
STARTS: Final = 20
"""How many backends and nodes are started at most."""


class Running:
    """A node in this process, with a control socket; it can be restarted as if it had died.

    Args:
        folder: for the control socket, the same after a restart.
        redis: has the store.
        name: of the node.

    Attributes:
        where: what it serves, once it has started.
    """

    where: Controlled

    def __init__(self, folder: Path, redis: RedisServer, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.address = f"unix:{self.folder / 'control' / 'c.sock'}"
        self.starts = 0
        self._redis = redis
        self._name = name
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._turns: FaultyTurns | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        try:
            async with open_redis(self._redis.url) as redis:  # the end of a node needs it
                with self._scope:
                    async with self._serve(redis) as self.where:
                        self.starts += 1
                        task_status.started()
                        await trio.sleep_forever()
        finally:
            self._ended.set()

    @asynccontextmanager
    async def _serve(self, redis: Redis) -> AsyncIterator[Controlled]:
        server = Server()
        presence = Presence(server, RedisStore(redis, lease_s=100), node=self._name)
        presence.seat(CHAT)
        self._turns = FaultyTurns(RedisTurns(redis, lambda: presence._node.boot))
        async with controlled(self.folder, server, turns=self._turns) as where:
            yield where

    async def restart(self, nursery: trio.Nursery) -> None:
        """End without giving any turn back, and begin again under another boot."""
        assert self._turns is not None
        self._turns.is_dead = True
        self._scope.cancel()
        await self._ended.wait()
        await nursery.start(self.run)


async def churn(crowd: Crowd) -> None:
    for _ in range(EVENTS // 200):
        await crowd.churn(200, users=97)
        await trio.sleep(0.02)


@pytest.mark.time_limit(180)
@pytest.mark.req("FEED-51", "FEED-60", "FEED-61")
@trio_test
async def test_a_group_on_two_nodes_misses_nothing(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    chance = random.Random(5)
    with trio.fail_after(LIMIT_S):
        async with open_redis(redis_server.url) as redis, trio.open_nursery() as nursery:
            crowd = Crowd(RedisStore(redis, lease_s=100))
            await crowd.start()
            nodes = [Running(tmp_path, redis_server, name) for name in ("left", "right")]
            for node in nodes:
                await nursery.start(node.run)
            begin = await crowd.head()
            store_state(tmp_path, 0, begin)
            backends = [
                Backend(nodes[number % 2].address, tmp_path, name, "g")
                for number, name in enumerate("abcd")
            ]
            for backend in backends:
                await backend.start()
            try:
                async with trio.open_nursery() as writing:
                    writing.start_soon(churn, crowd)
                    before = [0] * len(backends)
                    while (
                        sum(backend.starts for backend in backends)
                        + sum(node.starts for node in nodes)
                        < STARTS
                        and (await crowd.head()).sequence < EVENTS * 0.9
                    ):
                        await trio.sleep(chance.uniform(0.4, 0.8))
                        sizes = [backend.count_seen() for backend in backends]
                        growth = [now - past for now, past in zip(sizes, before, strict=True)]
                        before = sizes
                        busiest = growth.index(max(growth))
                        if chance.random() < 0.5:
                            await backends[busiest].kill()
                            await backends[busiest].start()
                        else:
                            await nodes[busiest % 2].restart(nursery)
                await count_up(tmp_path, crowd)
            finally:
                with trio.CancelScope(shield=True):
                    for backend in backends:
                        await backend.kill()
            assert sum(node.starts for node in nodes) > 2
            assert sum(bool(backend.seen()) for backend in backends) >= 2
            # Whoever loses its turn with its node was sent entries as well that come again.
            restarts = sum(node.starts for node in nodes)
            backends[0].starts += restarts
            await check(tmp_path, crowd, begin, backends, EVENTS)
            nursery.cancel_scope.cancel()
