"""Makes the calls of one peer: they begin in the order in which they came, and wait concurrently.

A plain call is made where its line is read, and needs no task. An async one begins in a task; as
soon as it waits for something, the next call begins. Calls that wait for nothing are made one after
the other, and other tasks run whenever that has taken SLICE_S (CONTROL-71).
"""

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

import trio

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]

SLICE_S: Final = 0.001
"""The time after which a run of calls pauses, so that other tasks can run."""
_PAUSE: Final = object()


class Nursery(Protocol):
    """Where tasks run: trio's Nursery, as far as it is needed."""

    def start_soon(self, function: Job, /) -> None:
        """Run a function in a task."""


class CallQueue:
    """The calls of one peer that cannot be made at once.

    Args:
        nursery: where their tasks run.
        on_done: called whenever one of them is done.

    Attributes:
        count: how many wait to begin or are under way.
    """

    __slots__ = ("_has_left", "_nursery", "_on_done", "_scopes", "_waiting", "_working", "count")

    def __init__(self, nursery: Nursery, on_done: Callable[[], None]) -> None:
        self._nursery = nursery
        self._on_done = on_done
        self._waiting: deque[Job] = deque()
        self._working = False  # a task is about to begin the first call of the queue
        self._scopes: set[trio.CancelScope] = set()  # of the calls that wait for something
        self._has_left = False
        self.count = 0

    @property
    def is_idle(self) -> bool:
        """Whether no call waits to begin, so that a plain one may be made here and now."""
        return not self._working

    def add(self, job: Job) -> None:
        """Begin a call as soon as those before it have begun."""
        self.count += 1
        self._waiting.append(job)
        if not self._working:
            self._working = True
            self._nursery.start_soon(self._work)

    def cancel(self) -> None:
        """Cancel every call that waits for something, because the peer has gone.

        Calls that have not begun were accepted, so they are still made, up to the point where they
        would wait (CONTROL-24).
        """
        self._has_left = True
        for scope in self._scopes:
            scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _work(self) -> None:
        has_passed_on = False

        def on_wait() -> None:
            nonlocal has_passed_on
            self._scopes.add(scope)
            if self._has_left:
                scope.cancel()
            if has_passed_on:
                return
            has_passed_on = True
            if self._waiting:
                self._nursery.start_soon(self._work)
            else:
                self._working = False

        def on_pause() -> None:
            self._scopes.discard(scope)

        slice_ends = perf_counter() + SLICE_S
        while self._waiting and not has_passed_on:
            scope = trio.CancelScope()
            await drive(self._run(self._waiting.popleft(), scope), on_wait, on_pause)
            if perf_counter() > slice_ends and not has_passed_on:
                # Shielded, because the calls that were accepted begin also when the service ends.
                await trio.lowlevel.cancel_shielded_checkpoint()
                slice_ends = perf_counter() + SLICE_S
        if not has_passed_on:
            self._working = False

    async def _run(self, job: Job, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await job()
            finally:
                self._scopes.discard(scope)
                self.count -= 1
                self._on_done()


@types.coroutine
def pause() -> Generator[Any, Any, None]:
    """Let other tasks run, in a coroutine that `drive` awaits.

    It is not a wait: no later call begins meanwhile (CONTROL-79), and nothing is cancelled if the
    peer leaves.
    """
    yield _PAUSE


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, T],
    on_wait: Callable[[], None],
    on_pause: Callable[[], None],
) -> Generator[Any, Any, T]:
    """Await a coroutine, and tell whenever it is suspended.

    What it yields is relayed to trio, and trio's replies to it.

    Args:
        coroutine: is awaited.
        on_wait: called when it waits for something.
        on_pause: called when it awaits `pause`.
    """
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        (on_pause if trap is _PAUSE else on_wait)()
        try:
            if trap is _PAUSE:
                value = yield from trio.lowlevel.checkpoint()  # noqa: ASYNC105 - it is awaited
            else:
                value = yield trap
            step = coroutine.send
        except BaseException as error:  # thrown into the coroutine, where trio meant it to go
            value = error
            step = coroutine.throw
