"""The entries of the log that wait to be written, within bounds."""

from queue import Empty, SimpleQueue
from typing import Final

from trio_socketio.ops.entries import Entry

MAX_WEIGHT: Final = 16 << 20
"""The approximate size of the entries that may wait, in bytes."""


class LogQueue:
    """Holds entries between the threads that log and the one that writes (LOG-01, LOG-03).

    Threads that log call `put`, one at a time. The thread that writes calls everything else. Each
    count is changed by one side only, so no lock is needed.

    Args:
        max_entries: how many entries may wait; it may change at any time.

    Attributes:
        dropped: how many entries did not fit.
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
        """Make `take` return even if the queue is empty. For any thread."""
        self._entries.put(None)

    def take(self, most: int) -> list[Entry]:
        """Wait for an entry, or for `wake`, and return the entries, up to a number of them."""
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
