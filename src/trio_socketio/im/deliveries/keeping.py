"""Keeps the deliveries of a node in its stores, and finds those that nobody attends to."""

import logging
from collections.abc import Callable
from typing import Final

import trio

from trio_socketio.control.failures import invalid, store_unavailable
from trio_socketio.im.deliveries.coordinator import Attended, Coordinator
from trio_socketio.im.deliveries.counts import Counts
from trio_socketio.im.deliveries.ledger import Ledger
from trio_socketio.im.deliveries.losses import Losses
from trio_socketio.im.deliveries.record import Answer, Key, Line, Record
from trio_socketio.im.deliveries.store import DeliveriesUnavailable, DeliveryStore, Full, Taken
from trio_socketio.runtime.sampling import Pace, SampledLog

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often a node looks for deliveries that nobody attends to."""
FORBIDDEN_S: Final = 10.0
"""The wait before a store is asked again that does not let this node in."""
_ADD_S: Final = 15.0  # longer than any store takes to answer
_END_S: Final = 1.0
_MAX_DOUBTS: Final = 1000  # the others are found by the store, if they are kept


class Keeping:
    """The stores of a node, and what has yet to be written to them.

    Args:
        store: keeps what does not have to outlive the program.
        durable: keeps what has to; None if nothing can. Both are the same one if it is shared.
        coordinator: attends to the deliveries.
        counts: what is counted.
        attend: begins to attend to a delivery.
        clock: returns the seconds since 1970.
    """

    def __init__(
        self,
        store: DeliveryStore,
        durable: DeliveryStore | None,
        coordinator: Coordinator,
        counts: Counts,
        attend: Callable[[Record, DeliveryStore], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._durable = durable
        self._stores = list(dict.fromkeys(one for one in (store, durable) if one is not None))
        self._ledgers = {one: Ledger(one, clock) for one in self._stores}
        self._coordinator = coordinator
        self._counts = counts
        self._attend = attend
        self._clock = clock
        self._doubts: dict[Key, DeliveryStore] = {}  # perhaps kept, and then nobody attends to it
        self._losses = {
            one: Losses(one, self._ledgers[one], coordinator, counts, attend, clock)
            for one in self._stores
        }
        self._forbidden: set[DeliveryStore] = set()
        self._warnings = SampledLog(log, logging.WARNING, Pace(1, 0))

    @property
    def failures(self) -> int:
        """How many writes had to be made again."""
        return sum(one.failures for one in self._ledgers.values())

    @property
    def is_shared(self) -> bool:
        """Whether other nodes use the stores as well."""
        return self._store.is_shared

    def choose(self, *, durable: bool) -> DeliveryStore:
        """Return the store for a message.

        Raises:
            ControlError: it has to outlive the program, and nothing does.
        """
        if not durable:
            return self._store
        if self._durable is None:
            raise invalid(
                "durable", "nothing outlives this program: set folder in [state], or url in [redis]"
            )
        return self._durable

    async def find(self, key: Key, problem: str = "the deliveries cannot be read") -> Record | None:
        """Return what is known of a delivery.

        Args:
            key: of the delivery.
            problem: begins the error.
        Raises:
            ControlError: the store cannot be asked.
        """
        try:
            for store in self._stores:
                found = await store.get(key)
                if found is not None:
                    return found
        except DeliveriesUnavailable as error:
            raise store_unavailable(f"{problem}: {error}") from None
        return None

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        """Return the deliveries of a namespace that follow an id.

        Raises:
            ControlError: the store cannot be asked.
        """
        lines: list[Line] = []
        try:
            for store in self._stores:
                lines += await store.page(namespace, after, limit)
        except DeliveriesUnavailable as error:
            raise store_unavailable(f"the deliveries cannot be read: {error}") from None
        return sorted(lines, key=lambda line: line.head.id)[:limit]

    async def add(self, record: Record, store: DeliveryStore) -> Record | Full | None:
        """Keep a delivery and attend to it, also if the caller is cancelled meanwhile (DELIV-16).

        Raises:
            ControlError: the store cannot keep it, or has not answered and may have kept it or not;
                the error says which.
        """
        key = record.head.key
        problem = f"there was no answer within {_ADD_S:g} s"
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _ADD_S):
            try:
                found = await store.add(record, self._clock())
            except DeliveriesUnavailable as error:
                problem = str(error)
                if not error.is_unsure:  # DELIV-51
                    raise store_unavailable(
                        f"nothing was sent, because the message cannot be kept: {problem}"
                    ) from None
            else:
                if found is None:
                    self._attend(record, store)
                return found
        if len(self._doubts) < _MAX_DOUBTS:
            self._doubts[key] = store
        raise store_unavailable(
            "it is not known whether the message was kept, so ask again with the same id "
            f"({key.id}): {problem}"
        )

    def note(self, answer: Answer, store: DeliveryStore | None = None) -> None:
        """Queue a confirmation for writing; without a store, to the one that is shared."""
        its_store = store or self._store
        self._losses[its_store].note(answer)
        self._ledgers[its_store].note(answer)

    def forget_lost(self, namespace: str) -> int:
        """Keep nothing of a namespace again that a store has lost; return how much it was."""
        return sum(one.forget(namespace) for one in self._losses.values())

    def end(self, one: Attended) -> None:
        """Queue the end of a delivery for writing."""
        self._ledgers[one.store].end(one.record.head.key)

    def run(self, tasks: trio.Nursery) -> None:
        """Write, and look for deliveries that nobody attends to, in tasks of this nursery."""
        for store, ledger in self._ledgers.items():
            tasks.start_soon(ledger.run)
            tasks.start_soon(self._look_after, store)

    async def look(self) -> None:
        """Look for deliveries once, before the first message is accepted."""
        for store in self._stores:
            await self._look(store)

    async def release(self) -> None:
        """Write what has to be written, and leave the deliveries to others; not for long."""
        for store, ledger in self._ledgers.items():
            for finish in (ledger.flush, store.release):
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_S):
                    try:
                        await finish()
                    except DeliveriesUnavailable as error:
                        log.debug("the deliveries were not released: %s", error)
            ends = len(self._losses[store])
            if not store.is_durable:
                ends += self._coordinator.count(store)
            if ends:  # DELIV-37
                log.warning(
                    "%d messages that not all of their users have confirmed end with this program, "
                    "because they are kept nowhere else",
                    ends,
                )

    async def _look_after(self, store: DeliveryStore) -> None:
        while True:
            await trio.sleep(FORBIDDEN_S if store in self._forbidden else LOOK_S)
            await self._look(store)

    async def _look(self, store: DeliveryStore) -> None:
        try:
            await self._take(store)
            await self._settle_doubts(store)
            await self._losses[store].restore(LOOK_S)
        except DeliveriesUnavailable as error:
            if error.is_forbidden:  # DELIV-39
                if store not in self._forbidden:
                    log.warning("this node does not confirm the delivery of messages: %s", error)
                self._forbidden.add(store)
            elif self._warnings.admits("the store of deliveries does not answer"):
                log.warning("the store of deliveries does not answer: %s", error)
        else:
            if store in self._forbidden:
                log.info("this node may use the store of deliveries now")
                self._forbidden.discard(store)

    async def _take(self, store: DeliveryStore) -> None:
        taken = await self._take_some(store)
        count = 0
        while taken.records:
            for record in taken.records:
                count += record.head.key not in self._coordinator
                self._attend(record, store)
            taken = await self._take_some(store)
        self._counts.taken += count
        if count:
            log.info("this node goes on with %d deliveries that nobody attended to", count)
        self._counts.kept[store] = (taken.open, taken.ended, taken.size)
        going = sum(one[0] for one in self._counts.kept.values())
        lost = sum(map(len, self._losses.values()))
        self._counts.goes_on = going > 0 or lost > 0 or len(self._coordinator) > 0

    async def _take_some(self, store: DeliveryStore) -> Taken:
        taken = await store.take(self._clock())
        if taken.was_lost:
            lost = self._coordinator.give_up(store)
            self._losses[store].add(lost)
            if lost and taken.was_emptied:  # DELIV-52
                log.warning(
                    "the store of deliveries was emptied, or is an older copy: this node keeps the "
                    "%d that it attended to there again",
                    len(lost),
                )
            elif lost:
                log.warning(
                    "this node did not reach the store of deliveries for too long, and others may "
                    "go on with the %d that it attended to",
                    len(lost),
                )
        return taken

    async def _settle_doubts(self, store: DeliveryStore) -> None:
        """Attend to deliveries that were kept although the store has not said so."""
        for key in [key for key, its_store in self._doubts.items() if its_store is store]:
            found = await store.get(key)
            if found is not None and found.ended_at is None:
                self._attend(found, store)
            self._doubts.pop(key, None)
