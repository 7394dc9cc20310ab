"""The presence store of a single process."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf

import trio

from trio_socketio.errors import OptionError
from trio_socketio.im.presence.books import Books, Shelf
from trio_socketio.im.presence.store import AtOnce
from trio_socketio.protocol.leases import Leases
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
from trio_socketio.protocol.presence_orders import Alive


class MemoryStore:
    """Keeps presence in memory. Several servers of one process may share it.

    Its logs begin with its process: a backend that comes with the cursor of an earlier one is told
    that the generation has changed. A method that changes something does so after its only
    checkpoint, so one that is cancelled has changed nothing.

    It has 30 methods, nearly all of which are those of the interface.

    Args:
        max_events: how many entries all logs together keep.
        max_bytes: about how many bytes they may take.
        lease_s: how long the lease of a node lasts. By default for ever, because no node can be
            lost without the store.

    Raises:
        OptionError: a bound is not above zero.
    """

    def __init__(
        self,
        *,
        max_events: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        lease_s: float = inf,
    ) -> None:
        for name, value in (
            ("max_events", max_events),
            ("max_bytes", max_bytes),
            ("lease_s", lease_s),
        ):
            if not value > 0:
                raise OptionError(name, f"must be above zero, not {value}")
        self._leases = Leases(lease_s)
        # As Redis names the entries of a stream: milliseconds since 1970, so it rises with each
        # start of the process.
        self._books = Books(time.time_ns() // 1_000_000, max_events, max_bytes)
        self._desks: dict[str, _Desk] = {}  # by boot

    @property
    def at_once(self) -> AtOnce | None:
        return self

    @property
    def is_shared(self) -> bool:
        return False

    @property
    def lease_s(self) -> float:
        return self._leases.lease_s

    @property
    def written(self) -> Mapping[EntryType, int]:
        return self._books.written

    @property
    def fault(self) -> str:
        return ""

    # -- the leases of nodes

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        await trio.lowlevel.checkpoint()
        before = self._leases.enroll(node, boot, trio.current_time())
        if before is None:
            return Fenced()
        self._books.end_waits()
        return before

    async def renew(self, boot: str) -> Renewal:
        await trio.lowlevel.checkpoint()
        is_alive = self._leases.renew(boot, trio.current_time())
        return Renewal.RENEWED if is_alive else Renewal.ENDED

    async def wait_lost(self, boot: str) -> None:
        await trio.sleep_forever()  # what is in memory is lost together with its node

    async def end_rebuild(self, boot: str) -> None:
        await trio.lowlevel.checkpoint()

    async def retire(self, boot: str) -> None:
        await trio.lowlevel.checkpoint()
        self._leases.end(boot, trio.current_time())
        self._books.end_waits()

    async def expired(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        alive = self._alive()
        boots = dict.fromkeys(boot for shelf in self._books for boot in shelf.book.boots())
        return [boot for boot in boots if not alive(boot)]

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        if self._leases.is_alive(boot, now):
            return None
        self._leases.end(boot, now)  # PRES-24: first, so that no claim can be added meanwhile
        self._desks.pop(boot, None)
        ended = 0
        for shelf in tuple(self._books):
            ended += shelf.book.reap(boot, limit - ended, time.time())
            self._note(shelf)
        self._books.end_waits()
        return ended

    # -- claims

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        await trio.lowlevel.checkpoint()
        return self.claim_now(request)

    def claim_now(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        shelf = self._books.open(request.namespace)
        outcome = shelf.book.claim(request, self._alive(), time.time())
        self._note(shelf)
        return outcome

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        await trio.lowlevel.checkpoint()
        return self._books.open(request.namespace).book.reassert(request, token, self._alive())

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        await trio.lowlevel.checkpoint()
        return self.release_now(ref, reason)

    def release_now(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        shelf = self._books.open(ref.namespace)
        outcome = shelf.book.release(ref, reason, self._alive(), time.time())
        self._note(shelf)
        return outcome

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        await trio.lowlevel.checkpoint()
        shelf = self._books.open(namespace)
        outcome = shelf.book.kick(user, self._alive(), time.time())
        self._note(shelf)
        return outcome

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        await trio.lowlevel.checkpoint()
        shelf = self._books.open(namespace)
        while orders := shelf.book.orders.awaited(user, tokens, self._alive()):
            lot = shelf.waiting.setdefault(user, trio.lowlevel.ParkingLot())
            try:
                with trio.move_on_at(min(self._leases.ends_at(order.boot) for order in orders)):
                    await lot.park()
            finally:
                if not lot and shelf.waiting.get(user) is lot:  # others may wait in a newer one
                    del shelf.waiting[user]

    # -- what a node is told

    async def receive_orders(self, boot: str) -> list[Order]:
        await trio.lowlevel.checkpoint()
        desk = self._desks.setdefault(boot, _Desk())
        while True:
            orders = [one for shelf in desk.shelves for one in shelf.book.orders.of_boot(boot)]
            if orders:
                return orders
            desk.shelves.clear()
            desk.ordered = trio.Event()
            await desk.ordered.wait()

    async def confirm(self, order: Order) -> None:
        await trio.lowlevel.checkpoint()
        shelf = self._books.open(order.namespace)
        shelf.book.orders.confirm(order)
        if order.user in shelf.waiting:
            shelf.waiting[order.user].unpark_all()
        self._note(shelf)

    # -- reading

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        await trio.lowlevel.checkpoint()
        return self._books.open(namespace).book.find(users)

    async def count(self, namespace: str) -> Count:
        await trio.lowlevel.checkpoint()
        return self._books.open(namespace).book.count()

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        await trio.lowlevel.checkpoint()
        return self._books.open(namespace).book.page(after, limit)

    async def snapshot(self, namespace: str) -> Present:
        await trio.lowlevel.checkpoint()
        return self._books.open(namespace).book.snapshot()

    async def read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> Entries | CursorExpired | GenerationChanged:
        await trio.lowlevel.checkpoint()
        return self._books.open(namespace).book.log.read(cursor, limit)

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        await trio.lowlevel.checkpoint()
        shelf = self._books.open(namespace)
        while True:
            found = shelf.book.log.read(cursor, 1)
            if not isinstance(found, Entries) or found.entries:
                return
            await shelf.readers.park()

    # -- parts

    def _note(self, shelf: Shelf) -> None:
        """Tell those concerned of a change."""
        for boot in shelf.book.orders.take_given():
            desk = self._desks.setdefault(boot, _Desk())
            desk.shelves[shelf] = None
            desk.ordered.set()
        self._books.note_changes(shelf)

    def _alive(self) -> Alive:
        return partial(self._leases.is_alive, now=trio.current_time())


class _Desk:
    """Where the orders of one boot are picked up."""

    __slots__ = ("ordered", "shelves")

    def __init__(self) -> None:
        self.shelves: dict[Shelf, None] = {}  # perhaps with orders
        self.ordered = trio.Event()
