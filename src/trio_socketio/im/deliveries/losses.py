"""Deliveries that a store may have lost: they are kept again, as nobody else knows them."""

import logging
from collections.abc import Callable, Iterable

import trio

from trio_socketio.im.deliveries.coordinator import Attended, Coordinator
from trio_socketio.im.deliveries.counts import Counts
from trio_socketio.im.deliveries.ledger import Ledger
from trio_socketio.im.deliveries.record import Answer, Key, Record
from trio_socketio.im.deliveries.store import DeliveriesUnavailable, DeliveryStore, Full
from trio_socketio.runtime.sampling import Pace, SampledLog

log = logging.getLogger(__name__)


class Losses:
    """What a node attended to when a store lost it, until it is known what has become of it.

    Args:
        store: the store.
        ledger: of this store.
        coordinator: attends to the deliveries.
        counts: what is counted.
        attend: begins to attend to a delivery.
        clock: returns the seconds since 1970.
    """

    def __init__(
        self,
        store: DeliveryStore,
        ledger: Ledger,
        coordinator: Coordinator,
        counts: Counts,
        attend: Callable[[Record, DeliveryStore], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._coordinator = coordinator
        self._counts = counts
        self._attend = attend
        self._clock = clock
        self._lost: dict[Key, Attended] = {}
        self._tried: set[Key] = set()  # of those: the store has not said whether they are kept
        self._warnings = SampledLog(log, logging.WARNING, Pace(1, 0))

    def __len__(self) -> int:
        return len(self._lost)

    def add(self, lost: Iterable[Attended]) -> None:
        """Keep deliveries again when `restore` is called."""
        self._lost.update((one.record.head.key, one) for one in lost)

    def forget(self, namespace: str) -> int:
        """Keep nothing of a namespace again, as it was removed; return how many entries it had."""
        gone = [key for key in self._lost if key.namespace == namespace]
        for key in gone:
            self._counts.end(self._lost.pop(key))
            self._tried.discard(key)
        return len(gone)

    def note(self, answer: Answer) -> None:
        """Note a confirmation, with which its delivery is kept again."""
        lost = self._lost.get(answer.key)
        if lost is not None:
            lost.life.confirm(answer.user)

    async def restore(self, for_s: float) -> None:
        """Keep deliveries again (DELIV-17, DELIV-36).

        An entry is removed once it is known what has become of its delivery.

        Args:
            for_s: how long that may take: the lease of this node has to be renewed in between.
        Raises:
            DeliveriesUnavailable: the store has not answered.
        """
        until = trio.current_time() + for_s
        while self._lost and trio.current_time() < until:
            key = next(iter(self._lost))
            one = self._lost.pop(key)
            self._lost[key] = one  # if it fails, the others have their turn before it
            if key not in self._coordinator and not await self._restore(one):
                return
            self._lost.pop(key, None)
            self._tried.discard(key)

    async def _restore(self, one: Attended) -> bool:
        """Keep a delivery again; return whether it is known what becomes of it."""
        record = one.record
        key = record.head.key
        now = self._clock()
        try:
            found = await self._store.add(record._replace(confirmed={}), now)
        except DeliveriesUnavailable:
            self._tried.add(key)
            raise
        if isinstance(found, Full):
            if self._warnings.admits("a delivery that was lost is not kept again"):
                log.warning("a delivery that the store has lost is not kept again: %s", found.what)
            if now < record.head.expires_at:
                return False
            self._counts.end(one)
        elif found is None:
            confirmed = [user for user in record.users if user not in one.life.pending]
            answers = [Answer(key, user, record.confirmed.get(user, now)) for user in confirmed]
            for answer in answers:
                self._ledger.note(answer)
            known = {answer.user: answer.at for answer in answers}
            self._attend(record._replace(confirmed=known), self._store)
        elif key in self._tried and found.ended_at is None:  # this node has kept it
            self._attend(found, self._store)
        return True
