"""A presence store between which and its callers a test can stand.

Calls are held and answers lost. It loses all that it has, and ends leases. `Line` is the way of one
node to it, which can be cut.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import trio

from trio_socketio.im.presence.memory import MemoryStore
from trio_socketio.im.presence.store import (
    AtOnce,
    NamespaceUnusable,
    PresenceStore,
    StoreUnavailable,
)
from trio_socketio.protocol.presence_book import Book
from trio_socketio.protocol.presence_claims import (
    REPLACED,
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
    Seat,
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

_WAITED: Final = frozenset(("claim before", "claim after", "release before", "release after"))


@dataclass(eq=False)
class Held:
    """A call that is held before it reaches the store, or after it was done."""

    at: str
    go: trio.Event = field(default_factory=trio.Event)
    fails: bool = False


class HeldStore:
    """Passes everything on to a store, and loses claims like one in Redis.

    It answers at once, unless a claim or a release is held.

    Attributes:
        hold: what is held, such as "claim before" or "release after". What is asked at once cannot
            be held: at "claim now before" and the like it fails.
        held: the calls that are held now, oldest first.
        is_elsewhere: whether it never answers at once.
        epoch: how often it has lost everything.
        unusable: the namespaces whose records cannot be used.
    """

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.hold: set[str] = set()
        self.held: list[Held] = []
        self.is_elsewhere = False
        self.epoch = 0
        self.unusable: set[str] = set()
        self._wiped = trio.Event()
        self._wiped_at = 0.0
        self._boots: dict[str, tuple[str, int]] = {}  # the node, and the epoch that it knows
        self._rebuilding: set[str] = set()  # boots that may have claims of the epoch before
        self._rebuilt = trio.Event()
        # The tokens that reasserted claims had before, by namespace and token.
        self._before: dict[tuple[str, Cursor], Cursor] = {}

    @property
    def at_once(self) -> AtOnce | None:
        places = self.hold.union(one.at for one in self.held)
        return None if self.is_elsewhere or places & _WAITED else self

    @property
    def is_shared(self) -> bool:
        return self.inner.is_shared

    @property
    def written(self) -> Mapping[EntryType, int]:
        return self.inner.written

    @property
    def fault(self) -> str:
        return self.inner.fault

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

    def _fail(self, at: str) -> None:
        if at in self.hold:
            raise StoreUnavailable(f"as the test wants it: {at}")

    def _check(self, namespace: str) -> None:
        if namespace in self.unusable:
            raise NamespaceUnusable(f"as the test wants it: {namespace}")

    # -- what a test does to it

    def wipe(self) -> None:
        """Lose everything, leases and orders included."""
        books, leases = self.inner._books, self.inner._leases
        alive = [one for one in self._boots if leases.is_alive(one, trio.current_time())]
        self.inner = MemoryStore(lease_s=self.inner.lease_s)
        # No generation is used twice, as the highest one that anybody has seen is told to a store.
        self.inner._books._generation = max(self.inner._books._generation, books._generation + 1)
        self.epoch += 1
        self._before.clear()
        self._wiped_at = trio.current_time()
        self._rebuilding = set(alive)
        self._rebuilt.set()
        self._rebuilt = trio.Event()
        self._end_rebuild("")
        wiped, self._wiped = self._wiped, trio.Event()
        wiped.set()

    def end_lease(self, boot: str) -> None:
        """Fence a boot, as a node does that takes another one for dead."""
        self.inner._leases.end(boot, trio.current_time())
        self.inner._books.end_waits()

    def lengthen_leases(self, since: float = -inf) -> None:
        """No lease ends because of the time, since then, in which nobody could reach the store."""
        for lease in self.inner._leases._by_boot.values():
            if not lease.is_dead and lease.ends_at > since:
                lease.ends_at = trio.current_time() + self.inner.lease_s

    def _end_rebuild(self, boot: str) -> None:
        self._rebuilding.discard(boot)
        if not self._rebuilding:
            self._rebuilt.set()

    # -- the leases of nodes

    @property
    def lease_s(self) -> float:
        return self.inner.lease_s

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        await self._stop("enroll before")
        outcome = await self.inner.enroll(node, boot)
        self._boots[boot] = node, self.epoch
        return outcome

    async def renew(self, boot: str) -> Renewal:
        await self._stop("renew before")
        node, epoch = self._boots[boot]
        if epoch == self.epoch:
            return await self.inner.renew(boot)
        leases, now = self.inner._leases, trio.current_time()
        if any(one.node == node and not one.is_dead for one in leases._by_boot.values()):
            leases.end(boot, now)  # its node was started anew meanwhile
            return Renewal.ENDED
        await self.inner.enroll(node, boot)
        self._boots[boot] = node, self.epoch
        return Renewal.REBUILD

    async def wait_lost(self, boot: str) -> None:
        while self._boots[boot][1] == self.epoch:
            await self._wiped.wait()

    async def end_rebuild(self, boot: str) -> None:
        await self._stop("end_rebuild before")
        if self._boots[boot][1] == self.epoch:
            self._end_rebuild(boot)

    async def retire(self, boot: str) -> None:
        await self.inner.retire(boot)
        self._end_rebuild(boot)

    async def expired(self) -> list[str]:
        if trio.current_time() >= self._wiped_at + self.lease_s:
            # Whoever has not renewed has put its clients out; others may still be at it.
            alive, now = self.inner._leases.is_alive, trio.current_time()
            self._rebuilding = {
                boot
                for boot in self._rebuilding
                if self._boots[boot][1] == self.epoch and alive(boot, now)
            }
            self._end_rebuild("")
        return await self.inner.expired()

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        books = [shelf.book for shelf in self.inner._books]
        unusable = [book for book in books if book.namespace in self.unusable]
        owned = [(book, book._owned.pop(boot)) for book in unusable if boot in book._owned]
        ended = await self.inner.reap(boot, limit)
        for book, seats in owned:
            book._owned[boot] = seats
            if not ended:
                self._check(book.namespace)
        return ended

    # -- claims

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        await self._stop("claim before")
        await trio.lowlevel.checkpoint()
        outcome = self._claim(request)
        await self._stop("claim after")
        return outcome

    def claim_now(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        self._fail("claim now before")
        outcome = self._claim(request)
        self._fail("claim now after")
        return outcome

    def _claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        self._check(request.namespace)
        outcome = self.inner.claim_now(request)
        return self._add_waits(outcome) if isinstance(outcome, Claimed) else outcome

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        await self._stop("reassert before")
        outcome = await self._reassert(request, token)
        await self._stop("reassert after")
        return outcome

    async def _reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        await trio.lowlevel.checkpoint()
        self._check(request.namespace)
        if not self.inner._leases.is_alive(request.boot, trio.current_time()):
            return Fenced()
        book = self.inner._books.open(request.namespace).book
        seats = book.users.get(request.user, ())
        if any((one.boot, one.attempt) == (request.boot, request.attempt) for one in seats):
            return self._claim_again(request, token)
        is_many = request.policy == "many"
        same = [one for one in seats if one.token == token]
        later = [one for one in seats if self._name_before(book, one) > token]
        is_full = len(seats) >= request.maximum
        if (is_many and is_full and not same) or (later and not is_many):
            order = Order(
                namespace=request.namespace,
                user=request.user,
                boot=request.boot,
                attempt=request.attempt,
                token=token,
                reason=REPLACED,
            )
            book.orders.give(order)
            self.inner._note(self.inner._books.open(request.namespace))
            return Stale(book.log.head)
        policy: Any = "many" if is_many else "newest"
        asked = msgspec.structs.replace(request, policy=policy, recovers=bool(same))
        return self._claim_again(asked, token)

    def _name_before(self, book: Book, seat: Seat) -> Cursor:
        return self._before.get((book.namespace, seat.token), seat.token)

    def _claim_again(self, request: ClaimRequest, token: Cursor) -> Claimed:
        shelf = self.inner._books.open(request.namespace)
        outcome = shelf.book.claim(request, self.inner._alive(), 0.0)
        self.inner._note(shelf)
        assert isinstance(outcome, Claimed), outcome
        if outcome.token != token:
            self._before.setdefault((request.namespace, outcome.token), token)
        return self._add_waits(outcome)

    def _add_waits(self, claimed: Claimed) -> Claimed:
        """Have a new client wait while clients may be in that are not known again yet."""
        if self._rebuilt.is_set() or not self._rebuilding:
            return claimed
        missing = Cursor(claimed.token.generation, 0)
        return msgspec.structs.replace(claimed, awaits=(*claimed.awaits, missing))

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        await self._stop("release before")
        self._check(ref.namespace)
        outcome = await self.inner.release(ref, reason)
        await self._stop("release after")
        return outcome

    def release_now(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        self._fail("release now before")
        self._check(ref.namespace)
        outcome = self.inner.release_now(ref, reason)
        self._fail("release now after")
        return outcome

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        await self._stop("kick before")
        return await self.inner.kick(namespace, user)

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        inner = self.inner
        book = inner._books.open(namespace).book
        if any(token.generation != book.log.head.generation for token in tokens):
            raise StoreUnavailable("it has lost what is waited for")
        if any(not token.sequence for token in tokens):
            await self._rebuilt.wait()
            tokens = [order.token for order in book.orders.of_user(user)]
        await inner.wait_confirmed(namespace, user, tokens)
        await self._stop("wait after")
        if inner is not self.inner:
            raise StoreUnavailable("it has lost what was waited for")

    # -- what a node is told

    async def receive_orders(self, boot: str) -> list[Order]:
        while True:
            inner = self.inner  # another one after a wipe
            if found := await call_until(self._wiped, inner.receive_orders, boot):
                await self._stop("orders after")
                orders: list[Order] = found[0]
                return orders

    async def confirm(self, order: Order) -> None:
        await self._stop("confirm before")
        self._check(order.namespace)
        await self.inner.confirm(order)
        await self._stop("confirm after")

    # -- reading

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        self._check(namespace)
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


async def call_until(event: trio.Event, method: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what an async method returns, or nothing if the event came first."""
    found: list[Any] = []
    failures: list[StoreUnavailable] = []
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        try:
            found.append(await method(*arguments))
        except StoreUnavailable as error:
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return found


