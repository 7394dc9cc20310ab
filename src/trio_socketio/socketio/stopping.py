"""The stages of a stop that clients notice: the end of accepting, and the closing of sessions.

A stop that is asked for while one is under way can bring its stages forward, but never puts them
off. It may therefore be asked for any number of times.
"""

import logging
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")

_SLICE_S: Final = 0.05  # sleep only when this far ahead, rather than after each session
_CLOSES_PER_LOOK: Final = 64  # other tasks run after this many, even without a window
_TELL_S: Final = 5.0


class Stopping:
    """The times of the stop of one mount (OPS-32).

    Args:
        window_s: the time over which sessions are closed, unless a stop says otherwise.
    """

    def __init__(self, window_s: float) -> None:
        self._accept_until = -inf  # a server that is stopped while it starts has no clients
        self._delay_s = 0.0
        self._window_s = window_s
        self._close_by = inf  # set when closing begins
        self._sooner = trio.Event()

    def ask(self, delay_s: float, window_s: float, *, is_first: bool) -> None:
        """Ask for the stop.

        Args:
            delay_s: how long clients are still accepted from now on.
            window_s: the time over which sessions are closed after that, or from now on if closing
                has begun.
            is_first: whether no other stop is under way. Otherwise a stage that would already end
                sooner is left as it is.
        """
        now = trio.current_time()
        accept_until = now + delay_s
        if is_first:
            self._accept_until, self._delay_s, self._window_s = accept_until, delay_s, window_s
            return
        self._accept_until = min(self._accept_until, accept_until)
        self._window_s = min(self._window_s, window_s)
        if self._close_by < inf:
            self._close_by = min(self._close_by, now + window_s)
        self._sooner.set()
        self._sooner = trio.Event()

    async def wait_accepting_over(self) -> None:
        """Wait until no more clients are to be accepted."""
        if self._accept_until > trio.current_time():
            log.info("stopping: new clients are accepted for another %g s", self._delay_s)
        while self._accept_until > trio.current_time():
            await self._sleep_until(self._accept_until)

    async def close_all(self, sessions: "Sequence[T]", close: "Callable[[T], None]") -> None:
        """Close sessions one by one, spread evenly over the window (RUN-20).

        Clients connect to other nodes at the rate at which their sessions are closed here.

        Args:
            sessions: of this node, and what leads through it to sessions of others.
            close: closes one of them.
        """
        count = len(sessions)
        if count:
            log.info("closing %d sessions over %g s", count, self._window_s)
        began = trio.current_time()
        self._close_by = planned = began + self._window_s
        first, tell_at = 0, began + _TELL_S
        for number, session in enumerate(sessions):
            while True:
                now = trio.current_time()
                if self._close_by < planned:  # the remaining sessions share the remaining time
                    began, first, planned = now, number, self._close_by
                due = began + (planned - began) * (number - first) / (count - first)
                if due - now <= _SLICE_S:
                    break
                if now >= tell_at:
                    log.info("closed %d of %d sessions", number, count)  # OPS-33
                    tell_at = now + _TELL_S
                await self._sleep_until(min(due, tell_at))
            close(session)
            if number % _CLOSES_PER_LOOK == 0:
                await trio.lowlevel.checkpoint()

    async def _sleep_until(self, at: float) -> None:
        """Sleep until a time on trio's clock, or until the stop is brought forward."""
        with trio.move_on_at(at):
            await self._sooner.wait()
