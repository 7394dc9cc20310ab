"""One task drives every connection.

A *turn* is what happens between two scheduler passes of trio: connections that are ready are
called, one after the other; what they wrote is gathered and sent once per connection; what they
marked for closing is closed. A turn ends after TURN_S and the rest goes on in the next, so other
tasks of the program are never kept waiting for long.

Nothing here knows what a connection does with its bytes. Whatever it raises ends that connection
alone, SystemExit and its like included; Ctrl-C is never raised here, because what calls connections
runs under trio's KeyboardInterrupt protection.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import get_ident
from time import perf_counter
from typing import Final

import trio
from trio.lowlevel import checkpoint, current_statistics, enable_ki_protection

from trio_socketio.errors import LocalProtocolError
from trio_socketio.net.driving import Flushable, Pollable, Resumable

log = logging.getLogger(__name__)

TURN_S: Final = 0.001
GATHER_S: Final = 0.0005
"""How long output of tasks is kept for more of it, while there are tasks to run: a send costs as
much as a handler, and a peer that is sent less often also asks in larger pieces."""

_SENDS_PER_LOOK: Final = 64
_SEND_S: Final = 8e-6  # about what sending to one connection costs


class Poller(ABC):
    """What both pollers share: dirty output, deferred calls, two-step closing."""

    def __init__(self) -> None:
        self.turn_ends = 0.0
        """When whoever runs in this turn should let others go on, on perf_counter's clock."""
        self._in_turn = False
        self._dirty: list[Flushable] = []
        self._gathered: list[Flushable] = []  # made dirty outside a turn
        self._deferred: deque[Callable[[], None]] = deque()
        self._again: deque[Resumable] = deque()
        self._released: list[Pollable] = []
        self._flusher: trio.lowlevel.Task | None = None
        self._failures = 0
        self._thread: int | None = None  # that drives, while one does
        self._slow_turn_s = float("inf")
        self._log_slow: Callable[[float], None] = _ignore

    def on_slow_turn(self, threshold_s: float, callback: Callable[[float], None]) -> None:
        """Have callback told how long a turn took that took longer than threshold_s."""
        self._slow_turn_s = threshold_s
        self._log_slow = callback

    @property
    def failures(self) -> int:
        """How many exceptions stopped at a barrier: each is a defect, and was logged."""
        return self._failures

    def check_thread(self) -> None:
        """Whoever is about to change something may be in another thread.

        Raises:
            LocalProtocolError: it is; nothing was done.
        """
        if self._thread is not None and get_ident() != self._thread:
            raise LocalProtocolError(
                "the server runs in another thread, and nothing was done: use its from_thread"
            )

    @abstractmethod
    def register(self, connection: Pollable) -> None:
        """Watch a connection for READ from now on."""

    @abstractmethod
    def watch(self, connection: Pollable, events: int) -> None:
        """Change what a registered connection is watched for."""

    @abstractmethod
    def unregister(self, connection: Pollable) -> None:
        """Forget it; its descriptor is still open."""

    @abstractmethod
    def _registered(self) -> list[Pollable]:
        """What is watched."""

    @abstractmethod
    async def read_ready(self) -> None:
        """Have every connection read that has something to be read now, once.

        What arrived before the call has been seen when it returns, however late the program is.
        """

    def _close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what is held, when nothing runs any more."""

    @abstractmethod
    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        """Drive the connections until cancelled."""

    def mark_dirty(self, item: Flushable) -> None:
        """Have item.flush called at the end of this turn, or within GATHER_S outside one."""
        if self._in_turn:
            self._dirty.append(item)
        else:
            self._wake()
            self._gathered.append(item)

    def defer(self, callback: Callable[[], None]) -> None:
        """Call back when this turn's batch is done, or at once outside a turn; never from here."""
        if not self._in_turn:
            self._wake()
        self._deferred.append(callback)

    def call_again(self, item: Resumable) -> None:
        """Have item.on_more called in the next turn."""
        if not self._in_turn:
            self._wake()
        self._again.append(item)

    def close_later(self, connection: Pollable) -> None:
        """Release a connection when the batch is done: its number cannot come back within it."""
        if not self._in_turn:
            self._wake()
        self._released.append(connection)

    def settle_all(self) -> None:
        """Do now what was deferred, however long it takes: for the end, where nobody may wait."""
        self._settle_all()
        self._in_turn = False

    async def wait_settled(self) -> None:
        """Wait until what was deferred before has been called."""
        settled = trio.Event()
        self.defer(settled.set)
        await settled.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drive connections while the block runs; what is open at its end is released."""
        self._thread = get_ident()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._flush_forever)
                await nursery.start(self._run)
                try:
                    yield
                finally:
                    self._settle_all()
                    self._released.extend(self._registered())
                    self._settle_all()
                    nursery.cancel_scope.cancel()
        finally:
            self._thread = None
            self._close()  # last: whoever is cancelled from outside still releases connections

    def _wake(self) -> None:
        flusher = self._flusher
        if flusher is not None:
            # First what another thread cannot do: it raises there, and nothing has changed.
            trio.lowlevel.reschedule(flusher)
            self._flusher = None

    @enable_ki_protection
    async def _flush_forever(self) -> None:
        """Output made outside a turn leaves when no task can add to it, or after GATHER_S."""
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._flusher = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if not (self._gathered or self._has_work):
                self._flusher = task
                await trio.lowlevel.wait_task_rescheduled(abort)
            if not self._has_work:
                await self._gather()
            self._begin_turn()
            self._take_gathered()
            if not self._deferred:  # what was closed is over before anybody reads on
                self._go_on()
            await self._finish_turn()
            if self._again:
                await checkpoint()

    @property
    def _has_work(self) -> bool:
        """Whether a turn left something behind, or something was asked for outside one."""
        return bool(self._dirty or self._deferred or self._released or self._again)

    async def _gather(self) -> None:
        """Let tasks write more, for as long as there are any to run."""
        ends = perf_counter() + GATHER_S
        while current_statistics().tasks_runnable and not self._has_work:
            await checkpoint()
            if perf_counter() > ends:
                break

    def _take_gathered(self) -> None:
        self._dirty += self._gathered
        self._gathered.clear()

    def _begin_turn(self) -> None:
        self._in_turn = True
        self.turn_ends = perf_counter() + TURN_S

    def _go_on(self) -> None:
        """Call those that were promised another call; bounded by the turn."""
        for _ in range(len(self._again)):
            item = self._again.popleft()
            try:
                item.on_more()
            except BaseException as error:
                self._contain(item, error)
            if perf_counter() > self.turn_ends:
                break

    async def _finish_turn(self) -> None:
        """Do what the turn left behind, in as many turns as that takes."""
        if self._again:
            await self._read_on()
        while not self._settle():
            await checkpoint()
            self._begin_turn()

    async def _read_on(self) -> None:
        """Let those that were interrupted go on, a turn each, before what they wrote is sent.

        Several messages of one read fill many a turn when each is a broadcast. Their output is
        still joined, but it waits no longer than sending it takes.
        """
        ends = perf_counter() + len(self._dirty) * _SEND_S
        while self._again and not self._deferred and perf_counter() < ends:
            self._in_turn = False
            self._tell_slow()
            await checkpoint()
            self._begin_turn()
            self._go_on()

    def _tell_slow(self) -> None:
        over_s = perf_counter() - self.turn_ends
        if over_s > self._slow_turn_s:
            self._log_slow(over_s + TURN_S)

    def _settle(self) -> bool:
        """Do what the turn left behind, for as long as it lasts; whether all is done.

        Ends the turn either way.
        """
        self._tell_slow()
        done = self._settle_until(self.turn_ends)
        self._in_turn = False
        if self._again:
            self._wake()
        return done

    def _settle_until(self, ends: float) -> bool:
        deferred, dirty = self._deferred, self._dirty
        while deferred or dirty:
            while deferred:
                callback = deferred.popleft()
                try:
                    callback()
                except BaseException:
                    self._failures += 1
                    log.exception("a deferred call failed: this is a defect of trio-socketio")
                if perf_counter() > ends:
                    return False
            sends = 0
            for item in dirty:  # grows while polling transports turn packets into responses
                sends += 1
                try:
                    item.flush()
                except BaseException as error:
                    self._contain(item, error)
                if sends % _SENDS_PER_LOOK == 0 and perf_counter() > ends:
                    break
            del dirty[:sends]
            if dirty:
                return False
        released = self._released
        while released:
            connection = released.pop()
            self.unregister(connection)
            connection.release()
        return True

    @enable_ki_protection
    def _settle_all(self) -> None:
        self._in_turn = True
        self._take_gathered()
        while not self._settle_until(float("inf")):
            pass

    def _contain(self, item: Flushable | Resumable, error: BaseException) -> None:
        self._failures += 1
        log.error(
            "a connection failed and is closed: this is a defect of trio-socketio or of a hook",
            exc_info=error,
        )
        item.fail(error)


def _ignore(_: float) -> None:
    """Nobody asked to be told."""
