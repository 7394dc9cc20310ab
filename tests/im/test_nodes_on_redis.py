"""Servers that share presence on a real Redis, which is wiped, restarted, and stands still."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from tests.im.inside import Inside
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import (
    ClientOptions,
    Joining,
    JoiningState,
    Server,
    ServerOptions,
    Socket,
    Step,
    open_client,
    open_redis,
    open_server,
)
from trio_socketio.errors import ConnectFailed, ConnectRefused
from trio_socketio.im.presence import Entries, Presence
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.protocol.presence_cursor import Cursor

CHAT = "/chat"
LEASE_S = 3.0
USERS = 30
RIGHT_S = 10.0
ONCE = ClientOptions(reconnect=False)


def compute(_: Socket) -> None:
    time.sleep(1.2 * LEASE_S)


@dataclass
class Cluster:
    """Two servers, and one client of each user that comes back whenever it is put out."""

    stores: list[RedisStore] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    inside: Inside = field(default_factory=Inside)
    refused: int = 0

    async def add_server(self, stack: AsyncExitStack, redis: RedisServer, outage: Any) -> None:
        store = RedisStore(await stack.enter_async_context(open_redis(redis.url)), lease_s=LEASE_S)
        server = Server(ServerOptions(stop_grace_s=1, stop_flush_s=1, stop_window_s=0))
        space = server.of(CHAT)

        def identify(joining: Joining) -> None:
            joining.identify(joining.auth["user"])

        space.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
        name = f"node {len(self.stores)}"
        presence = Presence(server, store, node=name, outage=outage)
        presence.seat(CHAT)
        space.observe(self.inside)
        space.on("compute")(compute)
        addresses = await stack.enter_async_context(open_server(server))
        self.stores.append(store)
        self.presences.append(presence)
        self.ports.append(addresses[0][1])

    async def stay(self, user: str, number: int) -> None:
        """Be in, whatever happens."""
        while True:
            url = f"http://127.0.0.1:{self.ports[number % 2]}"
            try:
                async with open_client(
                    url,
                    namespaces=CHAT,
                    auth={"user": user},
                    transports=("websocket",),
                    options=ONCE,
                ) as client:
                    gone = trio.Event()

                    @client.on("disconnect")
                    def note(reason: str, gone: trio.Event = gone) -> None:
                        gone.set()

                    await gone.wait()
            except (ConnectRefused, ConnectFailed):
                self.refused += 1
            await trio.sleep(0.2)

    async def wait_right(self) -> None:
        """Wait until users are those with live sockets, and all of them."""
        with trio.fail_after(RIGHT_S):
            while True:
                found = [await store.snapshot(CHAT) for store in self.stores]
                live = {
                    user: [one.public_id for one in sockets]
                    for user, sockets in self.inside.by_user.items()
                }
                told = [
                    {user: [one.id for one in seats] for user, seats in one.users.items()}
                    for one in found
                ]
                is_rebuilding = any(one.is_rebuilding for one in found)
                if len(live) == USERS and told == [live, live] and not is_rebuilding:
                    return
                await trio.sleep(0.05)

    async def entries(self) -> list[str]:
        head = (await self.stores[0].count(CHAT)).cursor
        read = await self.stores[0].read(CHAT, Cursor(head.generation, 0), 1000)
        assert isinstance(read, Entries)
        return [entry.type for entry in read.entries]


@asynccontextmanager
async def running(redis: RedisServer, outage: str) -> AsyncIterator[Cluster]:
    cluster = Cluster()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await cluster.add_server(stack, redis, outage)
        async with trio.open_nursery() as nursery:
            for number in range(USERS):
                nursery.start_soon(cluster.stay, f"user {number}", number)
            await cluster.wait_right()
            assert await cluster.entries() == ["online"] * USERS
            yield cluster
            nursery.cancel_scope.cancel()
        assert cluster.inside.complaints == []


@pytest.mark.req("LEASE-05", "LEASE-14")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_wiped_server_is_told_anew_who_is_online(
    outage: str, redis_server: RedisServer
) -> None:
    async with running(redis_server, outage) as cluster:
        entered = len(cluster.inside.stays)
        for _ in range(2):
            redis_server.command("FLUSHALL")
            await trio.sleep(0.5)
            await cluster.wait_right()
            assert await cluster.entries() == ["online"] * USERS
        assert len(cluster.inside.stays) == entered, "nobody was put out"
        assert sum(one.statistics().reasserted for one in cluster.presences) == 2 * USERS


@pytest.mark.req("LEASE-08")
@trio_test
async def test_an_outage_takes_nobody_offline_in_the_mode_available(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, "available") as cluster:
        redis_server.freeze()
        await trio.sleep(1.5 * LEASE_S)
        assert all(one.statistics().is_fenced for one in cluster.presences)
        redis_server.thaw()
        await cluster.wait_right()
        await trio.sleep(LEASE_S)
        await cluster.wait_right()
        assert await cluster.entries() == ["online"] * USERS
        assert [one.fault for one in cluster.presences] == ["", ""]


@pytest.mark.req("LEASE-10", "LEASE-07")
@trio_test
async def test_clients_are_put_out_and_come_back_in_the_mode_strict(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_server, "strict") as cluster:
        redis_server.freeze()
        await trio.sleep(LEASE_S)
        assert cluster.inside.by_user == {}
        redis_server.thaw()
        await cluster.wait_right()
        assert cluster.refused > 0
        assert all(one.statistics().fenced_times for one in cluster.presences)
    told = [one for one in caplog.messages if "closed with 1012" in one]
    assert "15 clients are closed with 1012" in told[0]
    assert "the store has not answered for" in told[0]


@pytest.mark.alone
@pytest.mark.req("LEASE-14")
@trio_test
async def test_a_server_that_starts_again_is_told_anew_who_is_online(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, "strict") as cluster:
        redis_server.stop()
        redis_server.start()
        await trio.sleep(0.5)
        await cluster.wait_right()
        assert [one.statistics().fenced_times for one in cluster.presences] == [0, 0]
        assert await cluster.entries() == ["online"] * USERS


@pytest.mark.req("LEASE-09", "LEASE-10")
@trio_test
async def test_a_handler_that_blocks_a_node_for_longer_than_its_lease_is_named(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_server, "strict") as cluster:
        url = f"http://127.0.0.1:{cluster.ports[0]}"
        who = {"user": "user 0"}
        async with open_client(url, namespaces=CHAT, auth=who, options=ONCE) as client:
            client.emit("compute")
            await trio.sleep(1.5 * LEASE_S)
        await cluster.wait_right()
        assert all(one.statistics().fenced_times for one in cluster.presences)
    told = [one for one in caplog.messages if "closed with 1012" in one]
    assert any("stood still" in one and "compute" in one for one in told)
