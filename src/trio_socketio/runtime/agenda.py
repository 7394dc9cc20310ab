"""The work that is left at the end of a turn of the poller, and for the next turn."""

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

from trio_socketio.net.driving import Failing, Flushable, Pollable, Resumable
from trio_socketio.runtime.fence import Fences

log = logging.getLogger(__name__)

_SENDS_PER_LOOK: Final = 64


class Agenda:
    """The queues of a turn.

    Whatever is called here may raise: that ends the connection in question alone.

    Args:
        unregister: stops watching a connection, which is called before its descriptor is closed.
        fences: are looked at before anything is sent.

    Attributes:
        dirty: have output that is to be sent at the end of the turn.
        deferred: calls that are to be made when the batch is done, before anything is sent.
        released: connections that are to be closed last.
        again: have more to do in the next turn.
        failures: how many exceptions were contained.
    """

    __slots__ = ("_fences", "_unregister", "again", "deferred", "dirty", "failures", "released")

    def __init__(self, unregister: Callable[[Pollable], None], fences: Fences) -> None:
        self._unregister = unregister
        self._fences = fences
        self.dirty: list[Flushable] = []
        self.deferred: deque[Callable[[], None]] = deque()
        self.released: list[Pollable] = []
        self.again: deque[Resumable] = deque()
        self.failures = 0

    def __bool__(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.dirty or self.deferred or self.released or self.again)

    def go_on(self, ends: float) -> None:
        """Call each item of `again` once, or as many as are reached until a time.

        Args:
            ends: when to leave the rest for later, on perf_counter's clock. One is always called.
        """
        for _ in range(len(self.again)):
            item = self.again.popleft()
            try:
                item.on_more()
            except BaseException as error:
                self.contain(item, error)
            if perf_counter() > ends:
                break

    def settle(self, ends: float) -> bool:
        """Make the deferred calls, send the output, then close what was released.

        Args:
            ends: when to leave the rest for later, on perf_counter's clock.
        Returns:
            Whether all is done.
        """
        deferred, dirty, fences = self.deferred, self.dirty, self._fences
        while deferred or dirty:
            while deferred:
                callback = deferred.popleft()
                try:
                    callback()
                except BaseException:
                    self.failures += 1
                    log.exception("a deferred call failed: this is a defect of trio-socketio")
                if perf_counter() > ends:
                    return False
            # LEASE-41: after the calls, which may have taken long. What was passed is dealt with by
            # further calls, which are made before anything is sent.
            if fences.at < inf and fences.look():
                continue
            sends = 0
            # The list may grow meanwhile, because to flush a polling transport writes a response.
            for item in dirty:
                sends += 1
                try:
                    item.flush()
                except BaseException as error:
                    self.contain(item, error)
                if sends % _SENDS_PER_LOOK == 0 and (perf_counter() > ends or fences.is_passed()):
                    break
            del dirty[:sends]
            if dirty:
                return False
        released = self.released
        while released:
            connection = released.pop()
            self._unregister(connection)
            connection.release()
        return True

    def contain(self, item: Failing, error: BaseException) -> None:
        """Log what an item has raised, and have the item give up."""
        self.failures += 1
        log.error(
            "a connection failed and is closed: this is a defect of trio-socketio or of a hook",
            exc_info=error,
        )
        item.fail(error)