class Line:
    """The way of one node to a store: it has the store's methods, while it is not cut.

    Args:
        store: the store.
        is_near: whether the store answers at once through it. Then such a call fails while it is
            cut, except that no answer comes at once from a line that is silent.

    Attributes:
        asked: how often each method was called.
        is_cut: whether no call arrives, and no answer.
        is_silent: whether a call that cannot be answered hangs instead of failing.
    """

    def __init__(self, store: PresenceStore, *, is_near: bool = False) -> None:
        self._store = store
        self._is_near = is_near
        self.asked: Counter[str] = Counter()
        self.is_cut = False
        self.is_silent = False
        self._changed = trio.Event()

    @property
    def at_once(self) -> AtOnce | None:
        has_answer = self._store.at_once is not None and not (self.is_cut and self.is_silent)
        return self if self._is_near and has_answer else None

    def claim_now(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        return self._pass_on("claim").claim_now(request)

    def release_now(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        return self._pass_on("release").release_now(ref, reason)

    def _pass_on(self, name: str) -> AtOnce:
        self.asked[name] += 1
        if self.is_cut:
            raise StoreUnavailable("the line is cut")
        at_once = self._store.at_once
        assert at_once is not None
        return at_once

    def cut(self, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self._change(is_cut=True)

    def mend(self) -> None:
        self._change(is_cut=False)

    def _change(self, *, is_cut: bool) -> None:
        self.is_cut = is_cut
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(self._call, name, found) if callable(found) else found

    async def _call(self, name: str, method: Callable[..., Any], *arguments: Any) -> Any:
        self.asked[name] += 1
        await trio.lowlevel.checkpoint()
        if not self.is_cut:
            found = await call_until(self._changed, method, *arguments)
            if found and not self.is_cut:
                return found[0]
        while self.is_cut and self.is_silent:
            await self._changed.wait()
        raise StoreUnavailable("the line is cut")


HOLDS: tuple[Any, ...] = (
    "claim before",
    "claim after",
    "release before",
    "release after",
    "wait after",
    "orders after",
    "confirm before",
    "confirm after",
    "claim now before",
    "claim now after",
    "release now before",
    "release now after",
)
