"""User code: how it is registered, how it is run, and in which order.

A plain function is called where the event is read. An async one runs in a worker, a task of the
server that takes the events of one socket one after the other. One worker, the *taker*, takes job
after job for as long as no handler suspends; one that does passes the rest on to another worker
first. So no event waits for another socket's handler, and handlers that never suspend cost no task
switch each. Workers are reused, and started whenever none is free.
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
        self._taker: trio.lowlevel.Task | None = None
        self._taker_starts = False  # a taker was sent for that has no task yet
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
        self._taker = None
        self._taker_starts = False

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
        if self._taker is None and not self._taker_starts:
            self._send_taker(self._nursery)

    def _send_taker(self, nursery: trio.Nursery) -> None:
        if self._idle:
            self._taker = self._idle.pop()
            trio.lowlevel.reschedule(self._taker)
        else:
            self._taker_starts = True
            self._context.run(nursery.start_soon, self._work)

    def _pass_on(self) -> None:
        """The worker that runs is about to be suspended by a handler."""
        if self._taker is trio.lowlevel.current_task():
            self._taker = None
            if self._ready and self._nursery is not None:
                self._send_taker(self._nursery)

    def call(self, handler: Handler, arguments: list[Any]) -> Any:
        """Call a plain handler here and now, in a context of its own.

        Raises:
            Exception: whatever the handler raises.
        """
        self.running = handler
        result = self._context.copy().run(handler.function, *arguments)
        if type(result) is types.CoroutineType:
            result.close()
            raise LocalProtocolError(f"{handler} gave a coroutine, but is no async function")
        return result

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function that is no handler, such as middleware, likewise."""
        return self._context.copy().run(function, *arguments)

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> Any:
        """Call an async function in a context of its own, every step of it."""
        context = self._context.copy()
        coroutine = context.run(function, *arguments)
        began = perf_counter()
        try:
            trap = context.run(coroutine.send, None)
        except StopIteration as stop:
            return stop.value
        finally:
            self._look_at_step(function, perf_counter() - began)
        self._pass_on()
        return await self._drive(context, coroutine, trap, function)

    @types.coroutine
    def _drive(
        self,
        context: contextvars.Context,
        coroutine: Coroutine[Any, Any, Any],
        trap: Any,
        function: Callable[..., Any],
    ) -> Generator[Any, Any, Any]:
        """Go on with a coroutine that suspended, each step in context; transparent otherwise."""
        while True:
            step: Callable[[Any], Any] = coroutine.send
            try:
                value = yield trap
            except BaseException as error:  # handed on to the handler, which sees it as its own
                step, value = coroutine.throw, error
            began = perf_counter()
            try:
                trap = context.run(step, value)
            except StopIteration as stop:
                return stop.value
            finally:
                self._look_at_step(function, perf_counter() - began)

    def _look_at_step(self, function: Callable[..., Any], elapsed_s: float) -> None:
        if elapsed_s > self.slow_handler_s:
            log.warning("handler %r blocked the server for %.0f ms", function, elapsed_s * 1000)

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

        if self._taker_starts:
            self._taker_starts = False
            self._taker = task
        ends = perf_counter() + _SLICE_S
        while True:
            while self._ready:
                job = self._ready.popleft()
                try:
                    await job.run(self)
                except Exception:  # a job contains what user code raises: this is ours
                    self.failed += 1
                    log.exception("a job failed: this is a defect of trio-socketio")
                finally:
                    self._busy -= 1
                    if self._busy <= 0:
                        self._all_idle.set()
                if perf_counter() > ends:  # handlers that never suspend must not take over
                    await trio.lowlevel.checkpoint()
                    ends = perf_counter() + _SLICE_S
            if self._taker is task:
                self._taker = None
            if len(self._idle) >= MAX_IDLE_WORKERS:
                return
            self._idle.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)
            ends = perf_counter() + _SLICE_S
