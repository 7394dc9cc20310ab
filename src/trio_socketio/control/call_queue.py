"""Makes the calls of one peer: they begin in the order in which they came, and wait concurrently.

A plain call is made where its line is read, and needs no task. An async one begins in a task; as
soon as it waits for something, the next call begins.
"""

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

import trio

Job = Callable[[], Coroutine[Any, Any, None]]


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

    __slots__ = ("_nursery", "_on_done", "_scopes", "_waiting", "_working", "count")

    def __init__(self, nursery: Nursery, on_done: Callable[[], None]) -> None:
        self._nursery = nursery
        self._on_done = on_done
        self._waiting: deque[Job] = deque()
        self._working = False  # a task is about to begin the first call of the queue
        self._scopes: set[trio.CancelScope] | None = set()  # None once the peer has gone
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
        """Cancel every call that waits, because the peer has gone.

        Calls that have not begun were accepted, so they are still made, up to the point where they
        would wait for something (CONTROL-24).
        """
        scopes, self._scopes = self._scopes or (), None
        for scope in scopes:
            scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _work(self) -> None:
        has_passed_on = False

        def pass_on() -> None:
            nonlocal has_passed_on
            has_passed_on = True
            if self._waiting:
                self._nursery.start_soon(self._work)
            else:
                self._working = False

        while self._waiting and not has_passed_on:
            await drive(self._run(self._waiting.popleft()), pass_on)
        if not has_passed_on:
            self._working = False

    async def _run(self, job: Job) -> None:
        with trio.CancelScope() as scope:
            if self._scopes is None:
                scope.cancel()
            else:
                self._scopes.add(scope)
            try:
                await job()
            finally:
                if self._scopes is not None:
                    self._scopes.discard(scope)
                self.count -= 1
                self._on_done()


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, None], on_suspended: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Await a coroutine, and call on_suspended when it first waits for something.

    What it yields is relayed to trio, and trio's replies to it.
    """
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    has_suspended = False
    while True:
        try:
            trap = step(value)
        except StopIteration:
            return
        if not has_suspended:
            has_suspended = True
            on_suspended()
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:  # thrown into the coroutine, where trio meant it to go
            value = error
            step = coroutine.throw
