"""A presence store between which and its callers a test can stand: calls are held, answers lost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from trio_socketio.im.presence.store import PresenceStore, StoreUnavailable
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


@dataclass(eq=False)
class Held:
    """A call that is held before it reaches the store, or after it was done."""

    at: str
    go: trio.Event = field(default_factory=trio.Event)
    fails: bool = False


class HeldStore:
    """Passes everything on to a store.

    Attributes:
        hold: what is held, such as "claim before" or "release after".
        held: the calls that are held now, oldest first.
    """

    def __init__(self, inner: PresenceStore) -> None:
        self.inner = inner
        self.hold: set[str] = set()
        self.held: list[Held] = []

    @property
    def written(self) -> Mapping[EntryType, int]:
        return self.inner.written

    def let_go(self, held: Held, *, fails: bool = False) -> None:
        self.held.remove(held)
        held.fails = fails
        held.go.set()

    def let_all_go(self) -> None:
        self.hold.clear()
        for held in tuple(self.held):
            self.let_go(held)

    async def _stop(self, at: str) -> None:
        await trio.lowlevel.checkpoint()
        if at in self.hold:
            held = Held(at)
            self.held.append(held)
            try:
                await held.go.wait()
            finally:
                if held in self.held:
                    self.held.remove(held)
            if held.fails:
                raise StoreUnavailable(f"as the test wants it: {at}")

    @property
    def lease_s(self) -> float:
        return self.inner.lease_s

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        return await self.inner.enroll(node, boot)

    async def renew(self, boot: str) -> Renewal:
        return await self.inner.renew(boot)

    async def wait_lost(self, boot: str) -> None:
        await self.inner.wait_lost(boot)

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        return await self.inner.reassert(request, token)

    async def end_rebuild(self, boot: str) -> None:
        await self.inner.end_rebuild(boot)

    async def retire(self, boot: str) -> None:
        await self.inner.retire(boot)

    async def expired(self) -> list[str]:
        return await self.inner.expired()

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        return await self.inner.reap(boot, limit)

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        await self._stop("claim before")
        outcome = await self.inner.claim(request)
        await self._stop("claim after")
        return outcome

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        await self._stop("release before")
        outcome = await self.inner.release(ref, reason)
        await self._stop("release after")
        return outcome

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        await self._stop("kick before")
        return await self.inner.kick(namespace, user)

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        await self.inner.wait_confirmed(namespace, user, tokens)
        await self._stop("wait after")

    async def receive_orders(self, boot: str) -> list[Order]:
        orders = await self.inner.receive_orders(boot)
        await self._stop("orders after")
        return orders

    async def confirm(self, order: Order) -> None:
        await self._stop("confirm before")
        await self.inner.confirm(order)
        await self._stop("confirm after")

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        return await self.inner.get(namespace, users)

    async def count(self, namespace: str) -> Count:
        return await self.inner.count(namespace)

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        return await self.inner.list_users(namespace, after, limit)

    async def snapshot(self, namespace: str) -> Present:
        return await self.inner.snapshot(namespace)

    async def read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> Entries | CursorExpired | GenerationChanged:
        return await self.inner.read(namespace, cursor, limit)

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        await self.inner.wait_for_more(namespace, cursor)


HOLDS: tuple[Any, ...] = (
    "claim before",
    "claim after",
    "release before",
    "release after",
    "wait after",
    "orders after",
    "confirm before",
    "confirm after",
)
