"""Nodes that share the turns of groups: in one process, or through a real Redis."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Protocol

import trio
from tests.redis_server import RedisServer

from trio_socketio import Redis, open_redis
from trio_socketio.im.presence import StoreUnavailable
from trio_socketio.im.presence.redis_turns import RedisTurns
from trio_socketio.im.presence.turns import LocalTurns, Turns, TurnTable
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_turns import Busy, Crowded, Gone, Held, Kept, Lost, Place

_numbers = count(1)


class SharedTurns(Protocol):
    """Turns that several nodes share; each node has a connection of its own."""

    async def enroll(self, boot: str) -> None:
        """Give a boot a lease."""

    async def end(self, boot: str) -> None:
        """Have a boot be gone."""

    def node(self, boot: str | Callable[[], str]) -> Turns:
        """Return the turns as a node takes them."""


class LocalShare:
    """Turns in a table, and the boots that are alive."""

    def __init__(self, *, max_groups: int = 1000, age_s: float = 86_400.0) -> None:
        self.boots: set[str] = set()
        self.table = TurnTable(max_groups, age_s, self.boots.__contains__)

    async def enroll(self, boot: str) -> None:
        self.boots.add(boot)

    async def end(self, boot: str) -> None:
        self.boots.discard(boot)

    def node(self, boot: str | Callable[[], str]) -> LocalTurns:
        return LocalTurns(self.table, boot if callable(boot) else lambda: boot)


class RedisShare:
    """Turns in a real Redis, in a place of its own."""

    def __init__(
        self, redis: Redis, others: list[Redis], *, max_groups: int = 1000, age_s: float = 86_400.0
    ) -> None:
        self.prefix = f"turns{next(_numbers)}"
        self.redis = redis
        self._connections = others
        self._options = {"max_groups": max_groups}
        self._age_s = age_s

    @property
    def key(self) -> str:
        return f"{self.prefix}:{{presence#0}}:groups"

    async def position(self, *place: str) -> int:
        """The sequence of the stored position of a group; 0 if there is none."""
        value = await self.redis.execute("HGET", self.key, "\0".join(place))
        position = b"-" if value is None else value.split()[0]
        return 0 if position == b"-" else parse_cursor(position.decode()).sequence

    async def enroll(self, boot: str) -> None:
        await self.redis.execute("HSET", f"{self.prefix}:{{presence#0}}:leases", boot, "1 name")

    async def end(self, boot: str) -> None:
        await self.redis.execute("HDEL", f"{self.prefix}:{{presence#0}}:leases", boot)

    def node(self, boot: str | Callable[[], str]) -> RedisTurns:
        return RedisTurns(
            self._connections.pop(),
            boot if callable(boot) else lambda: boot,
            prefix=self.prefix,
            age_s=self._age_s,
            **self._options,
        )


@asynccontextmanager
async def redis_share(
    server: RedisServer, *, nodes: int = 3, max_groups: int = 1000, age_s: float = 86_400.0
) -> AsyncIterator[RedisShare]:
    """Share turns through a server.

    Args:
        server: the server.
        nodes: how many nodes there are at most.
        max_groups: see RedisTurns.
        age_s: see RedisTurns.
    """
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(open_redis(server.url)) for _ in range(nodes + 1)]
        share = RedisShare(found.pop(), found, max_groups=max_groups, age_s=age_s)
        try:
            yield share
        finally:
            with trio.CancelScope(shield=True):
                await share.redis.execute("DEL", share.key)


class FaultyTurns:
    """Turns of a node whose store fails at the test's word.

    Attributes:
        faults: for each of the next calls, "" if all is well, else "before" or "after": whether it
            fails before or after it was done.
        is_dead: whether no call ever ends, as in a process that was killed.
    """

    def __init__(self, turns: Turns) -> None:
        self.faults: list[str] = []
        self.is_dead = False
        self._turns = turns

    @property
    def boot(self) -> str:
        return self._turns.boot

    @property
    def known(self) -> int:
        return self._turns.known

    async def _begin(self) -> str:
        if self.is_dead:
            await trio.sleep_forever()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("the test says so")
        return fault

    def _finish(self, fault: str) -> None:
        if fault:
            raise StoreUnavailable("the test says so, though it was done")

    async def take(self, place: Place, *, is_bounded: bool = True) -> Held | Busy | Crowded | Gone:
        fault = await self._begin()
        found = await self._turns.take(place, is_bounded=is_bounded)
        self._finish(fault)
        return found

    async def acknowledge(self, turn: Held, position: Cursor | None = None) -> Kept | Lost:
        fault = await self._begin()
        found = await self._turns.acknowledge(turn, position)
        self._finish(fault)
        return found

    async def forget(self, turn: Held) -> Kept | Lost:
        fault = await self._begin()
        found = await self._turns.forget(turn)
        self._finish(fault)
        return found

    async def give_back(self, turn: Held, position: Cursor | None, *, waits: bool) -> bool:
        fault = await self._begin()
        found = await self._turns.give_back(turn, position, waits=waits)
        self._finish(fault)
        return found

    async def withdraw(self, place: Place) -> None:
        fault = await self._begin()
        await self._turns.withdraw(place)
        self._finish(fault)

    async def wait_changed(self, place: Place) -> None:
        if self.is_dead:
            await trio.sleep_forever()
        await self._turns.wait_changed(place)
