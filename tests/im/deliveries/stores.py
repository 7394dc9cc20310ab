"""Stores of deliveries for tests, on files and servers that a test has for itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from tests.redis_server import RedisServer

from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.record import Head, Record
from trio_socketio.im.deliveries.redis import RedisDeliveries
from trio_socketio.im.deliveries.sqlite import SqliteDeliveries
from trio_socketio.im.deliveries.store import Bounds, DeliveryStore
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.redis import Redis
from trio_socketio.storage.database import Database

KINDS: Final = ("memory", "sqlite", "redis")
LEASE_S: Final = 0.3
BOUNDS: Final = Bounds(open=5, size=8000, reports=4, keep_s=100.0)


@asynccontextmanager
async def open_sqlite(folder: Path, bounds: Bounds = BOUNDS) -> AsyncIterator[SqliteDeliveries]:
    database = Database(folder)
    store = SqliteDeliveries(database, bounds)
    async with trio.open_nursery() as tasks:
        await tasks.start(database.run)
        yield store
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_shared(
    server: RedisServer, bounds: Bounds = BOUNDS, prefix: str = "test", lease_s: float = LEASE_S
) -> AsyncIterator[RedisDeliveries]:
    redis = Redis(RedisOptions(url=server.url))
    async with trio.open_nursery() as tasks:
        await tasks.start(redis.run)
        yield RedisDeliveries(redis, bounds, prefix=prefix, lease_s=lease_s)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_store(
    kind: str, folder: Path, server: RedisServer, bounds: Bounds = BOUNDS
) -> AsyncIterator[DeliveryStore]:
    if kind == "memory":
        yield MemoryDeliveries(bounds)
    elif kind == "sqlite":
        async with open_sqlite(folder, bounds) as store:
            yield store
    else:
        async with open_shared(server, bounds, lease_s=60.0) as shared:
            yield shared


def new_record(
    name: str = "a",
    users: tuple[str, ...] = ("ann", "bob"),
    args: bytes = b'[{"text":"hello"}]',
    sender: str | None = None,
) -> Record:
    head = Head(
        namespace="/chat",
        id=name,
        event="news",
        sender=sender,
        rooms=("hall",),
        accepted_at=1000.0,
        expires_at=1030.0,
        schedule_s=(5.0, 10.0),
        digest="abc",
        targets=len(users),
    )
    return Record(head, users, args, {})
