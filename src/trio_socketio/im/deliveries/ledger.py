"""Writes to the stores who has confirmed, and which deliveries have ended: many at a time."""

import logging
from collections.abc import Callable
from typing import Final

import trio

from trio_socketio.im.deliveries.record import Answer, Key
from trio_socketio.im.deliveries.store import DeliveriesUnavailable, DeliveryStore
from trio_socketio.runtime.sampling import Pace, SampledLog

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""When a write that has failed is made again."""
_AT_ONCE: Final = 2000


class Ledger:
    """What has yet to be written to one store.

    It holds one entry for a target of a delivery at most, and there are no new deliveries while the
    store is away, so it is bounded as they are. What is not written when the program ends is not
    lost: whoever goes on with the delivery sends a further copy.

    Args:
        store: the store.
        clock: returns the seconds since 1970.
    """

    def __init__(self, store: DeliveryStore, clock: Callable[[], float]) -> None:
        self.failures = 0
        self._store = store
        self._clock = clock
        self._answers: list[Answer] = []
        self._ended: list[Key] = []
        self._changed = trio.Event()
        self._warnings = SampledLog(log, logging.WARNING, Pace(1, 0))

    def note(self, answer: Answer) -> None:
        """Queue a confirmation for writing."""
        self._answers.append(answer)
        self._changed.set()

    def end(self, key: Key) -> None:
        """Queue the end of a delivery for writing."""
        self._ended.append(key)
        self._changed.set()

    async def flush(self) -> None:
        """Write everything, once.

        Raises:
            DeliveriesUnavailable: the store is away.
        """
        while self._answers or self._ended:
            await self._write()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            try:
                await self.flush()
            except DeliveriesUnavailable as error:
                self.failures += 1
                self._changed.set()
                if self._warnings.admits("deliveries could not be written"):
                    log.warning("who has confirmed is written when the store is back: %s", error)
                await trio.sleep(AGAIN_S)

    async def _write(self) -> None:
        """Write what there is; what has been written is forgotten after that only."""
        # All answers first: those that come after the end of their delivery are not noted.
        answers = self._answers[:_AT_ONCE]
        if answers:
            await self._store.confirm(answers)
            del self._answers[: len(answers)]
        if self._ended and not self._answers:
            ended = self._ended[:_AT_ONCE]
            await self._store.end(ended, self._clock())
            del self._ended[: len(ended)]
