"""User code: how it is registered, how it is run, and in which order.

A plain function is called where the event is read. An async one runs in a worker, a task of the
server that takes the events of one socket one after the other. Workers are reused, and started
whenever none is free: no event waits for another socket's handler.
"""

import contextvars
import inspect
import logging
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from math import inf
from time import perf_counter
from typing import Any, Final, Protocol

import trio

from trio_socketio.errors import LocalProtocolError

log = logging.getLogger(__name__)

MAX_IDLE_WORKERS: Final = 256
_SLICE_S: Final = 0.001


class Handler:
    """A function registered for an event.

    Args:
        name: of the event, for the log.
        function: plain or async.
        concurrent: whether events of one socket may be handled at the same time.
    """

    __slots__ = ("concurrent", "function", "is_async", "name")

    def __init__(
        self, name: str | float, function: Callable[..., Any], *, concurrent: bool
    ) -> None:
        self.name = name
        self.function = function
        self.is_async = is_async(function)
        self.concurrent = concurrent
        if concurrent and not self.is_async:
            raise LocalProtocolError(f"the handler of {name!r} is concurrent but not async")

    def __str__(self) -> str:
        where = getattr(self.function, "__qualname__", repr(self.function))
        return f"handler {where} of {self.name!r}"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind matters, not its being there
    )


class Job(Protocol):
    """Work for a worker."""

    async def run(self, workers: "Workers") -> None:
        """Do it. Raises nothing but Cancelled."""


class Workers:
    """The tasks in which async handlers run."""

    def __init__(self) -> None:
        self.failed = 0
        self.slow_handler_s = inf  # a handler that blocks for longer is logged
        self._ready: deque[Job] = deque()
        self._idle: list[trio.lowlevel.Task] = []
        self._nursery: trio.Nursery | None = None
        self._context = contextvars.Context()
        self._busy = 0
        self._all_idle = trio.Event()
        self.running: Handler | None = None  # the plain handler that was called last

    def start(self, nursery: trio.Nursery) -> None:
        """Run in nursery from now on; its owner cancels it."""
        self._nursery = nursery
        self._context = contextvars.copy_context()
        self._busy = 0

    def stop(self) -> None:
        """Take no more jobs: the server ends, and nobody would run them."""
        self._nursery = None
        self._ready.clear()
        self._busy = 0

    def submit(self, job: Job) -> None:
        """Have job run in the next scheduler pass. Plain; dropped once stopped."""
        if self._nursery is None:
            return
        self._ready.append(job)
        self._busy += 1
        if self._idle:
            trio.lowlevel.reschedule(self._idle.pop())
        else:
            self._context.run(self._nursery.start_soon, self._work)

    def call(self, handler: Handler, arguments: list[Any]) -> Any:
        """Call a plain handler here and now, in a context of its own.

        Raises:
            Exception: whatever the handler raises.
        """
        self.running = handler
        return self._context.copy().run(handler.function, *arguments)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function that is no handler, such as middleware, likewise."""
        return self._context.copy().run(function, *arguments)

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> Any:
        """Call an async function in a context of its own, every step of it."""
        return await _in_context(
            self._context.copy(), function(*arguments), self.slow_handler_s, function
        )

    def log_failure(self, handler: Handler | str, socket_id: str, error: Exception) -> None:
        """A handler raised: that is counted and told, and harms nobody else."""
        self.failed += 1
        log.error("%s failed for socket %s", handler, socket_id, exc_info=error)

    def log_slow(self, elapsed_s: float) -> None:
        """The poller found that something held it up."""
        log.warning(
            "a turn took %.0f ms; the last plain %s: make it async, or move its work to a thread",
            elapsed_s * 1000,
            self.running or "handler is unknown",
        )

    async def wait_idle(self) -> None:
        """Wait until no job is left."""
        while self._busy > 0:
            self._all_idle = trio.Event()
            await self._all_idle.wait()

    async def _work(self) -> None:
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        ends = perf_counter() + _SLICE_S
        while True:
            while self._ready:
                job = self._ready.popleft()
                try:
                    await job.run(self)
                finally:
                    self._busy -= 1
                    if self._busy <= 0:
                        self._all_idle.set()
                if perf_counter() > ends:  # handlers that never suspend must not take over
                    await trio.lowlevel.checkpoint()
                    ends = perf_counter() + _SLICE_S
            if len(self._idle) >= MAX_IDLE_WORKERS:
                return
            self._idle.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)
            ends = perf_counter() + _SLICE_S


@types.coroutine
def _in_context(
    context: contextvars.Context,
    coroutine: Coroutine[Any, Any, Any],
    slow_s: float,
    function: Callable[..., Any],
) -> Generator[Any, Any, Any]:
    """Drive a coroutine with each of its steps in context; transparent otherwise."""
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        began = perf_counter()
        try:
            trap = context.run(step, value)
        except StopIteration as stop:
            return stop.value
        finally:
            elapsed = perf_counter() - began
            if elapsed > slow_s:
                log.warning("handler %r blocked the server for %.0f ms", function, elapsed * 1000)
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:  # handed on to the handler, which sees it as its own
            value = error
            step = coroutine.throw
