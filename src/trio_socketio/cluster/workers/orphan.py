"""Ends a worker whose parent has gone, if its event loop cannot do so because the app blocks it."""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

NOTICE_S: Final = 5.0
"""How long the event loop may take to notice that the parent has gone."""
_WRITE_S: Final = 0.5
"""How long the log may take to be written."""


def _end_now() -> None:
    os._exit(1)


class OrphanWatch:
    """A thread that waits until the parent has gone; it ends with the process.

    The event loop notices that too, and stops in stages. But a worker that the app blocks would
    live on, and keep the port. The system could send a signal instead (PR_SET_PDEATHSIG), but that
    would be SIGKILL for those that can stop in stages as well, exists on Linux alone, and is sent
    when the thread ends that has started the worker.

    Args:
        link: the socket to the parent, which is gone when its end is closed.
        end: ends the process, in place of what does so.
    """

    def __init__(self, link: socket.socket, end: Callable[[], None] = _end_now) -> None:
        self._link = link
        self._end = end
        self._noticed = threading.Event()
        self._stop_s = 0.0

    def start(self) -> None:
        """Begin to wait."""
        threading.Thread(target=self._watch, name="orphan watch", daemon=True).start()

    def noticed(self, stop_s: float) -> None:
        """Note that the event loop has noticed it.

        Args:
            stop_s: how long this process may take to stop from now on.
        """
        self._stop_s = stop_s
        self._noticed.set()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._link, 0)  # a hang-up is always told, and data are for the event loop
        poll.poll()
        if not self._noticed.wait(NOTICE_S):  # WORK-65
            why = f"its app has kept it from noticing for {NOTICE_S:g} s"
        else:
            time.sleep(self._stop_s)  # the process ends before that, and this thread with it
            why = f"it has not stopped within {self._stop_s:g} s"  # WORK-66
        log.critical("the parent of this worker has gone, and %s: it ends at once", why)
        time.sleep(_WRITE_S)
        self._end()
