"""All deadlines of the server, in one heap that one task walks.

Nearly all of them move away before they come, so a timer or cancel scope for each would cost far
more than an entry that is queued anew when its time comes.
"""

import heapq
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from typing import Final

import msgspec
import trio

from trio_socketio.net.driving import Expiring

log = logging.getLogger(__name__)

_SLICE: Final = 128
_RETRY_S: Final = 10.0
_SWEEP_AT: Final = 1000
"""With more emptied entries than this, and more than half of the heap empty, it is rebuilt."""


class Entry(msgspec.Struct, order=True):
    """An entry of the heap. It is emptied when its owner is done, as to find it takes too long.

    The heap compares entries by their fields in this order; no two have the same number.
    """

    at: float
    number: int
    item: Expiring | None


class Deadlines:
    """A heap of deadlines.

    An entry stays where it is when its owner's deadline moves away. The walk that comes to it then
    queues it anew.

    Args:
        coalesce_s: the time between two walks, so that deadlines which lie close are met together,
            up to this much late. Code that must be exact, such as the check whether a session is
            still alive, compares times instead.

    Attributes:
        now: reads trio's clock, with one call where trio.current_time takes three.
    """

    def __init__(self, coalesce_s: float) -> None:
        self.now: Callable[[], float] = trio.current_time
        self._coalesce_s = coalesce_s
        self._heap: list[Entry] = []
        self._number = count()
        self._emptied = 0  # how many entries of the heap are empty
        self._wakes_at = -inf  # when run wakes by itself; -inf while it is not asleep
        self._wake = trio.Event()

    def __len__(self) -> int:
        """Return how many deadlines are watched (OPS-25)."""
        return len(self._heap) - self._emptied

    def schedule(self, item: Expiring) -> None:
        """Take note that an item's deadline may have come nearer; costs little if it has not."""
        at = item.next_deadline()
        entry = item.deadline_entry
        if entry is not None:
            if entry.at <= at:
                return
            self._empty(entry)
        if at == inf:
            return
        self._push(at, item)
        if at < self._wakes_at:
            self._wake.set()

    def forget(self, item: Expiring) -> None:
        """Empty the item's entry, which no longer refers to it."""
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
        """Expire the items that are due, until cancelled.

        Args:
            read_ready: reads all that has arrived. It is awaited after the clock was read and
                before anything is judged by it, so that no peer is given up while its answer lies
                unread in the kernel because this process was late (EIO4-82).
        """
        self.now = trio.lowlevel.current_clock().current_time
        while True:
            now = trio.current_time()
            if read_ready is not None and self._heap and self._heap[0].at <= now:
                await read_ready()
            # What was read is enough to judge all that was due then. To read takes long under
            # load, and a server that did so for each slice would fall behind with its pings and
            # give up clients that it has not asked (RUN-43).
            while not self._expire_slice(now):
                await trio.lowlevel.checkpoint()
            await trio.sleep(self._coalesce_s)
            self._wake = trio.Event()
            self._wakes_at = self._heap[0].at if self._heap else inf
            with trio.move_on_at(self._wakes_at):
                await self._wake.wait()
            self._wakes_at = -inf

    def _expire_slice(self, now: float) -> bool:
        """Expire some of the items that were due at a time; return whether those were the last."""
        for _ in range(_SLICE):
            if not self._heap or self._heap[0].at > now:
                return True
            self._expire(heapq.heappop(self._heap), now)
        return False

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
        except BaseException:  # the other deadlines must be met all the same
            log.exception("a deadline of %r failed: this is a defect of trio-socketio", item)
            at = now + _RETRY_S  # tried again, because nothing else would ever end the item
        if item.deadline_entry is None and at < inf:
            self._push(at, item)

    def _push(self, at: float, item: Expiring) -> None:
        item.deadline_entry = entry = Entry(at, next(self._number), item)
        heapq.heappush(self._heap, entry)
