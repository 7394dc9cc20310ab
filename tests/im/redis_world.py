"""Presence stores on a real Redis, with a clock of the test's own, for the machine of stores.

Several stores share the server, each with a connection of its own, as nodes do. A boot always uses
the same one; what is not about a boot goes to one after the other.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, Final

import trio
from tests.im.store_world import LEASE_S, TrioThread
from tests.redis_server import RedisServer

from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.store import PresenceStore
from trio_socketio.protocol.presence_claims import (
    Absent,
    Claimed,
    ClaimRef,
    ClaimRequest,
    Count,
    Fenced,
    Kicked,
    Order,
    Page,
    Present,
    Released,
    Renewal,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    EntryType,
    GenerationChanged,
)
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.redis import Redis

STORES: Final = 2
STEP_S: Final = LEASE_S / 20


class SpreadStore:
    """Several stores on one server as one."""

    def __init__(self, stores: Sequence[RedisStore]) -> None:
        self.stores = stores
        self._turns = cycle(stores)

    def of(self, boot: str) -> RedisStore:
        return self.stores[sum(boot.encode()) % len(self.stores)]

    @property
    def at_once(self) -> None:
        return None

    @property
    def written(self) -> Mapping[EntryType, int]:
        return self.stores[0].written

    @property
    def fault(self) -> str:
        return self.stores[0].fault

    @property
    def is_shared(self) -> bool:
        return self.stores[0].is_shared

    @property
    def lease_s(self) -> float:
        return self.stores[0].lease_s

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        return await self.of(boot).enroll(node, boot)

    async def renew(self, boot: str) -> Renewal:
        return await self.of(boot).renew(boot)

    async def wait_lost(self, boot: str) -> None:
        await self.of(boot).wait_lost(boot)

    async def end_rebuild(self, boot: str) -> None:
        await self.of(boot).end_rebuild(boot)

    async def retire(self, boot: str) -> None:
        await self.of(boot).retire(boot)

    async def expired(self) -> list[str]:
        found = [boot for store in self.stores for boot in await store.expired()]
        return list(dict.fromkeys(found))

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        return await next(self._turns).reap(boot, limit)

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        return await self.of(request.boot).claim(request)

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        return await self.of(request.boot).reassert(request, token)

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        return await self.of(ref.boot).release(ref, reason)

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        return await next(self._turns).kick(namespace, user)

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        await next(self._turns).wait_confirmed(namespace, user, tokens)

    async def receive_orders(self, boot: str) -> list[Order]:
        return await self.of(boot).receive_orders(boot)

    async def confirm(self, order: Order) -> None:
        await self.of(order.boot).confirm(order)

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        return await next(self._turns).get(namespace, users)

    async def count(self, namespace: str) -> Count:
        return await next(self._turns).count(namespace)

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        return await next(self._turns).list_users(namespace, after, limit)

    async def snapshot(self, namespace: str) -> Present:
        return await next(self._turns).snapshot(namespace)

    async def read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> Entries | CursorExpired | GenerationChanged:
        return await next(self._turns).read(namespace, cursor, limit)

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        await next(self._turns).wait_for_more(namespace, cursor)


class RedisWorld:
    """A StoreWorld on a server that has nothing else to do."""

    store: PresenceStore

    def __init__(self, server: RedisServer) -> None:
        self.now = 1000.0
        self._server = server
        self._saved: dict[bytes, tuple[bytes, int]] = {}
        server.command("FLUSHALL")
        self._thread = TrioThread()
        self.do, self.close = self._thread.do, self._thread.close
        self.do(self._open)

    async def _open(self) -> None:
        self.stores = []
        for _ in range(STORES):
            redis = Redis(RedisOptions(url=self._server.url))
            await self._thread.nursery.start(redis.run)
            self.stores.append(RedisStore(redis, lease_s=LEASE_S, clock=lambda: self.now))
        self.store = SpreadStore(self.stores)

    async def advance(self, seconds: float) -> None:
        """Let time pass, while all nodes look at the leases of the others as they should."""
        end = self.now + seconds
        await self.store.expired()
        while self.now < end:
            self.now = min(self.now + STEP_S, end)
            await self.store.expired()

    async def ends_at_once(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
        """Whether a function ends with what it asks of the server first."""
        has_ended = False

        async def run() -> None:
            nonlocal has_ended
            await function(*arguments)
            has_ended = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.lowlevel.checkpoint()
            for _ in range(3):  # the server may not know the script yet
                for store in self.stores:  # answers on a connection come in order
                    await store.count("/")
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        return has_ended

    # -- what may happen to a server

    def save(self) -> None:
        """Remember all that the server has."""
        keys = self._server.command("KEYS", "*")
        self._saved = {key: (self._server.command("DUMP", key), 0) for key in keys}

    def roll_back(self) -> None:
        """Have the server forget all that was written since it was saved."""
        self.wipe()
        for key, (value, ttl) in self._saved.items():
            self._server.command("RESTORE", key, ttl, value)

    def wipe(self) -> None:
        self._server.command("FLUSHALL")
