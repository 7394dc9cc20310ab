"""The thread that writes the log."""

import os
import select
import threading
from time import monotonic, time
from typing import Final

from trio_socketio.ops.entries import Entry, Format
from trio_socketio.ops.log_queue import LogQueue

CHUNK: Final = 64
"""How many entries are formatted before each write, which lets other threads run."""
GATHER_S: Final = 0.02
"""How long the thread rests after a write, unless more than a chunk waits. Waking it for each entry
would cost the thread that logs a system call, and both threads a switch."""
CLOSE_S: Final = 2.0
"""How long the end of the program waits until the queue has been written (LOG-04)."""
TELL_S: Final = 1.0
"""How often the number of lost entries is written while more are lost."""
_RETRY_S: Final = 0.1


class LogWriter:
    """Formats entries and writes them to a descriptor (LOG-01).

    A reader that stalls blocks only this thread. After the reader has gone, entries are lost; they
    are counted, and their number is written when there is a reader again (LOG-02).

    Args:
        queue: holds the entries.
        style: formats an entry; it may change at any time.
        descriptor: is written to, and closed at the end.

    Attributes:
        lost: how many entries could not be written.
    """

    def __init__(self, queue: LogQueue, style: Format, descriptor: int) -> None:
        self.style = style
        self.lost = 0
        self._queue = queue
        self._descriptor = descriptor
        self._dropped_told = self._lost_told = 0
        self._told_at = 0.0
        self._why = ""  # why the last entry could not be written
        self._is_torn = False  # a write broke off within a line
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trio-socketio log", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system allows no further thread; the descriptor is closed.
        """
        try:
            self._thread.start()
        except RuntimeError:
            self._close_descriptor()
            raise

    def write_now(self, entry: Entry) -> None:
        """Write an entry without the thread, which a forked process does not have (LOG-15)."""
        self._write([entry])

    def close(self) -> None:
        """Write what is left, for CLOSE_S at most, and end."""
        self._closing.set()
        self._queue.wake()
        self._thread.join(CLOSE_S)
        # A thread that is still writing ends with the process, and keeps its descriptor until then.

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._write_some()
            except Exception as error:  # LOG-14: such as a lack of memory, which may be over soon
                self._why = repr(error)
                self._closing.wait(_RETRY_S)
        self._tell_lost()
        self._close_descriptor()

    def _write_some(self) -> bool:
        """Write what waits, up to a chunk; return whether there may be more."""
        entries = self._queue.take(CHUNK)
        if entries and self._write(entries):
            self._tell_lost()
        if len(entries) == CHUNK:
            return True
        if self._closing.is_set() and not len(self._queue):
            return False
        self._closing.wait(GATHER_S)
        return True

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _tell_lost(self) -> None:
        """Write how many entries were dropped or could not be written, once that is possible."""
        dropped = self._queue.dropped
        if (dropped, self.lost) == (self._dropped_told, self._lost_told):
            return
        now = monotonic()
        if len(self._queue) and now - self._told_at < TELL_S:
            return  # it is written after the entries that still wait
        self._told_at = now
        lines = []
        if dropped != self._dropped_told:
            lines.append(
                f"{dropped - self._dropped_told:,} records were dropped because the log was not "
                f"read fast enough; {self._queue.max_entries:,} may wait ([log] queue_records)"
            )
        if self.lost != self._lost_told:
            lines.append(
                f"{self.lost - self._lost_told:,} records could not be written: {self._why}"
            )
        lost = self.lost
        if self._write([Entry(time(), "WARNING", __name__, line) for line in lines]):
            self._dropped_told, self._lost_told = dropped, lost
        else:
            self.lost = lost  # these lines are not lost, because they are tried again

    def _write(self, entries: list[Entry]) -> bool:
        """Write entries; return whether they were written. If not, they are counted."""
        try:
            data = "\n".join([self._format(entry) for entry in entries]) + "\n"
            self._write_all(data.encode(errors="backslashreplace"))
        except Exception as error:
            self.lost += len(entries)
            self._why = getattr(error, "strerror", None) or repr(error)
            return False
        return True

    def _format(self, entry: Entry) -> str:
        try:
            return self.style(entry)
        except Exception as error:  # LOG-14: from any of its fields, so none of them is used here
            self.lost += 1
            self._lost_told += 1  # by this line
            what = f"a record cannot be formatted: {type(error).__name__}"
            return self.style(Entry(time(), "ERROR", __name__, what))

    def _write_all(self, data: bytes) -> None:
        """Write all bytes, however long that takes.

        Raises:
            OSError: the reader has gone, or the disk is full.
        """
        left = memoryview(b"\n" + data if self._is_torn else data)
        self._is_torn = False
        size = len(left)
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # another process that shares it has made it non-blocking
                    waiting = select.poll()
                    waiting.register(self._descriptor, select.POLLOUT)
                    waiting.poll(_RETRY_S * 1000)
        finally:
            self._is_torn = 0 < len(left) < size
