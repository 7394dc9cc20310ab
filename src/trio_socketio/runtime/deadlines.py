"""Every deadline of the server, walked by one task: no timer, task or cancel scope each."""

import heapq
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from typing import Final

import trio

from trio_socketio.net.driving import Expiring

log = logging.getLogger(__name__)

_SLICE: Final = 128
_RETRY_S: Final = 10.0
_SWEEP_AT: Final = 1000
"""Emptied entries are swept out when there are more of them, and they are most of the heap."""


class Entry:
    """A place in the heap; emptied rather than searched for when its owner is done."""

    __slots__ = ("at", "item", "number")

    def __init__(self, at: float, number: int, item: Expiring) -> None:
        self.at = at
        self.number = number
        self.item: Expiring | None = item

    def __lt__(self, other: "Entry") -> bool:
        return (self.at, self.number) < (other.at, other.number)


class Deadlines:
    """A heap of deadlines. An entry whose owner's deadline moved away is queued anew when met.

    Args:
        coalesce_s: between two walks: deadlines that lie close are met together, up to this late.
            Whoever needs an exact judgement (is this session dead?) compares times instead.
    """

    def __init__(self, coalesce_s: float) -> None:
        self._coalesce_s = coalesce_s
        self._heap: list[Entry] = []
        self._number = count()
        self._emptied = 0  # entries in the heap whose owner is gone
        self._wakes_at = -inf  # run has not started: nobody to wake
        self._wake = trio.Event()

    def schedule(self, item: Expiring) -> None:
        """Tell that item's deadline may have come nearer. Costs nothing when it has not."""
        at = item.next_deadline()
        entry = item.deadline_entry
        if entry is not None:
            if entry.at <= at:
                return
            self._empty(entry)
        if at == inf:
            item.deadline_entry = None
            return
        self._push(at, item)
        if at < self._wakes_at:
            self._wake.set()

    def forget(self, item: Expiring) -> None:
        """Drop item's entry; it holds item no longer."""
        if item.deadline_entry is not None:
            self._empty(item.deadline_entry)
            item.deadline_entry = None

    def _empty(self, entry: Entry) -> None:
        entry.item = None
        self._emptied += 1
        if self._emptied > _SWEEP_AT and self._emptied > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry.item is not None]
            heapq.heapify(self._heap)
            self._emptied = 0

    @trio.lowlevel.enable_ki_protection
    async def run(self, read_ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Expire what is due, until cancelled.

        Args:
            read_ready: reads all that has arrived. It is awaited between looking at the clock and
                judging by it: nobody is given up for what lies unread because we were late.
        """
        while True:
            now = trio.current_time()
            if read_ready is not None and self._heap and self._heap[0].at <= now:
                await read_ready()
            for _ in range(_SLICE):
                if not self._heap or self._heap[0].at > now:
                    break
                self._expire(heapq.heappop(self._heap), now)
            else:
                await trio.lowlevel.checkpoint()
                continue
            await trio.sleep(self._coalesce_s)
            self._wake = trio.Event()
            self._wakes_at = self._heap[0].at if self._heap else inf
            with trio.move_on_at(self._wakes_at):
                await self._wake.wait()
            self._wakes_at = -inf

    def _expire(self, entry: Entry, now: float) -> None:
        item = entry.item
        if item is None:
            self._emptied -= 1
            return
        item.deadline_entry = None
        try:
            if item.next_deadline() <= now:
                item.expire(now)
            at = item.next_deadline()
        except BaseException:  # one owner's defect is not the others'
            log.exception("a deadline of %r failed: this is a defect of trio-socketio", item)
            at = now + _RETRY_S  # it is not forgotten: nothing else would ever end it
        if item.deadline_entry is None and at < inf:
            self._push(at, item)

    def _push(self, at: float, item: Expiring) -> None:
        item.deadline_entry = entry = Entry(at, next(self._number), item)
        heapq.heappush(self._heap, entry)
