"""One task drives every connection.

A *turn* is what happens between two scheduler passes of trio. Connections that are ready are
called, one after the other; then each one's output is sent as a whole, and those that were marked
for closing are closed. A turn ends after TURN_S, and what is left is done in the next, so that the
other tasks of the program never wait for long.

Whatever a connection raises ends that connection alone, SystemExit and its like included. Ctrl-C is
never raised here, because connections are called under trio's protection from KeyboardInterrupt.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from threading import get_ident
from time import perf_counter
from typing import Final

import trio
from trio.lowlevel import checkpoint, current_statistics, enable_ki_protection

from trio_socketio.errors import LocalProtocolError
from trio_socketio.net.driving import Flushable, Pollable, Resumable
from trio_socketio.runtime.agenda import Agenda
from trio_socketio.runtime.fence import Fences

TURN_S: Final = 0.001
GATHER_S: Final = 0.0005
"""For how long at most the output of tasks is kept while other tasks can run, which may add to it.
A send costs as much as a handler does, and a peer that is sent several answers at once sends its
next questions at once too."""

_SEND_S: Final = 8e-6  # about how long it takes to send to one connection


class Poller(ABC):
    """The base of both pollers: gathered output, deferred calls, and closing in two steps.

    It has 32 methods, because ten tell its two kinds apart, and twelve are for connections and
    for the runtime. What a turn has to do is in `Agenda`; the others begin and end turns, and
    belong to the one task that does so.
    """

    def __init__(self) -> None:
        self.turn_ends = 0.0
        """When this turn should end, on perf_counter's clock."""
        self.late_s = 0.0
        """The total time by which turns overran."""
        self.fences = Fences()
        """What ends if the program stands still for too long."""
        self._in_turn = False
        self._agenda = Agenda(self.unregister, self.fences)
        self._dirty = self._agenda.dirty  # at hand, because mark_dirty is called for every output
        self._gathered: list[Flushable] = []  # marked dirty outside a turn
        self._flusher: trio.lowlevel.Task | None = None
        self._thread: int | None = None  # the thread that drives; None while the poller is idle
        self._slow_turn_s = inf
        self._tell_slow_turn: Callable[[float], None] = _ignore

    def on_slow_turn(self, threshold_s: float, callback: Callable[[float], None]) -> None:
        """Have callback called with the length in seconds of each turn longer than threshold_s."""
        self._slow_turn_s = threshold_s
        self._tell_slow_turn = callback

    @property
    def failures(self) -> int:
        """How many exceptions were contained here. Each was logged, and shows a defect."""
        return self._agenda.failures + self.fences.failures

    def check_thread(self) -> None:
        """Refuse a call from another thread, before anything has changed.

        Raises:
            LocalProtocolError: the poller runs in another thread; nothing was done.
        """
        if self._thread is not None and get_ident() != self._thread:
            raise LocalProtocolError(
                "the server runs in another thread, and nothing was done: use its from_thread"
            )

    @abstractmethod
    def register(self, connection: Pollable, *, preferred: bool = False) -> None:
        """Watch a connection for READ from now on; it is a newcomer unless it is preferred."""

    @abstractmethod
    def prefer(self, connection: Pollable) -> None:
        """Have a connection come before all newcomers; ignored if it is preferred already."""

    @abstractmethod
    def watch(self, connection: Pollable, events: int) -> None:
        """Change the events that a registered connection is watched for."""

    @abstractmethod
    def unregister(self, connection: Pollable) -> None:
        """Stop watching a connection, whose descriptor is still open."""

    @abstractmethod
    def _registered(self) -> list[Pollable]:
        """The connections that are watched."""

    @abstractmethod
    async def read_ready(self) -> None:
        """Have each connection that has something to read do so once.

        When this returns, all that had arrived before the call has been read, however late this
        process was.
        """

    @abstractmethod
    def find_closed(self) -> list[Pollable]:
        """Return the connections that are read and that their peers have closed.

        It takes up to 1.5 us for each connection that is ready.
        """

    def _close(self) -> None:  # noqa: B027 - a poller need not hold anything
        """Release what the poller holds, when nothing runs any more."""

    @abstractmethod
    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        """Drive the connections until cancelled."""

    def mark_dirty(self, item: Flushable) -> None:
        """Have item.flush called at the end of this turn, or within GATHER_S if there is none."""
        if self._in_turn:
            self._dirty.append(item)
        else:
            if self._flusher is not None:
                self._wake()
            self._gathered.append(item)

    def defer(self, callback: Callable[[], None]) -> None:
        """Call back when this turn's batch is done, or soon if there is none; never from here."""
        if not self._in_turn:
            self._wake()
        self._agenda.deferred.append(callback)

    def call_again(self, item: Resumable) -> None:
        """Have item.on_more called in the next turn."""
        if not self._in_turn:
            self._wake()
        self._agenda.again.append(item)

    def close_later(self, connection: Pollable) -> None:
        """Have connection.release called when this turn's batch is done.

        Were the descriptor closed at once, its number could be reused within the batch, and the new
        connection be given the old one's events.
        """
        if not self._in_turn:
            self._wake()
        self._agenda.released.append(connection)

    def settle_all(self) -> None:
        """Do now all that was deferred, however long it takes; for the end of a program."""
        self._settle_all()
        self._in_turn = False

    async def wait_settled(self) -> None:
        """Wait until everything that is deferred so far has been called."""
        settled = trio.Event()
        self.defer(settled.set)
        await settled.wait()

    def is_fenced(self) -> bool:
        """Whether a fence was passed whose user was not called yet."""
        return self.fences.is_passed()

    async def wait_fenced(self) -> None:
        """Wait until the users of passed fences were called, and what they have ended has ended."""
        await self.wait_settled()  # a turn begins with the calls
        await self.wait_settled()  # and the next one with what they have deferred, at the latest

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drive connections while the block runs; those still open at its end are released."""
        self._thread = get_ident()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._flush_forever)
                await nursery.start(self._run)
                try:
                    yield
                finally:
                    self._settle_all()
                    self._agenda.released.extend(self._registered())
                    self._settle_all()
                    nursery.cancel_scope.cancel()
        finally:
            self._thread = None
            self._close()  # last, because a block that is cancelled still releases connections

    def _wake(self) -> None:
        flusher = self._flusher
        if flusher is not None:
            # First, because this raises in another thread, and then nothing has changed.
            trio.lowlevel.reschedule(flusher)
            self._flusher = None

    @enable_ki_protection
    async def _flush_forever(self) -> None:
        """Send output that was made outside a turn, and go on with what turns have left."""
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._flusher = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if not (self._gathered or self._agenda):
                self._flusher = task
                await trio.lowlevel.wait_task_rescheduled(abort)
            if not self._agenda:
                await self._gather()
            self._begin_turn()
            self._take_gathered()
            # What was deferred may end sessions, and comes before more of their bytes are handled.
            if not self._agenda.deferred:
                self._agenda.go_on(self.turn_ends)
            await self._finish_turn()
            if self._agenda.again:
                await checkpoint()

    async def _gather(self) -> None:
        """Let tasks add to the output, while any can run and for GATHER_S at most."""
        ends = perf_counter() + GATHER_S
        while current_statistics().tasks_runnable and not self._agenda:
            await checkpoint()
            if perf_counter() > ends:
                break

    def _take_gathered(self) -> None:
        self._dirty += self._gathered
        self._gathered.clear()

    def _begin_turn(self) -> None:
        self._in_turn = True
        if self.fences.at < inf:  # LEASE-40: otherwise the clock need not be read
            self.fences.look()
        self.turn_ends = perf_counter() + TURN_S

    async def _finish_turn(self) -> None:
        """Do all that the turn has left, in as many turns as that takes."""
        if self._agenda.again:
            await self._read_on()
        while not self._settle():
            await checkpoint()
            self._begin_turn()

    async def _read_on(self) -> None:
        """Let interrupted items go on, in turns of their own, before their output is sent.

        If several messages of one read are broadcasts, each fills a turn. The output of all of them
        is joined into one send for each receiver, but waits no longer than the sending will take.
        """
        ends = perf_counter() + len(self._dirty) * _SEND_S
        while self._agenda.again and not self._agenda.deferred and perf_counter() < ends:
            self._in_turn = False
            self._tell_slow()
            await checkpoint()
            self._begin_turn()
            self._agenda.go_on(self.turn_ends)

    def _tell_slow(self) -> None:
        over_s = perf_counter() - self.turn_ends
        if over_s > 0.0:
            self.late_s += over_s
            if over_s > self._slow_turn_s:
                self._tell_slow_turn(over_s + TURN_S)

    def _settle(self) -> bool:
        """Do what the turn has left until it should end, and end it; return whether all is done."""
        self._tell_slow()
        agenda = self._agenda
        done = agenda.settle(self.turn_ends)
        self._in_turn = False
        if agenda.again:
            self._wake()
        return done

    @enable_ki_protection
    def _settle_all(self) -> None:
        self._in_turn = True
        self._take_gathered()
        while not self._agenda.settle(inf):
            pass


def _ignore(_: float) -> None:
    """The callback for slow turns before on_slow_turn is called."""
