"""Ends a worker whose parent has gone, if its event loop cannot do so because the app blocks it."""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

NOTICE_S: Final = 5.0
"""How long the event loop may take to notice that the parent has gone."""
_WRITE_S: Final = 0.5
"""The time that a write to the log may take."""
_STEPS: Final = 10
"""The number of steps in which such a time is waited for."""
_SLACK_S: Final = 0.5
"""How much later than asked an overloaded machine may wake a thread."""


def _end_now() -> None:
    os._exit(1)


class OrphanWatch:
    """A thread that waits until the parent has gone; it ends with the process.

    The event loop notices that too, and stops in stages. But a worker that the app blocks would
    live on, and keep the port. The system could send a signal instead (PR_SET_PDEATHSIG). But that
    would have to be SIGKILL, even for workers that can stop in stages; it exists only on Linux; and
    it is sent when the thread that started the worker ends.

    Like any Python thread, it runs only while it holds the GIL. Code that does not release the GIL
    (a package in C, or a regular expression that backtracks endlessly) keeps this thread from
    running, and by then the parent, which would kill the worker, has gone.
    faulthandler.dump_traceback_later does not need the GIL. But the event loop would have to
    postpone it all the time, and it would end workers that are blocked, or stopped by a debugger,
    while the parent lives.

    Args:
        link: the socket to the parent, which has gone when its end is closed.
        end: ends the process, in place of os._exit.
    """

    def __init__(self, link: socket.socket, end: Callable[[], None] = _end_now) -> None:
        self._link = link
        self._end = end
        self._noticed = threading.Event()
        self._stop_s = 0.0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name="orphan watch", daemon=True).start()

    def noticed(self, stop_s: float) -> None:
        """Note that the event loop has noticed that the parent has gone.

        Args:
            stop_s: how long this process may take to stop from now on.
        """
        self._stop_s = stop_s
        self._noticed.set()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._link, 0)  # always reports a hang-up; data are for the event loop
        poll.poll()
        if not _wait_running(self._noticed, NOTICE_S):  # WORK-65
            why = f"its app has kept it from noticing for {NOTICE_S:g} s"
        else:  # the process should end before that, and this thread with it
            _wait_running(threading.Event(), self._stop_s)
            why = f"it has not stopped within {self._stop_s:g} s"  # WORK-66
        # The blocked code may hold the lock of a log handler, or standard error may accept nothing.
        # Then the line is lost, but the process still ends.
        teller = threading.Thread(target=_tell, args=(why,), name="orphan log", daemon=True)
        with suppress(RuntimeError):  # the system has no thread left, or Python is exiting
            teller.start()
        time.sleep(_WRITE_S)
        self._end()


def _tell(why: str) -> None:
    log.critical("the parent of this worker has gone, and %s: it ends at once", why)


def _wait_running(event: threading.Event, timeout_s: float) -> bool:
    """Wait for an event, and return whether it has come.

    Time in which a signal has stopped the process does not count, because the event loop could not
    notice anything meanwhile. So it waits in steps, and repeats a step that has taken far too long.
    It repeats at most as many steps as there are, because code that seldom releases the GIL makes
    every step too long.
    """
    step_s = timeout_s / _STEPS
    counted = 0
    for _ in range(2 * _STEPS):
        began = time.monotonic()
        if event.wait(step_s):
            return True
        if time.monotonic() - began < 2 * step_s + _SLACK_S:
            counted += 1
            if counted == _STEPS:
                break
    return event.is_set()
