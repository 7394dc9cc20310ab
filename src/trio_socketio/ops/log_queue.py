"""The entries of the log that wait to be written, within bounds."""

from queue import Empty, SimpleQueue
from typing import Final

from trio_socketio.ops.entries import Entry

MAX_WEIGHT: Final = 16 << 20
"""About how many bytes the entries that wait may hold."""


class LogQueue:
    """Holds entries between those who log and the one thread that writes (LOG-01, LOG-03).

    Those who log call `put`, one at a time. The thread that writes calls everything else. Each
    count is changed on one side only, so there is nothing to lock.

    Args:
        max_entries: how many may wait; it may change at any time.

    Attributes:
        dropped: how many did not fit.
    """

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.dropped = 0
        self._entries: SimpleQueue[Entry | None] = SimpleQueue()
        self._put_count = self._put_weight = 0
        self._taken_count = self._taken_weight = 0

    def __len__(self) -> int:
        return self._put_count - self._taken_count

    def put(self, entry: Entry) -> None:
        """Add an entry, or drop it and count it. Never blocks."""
        weight = entry.weight
        if (
            len(self) >= self.max_entries
            or self._put_weight - self._taken_weight + weight > MAX_WEIGHT
        ):
            self.dropped += 1
            return
        self._put_count += 1
        self._put_weight += weight
        self._entries.put(entry)

    def wake(self) -> None:
        """Have `take` return although there may be nothing. For any thread."""
        self._entries.put(None)

    def take(self, most: int) -> list[Entry]:
        """Wait for an entry, or for `wake`, and return what there is, up to a number of entries."""
        taken: list[Entry] = []
        entry = self._entries.get()
        while entry is not None:
            self._taken_count += 1
            self._taken_weight += entry.weight
            taken.append(entry)
            if len(taken) == most:
                break
            try:
                entry = self._entries.get_nowait()
            except Empty:
                break
        return taken
