"""The claims that are to be taken anew, because the store has lost them or the lease is new."""

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

import trio

from trio_socketio.im.presence.claims import Claim

MAX_AT_ONCE: Final = 64
"""How many claims are under way to the store."""


class Reasserting:
    """Claims that the store may not know. Each is taken once at a time.

    Those that were put aside, because the store cannot take them, are not among them.
    """

    __slots__ = ("_aside", "_awaited", "_queue", "_under_way")

    def __init__(self) -> None:
        self._aside: dict[str, dict[Claim, None]] = {}  # by namespace
        self._queue: dict[Claim, None] = {}
        self._under_way: set[Claim] = set()
        self._awaited: dict[Claim, trio.Event] = {}

    def __contains__(self, claim: Claim) -> bool:
        return claim in self._queue or claim in self._under_way

    def __len__(self) -> int:
        return len(self._queue.keys() | self._under_way)

    def add(self, claim: Claim) -> None:
        """Have a claim taken anew; once more if it is under way just now."""
        self._queue[claim] = None
        self._aside.get(claim.namespace, {}).pop(claim, None)

    def put_aside(self, claim: Claim) -> None:
        """Take a claim no more until `bring_back`: the store cannot use its namespace."""
        self._aside.setdefault(claim.namespace, {})[claim] = None

    def is_aside(self, claim: Claim) -> bool:
        """Whether a claim was put aside."""
        return claim in self._aside.get(claim.namespace, ())

    def bring_back(self, namespace: str) -> None:
        """Have those of a namespace taken anew that were put aside."""
        self._queue.update(self._aside.pop(namespace, {}))

    def clear(self) -> None:
        """Take none of them."""
        self._queue.clear()
        self._aside.clear()
        for claim in tuple(self._awaited):
            self._wake(claim)

    async def wait_taken(self, claim: Claim) -> None:
        """Wait until a claim is not under way any more, and not queued."""
        while claim in self:
            await self._awaited.setdefault(claim, trio.Event()).wait()

    async def take_all(self, take: Callable[[Claim], Awaitable[None]]) -> None:
        """Call a function with each of them, with several at the same time (LEASE-13)."""
        while self._queue:
            batch = tuple(islice(self._queue, MAX_AT_ONCE))
            async with trio.open_nursery() as nursery:
                for claim in batch:
                    del self._queue[claim]
                    self._under_way.add(claim)
                    nursery.start_soon(self._take, claim, take)

    async def _take(self, claim: Claim, take: Callable[[Claim], Awaitable[None]]) -> None:
        try:
            await take(claim)
        finally:
            self._under_way.remove(claim)
            self._wake(claim)

    def _wake(self, claim: Claim) -> None:
        if claim not in self and claim in self._awaited:
            self._awaited.pop(claim).set()
