"""The job pool, which runs user code.

A plain function is called where the event is read. An async function runs in a worker: a task of
the server that takes the events of one socket one after the other. One worker, the *taker*, runs
job after job for as long as no handler suspends. When one does, another worker becomes the taker
of the remaining jobs. So no event waits for another socket's handler, and handlers that never
suspend do not cost a task switch each. Workers are reused, and started whenever none is free.
"""

import contextvars
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from math import inf
from threading import get_ident
from time import perf_counter
from typing import Any, Final, NoReturn, Protocol, runtime_checkable

import trio

from trio_socketio.errors import EventRefused, LocalProtocolError, SessionClosed
from trio_socketio.runtime.barrier import disown, sole_error, split_failure
from trio_socketio.runtime.failures import FailureLog
from trio_socketio.runtime.fence import Fences
from trio_socketio.runtime.timings import Timings

log = logging.getLogger(__name__)

MAX_IDLE_WORKERS: Final = 256
_SLICE_S: Final = 0.001
_DONE: Final = object()


def refuse_coroutine(result: Coroutine[Any, Any, Any], whose: object) -> NoReturn:
    """Refuse a coroutine that a plain function has returned, because it would not be awaited.

    Raises:
        LocalProtocolError: always.
    """
    result.close()
    raise LocalProtocolError(f"{whose} returned a coroutine, but is not an async function")


def _is_own_end(error: BaseException, socket_id: str) -> bool:
    """Whether a handler ended because the socket has left whose event it handled (SURF-35).

    Its wait for an answer of that client then ends with this error, which is not a failure.
    """
    if isinstance(error, SessionClosed):
        return error.socket_id == socket_id != ""
    return isinstance(error, ExceptionGroup) and all(
        _is_own_end(one, socket_id) for one in error.exceptions
    )


def _ignore(_: float, __: str) -> None:
    """Stand in for what notes slow steps."""


@types.coroutine
def _await(
    workers: "Workers", function: Callable[..., Any], arguments: Sequence[Any]
) -> Generator[Any, Any, None]:
    """Call and await an async function, and leave its result in `workers.returned`.

    A coroutine returns by an exception, which takes as long as all else that a call does. If a
    generator returns None without having been suspended, `next` makes no exception of it.
    """
    result = function(*arguments)
    kind = type(result)
    if kind is not types.CoroutineType and kind is not types.GeneratorType:
        result = result.__await__()  # of another kind, such as a compiled function's
    workers.returned = yield from result


class Callee(Protocol):
    """A function of the program; its text is its name for the log."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function, plain or async."""

    @property
    def is_private(self) -> bool:
        """Whether it is one of the server's own, and not of the app."""


class Job(Protocol):
    """Work for a worker."""

    def run(self, workers: "Workers") -> Awaitable[bool]:
        """Do the work.

        Returns:
            Whether the worker need not look at the clock, because the job has just done so: it set
            `step_began` at its end, and other tasks need not run before the next job.
        Raises:
            trio.Cancelled: nothing else is raised.
        """


@runtime_checkable
class EventJob(Job, Protocol):
    """A job that consists of events which wait for their handlers."""

    def give_up(self) -> int:
        """Drop the events, because the server stops; return how many there are."""


class Workers:
    """The tasks in which async handlers run, and the barrier around every call of user code.

    It has 24 attributes and 26 methods. Both of its tasks need to know how long each step takes and
    which handler is running, and a call from one part to another would be paid at every step of
    every handler.
    """

    def __init__(self) -> None:
        self.failed = 0
        self.failures = FailureLog()
        self.timings = Timings()
        self.events_dropped = 0  # how many events were waiting when the server stopped
        self.slow_handler_s = inf  # a handler that blocks for longer is logged
        self.note_s = inf  # one that blocks for longer is noted
        self.note: Callable[[float, str], None] = _ignore
        self.fences = Fences()
        self.wait_fenced: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint  # see Poller
        self.queue_bound = 0  # how many events of one socket may wait or run
        self._ready: deque[Job] = deque()
        self._idle: list[trio.lowlevel.Task] = []
        self.taker: trio.lowlevel.Task | None = None
        self._taker_starts = False  # a task that will be the taker was started and has not run yet
        self._nursery: trio.Nursery | None = None
        self._context = contextvars.Context()
        self._busy = 0
        self._waiting_idle = trio.lowlevel.ParkingLot()
        self.step_began = 0.0
        self.slice_ends = 0.0
        self.thread: int | None = None  # the thread that serves; None while the server does not
        self.running: Callee | None = None  # the handler that was called last
        self.suspended: Any = object()  # what `begin` returned last for a function that suspended
        self.returned: Any = None  # by the async function that has just ended

    def check_thread(self) -> None:
        """Refuse a call from another thread, before anything has changed (THREAD-01).

        Every public method that changes something calls this first; those on the path of a message
        compare the thread themselves, to save the call.

        Raises:
            LocalProtocolError: the server serves in another thread; nothing was done.
        """
        if self.thread is not None and get_ident() != self.thread:
            raise LocalProtocolError(
                "this server serves in another thread, and nothing was done: call "
                "sio.from_thread.emit(...), or sio.from_thread.run(function, ...) for anything else"
            )

    def start(self, nursery: trio.Nursery) -> None:
        """Start workers in this nursery from now on. Its owner cancels it."""
        self._nursery = nursery
        self._context = contextvars.copy_context()
        self._busy = 0
        self.taker = None
        self._taker_starts = False

    def stop(self) -> None:
        """Take no more jobs, and give up those that wait: the server ends."""
        self._nursery = None
        for job in self._ready:
            self.give_up(job)
        self._ready.clear()
        self._busy = 0
        self._waiting_idle.unpark_all()

    def give_up(self, job: Job) -> None:
        """Give up a job that will not run, or not to its end, and count its events as dropped."""
        if isinstance(job, EventJob):
            self.events_dropped += job.give_up()

    def submit(self, job: Job) -> None:
        """Have a job run in the next scheduler pass; after stop it is given up."""
        if self._nursery is None:
            self.give_up(job)
            return
        self._ready.append(job)
        self._busy += 1
        if self.taker is None and not self._taker_starts:
            self._send_taker(self._nursery)

    def _send_taker(self, nursery: trio.Nursery) -> None:
        if self._idle:
            self.taker = self._idle.pop()
            trio.lowlevel.reschedule(self.taker)
        else:
            self._taker_starts = True
            self._context.run(nursery.start_soon, self._work)

    def pass_on(self) -> None:
        """Let another worker be the taker: the handler of the one that is suspends now."""
        self.taker = None
        if self._ready and self._nursery is not None:
            self._send_taker(self._nursery)

    def call(self, handler: Callee, arguments: list[Any]) -> Any:
        """Call a plain handler here and now, in a context of its own.

        Raises:
            Exception: whatever the handler raises.
        """
        self.running = handler
        try:
            result = self._context.copy().run(handler.function, *arguments)
        except GeneratorExit as error:
            raise disown(error, handler) from error
        if type(result) is types.CoroutineType:
            refuse_coroutine(result, handler)
        return result

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function that is not a handler, such as middleware, in the same way."""
        try:
            result = self._context.copy().run(function, *arguments)
        except GeneratorExit as error:
            raise disown(error, function) from error
        if type(result) is types.CoroutineType:
            refuse_coroutine(result, function)
        return result

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> Any:
        """Call an async function, each step of it in the same context of its own."""
        result = self.begin(function, arguments)
        if result is not self.suspended:
            return result
        if self.taker is trio.lowlevel.current_task():
            self.pass_on()
        return await result

    def begin(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Call an async function in a worker, up to the point where it first suspends.

        Returns:
            The function's result; or, if it has suspended, an awaitable for the rest, which is
            also in ``suspended``. Then call `pass_on` if this task is the taker, and await the rest
            at once.
        """
        context = self._context.copy()
        steps = _await(self, function, arguments)
        try:
            trap = context.run(next, steps, _DONE)
        except GeneratorExit as error:
            raise disown(error, function) from error
        if trap is _DONE:
            result, self.returned = self.returned, None
            return result
        self.suspended = rest = self._go_on(context, steps, trap)
        return rest

    @types.coroutine
    def _go_on(
        self, context: contextvars.Context, steps: Generator[Any, Any, None], trap: Any
    ) -> Generator[Any, Any, Any]:
        """Go on with a suspended function: relay what it yields to trio, and trio's replies to it.

        Each of its steps runs in its context, and is timed.
        """
        handler = self.running
        now = perf_counter()
        if now - self.step_began > self.note_s:  # end_step without a call in the common case
            self.end_step(now)
        self.step_began = now
        while True:
            step: Callable[[Any], Any] = steps.send
            try:
                value = yield trap
            except BaseException as error:  # thrown into the handler, where trio meant it to go
                step, value = steps.throw, error
            self.step_began = perf_counter()
            self.running = handler
            try:
                trap = context.run(step, value)
            except StopIteration:
                trap = _DONE
            except GeneratorExit as error:
                self.end_step(perf_counter())
                if isinstance(value, GeneratorExit):
                    raise
                raise disown(error, handler or "an async function") from error
            except BaseException:
                self.end_step(perf_counter())
                value = None  # RUN-44: the traceback of what was thrown refers to this frame
                raise
            now = perf_counter()
            if now - self.step_began > self.note_s:
                self.end_step(now)
            self.step_began = now
            if trap is _DONE:
                result, self.returned = self.returned, None
                return result

    def is_slice_over(self, now: float) -> bool:
        """Log the last step if it was slow, and tell whether other tasks should run.

        Args:
            now: the time at which it ended.
        """
        self.end_step(now)
        return now > self.slice_ends

    def end_step(self, now: float) -> None:
        """Log the last step if it was slow. Another begins now."""
        elapsed_s = now - self.step_began
        if elapsed_s > self.note_s:
            name = self.running or "a handler"
            self.note(elapsed_s, f"{name} blocked the server for")
            if elapsed_s > self.slow_handler_s:
                log.warning("%s blocked the server for %.0f ms", name, elapsed_s * 1000)
        self.step_began = now

    async def rest(self) -> None:
        """Let other tasks run, as handlers that never suspend would not, and begin a new slice."""
        await trio.lowlevel.checkpoint()
        await self.pass_fences()
        self._begin_slice()

    async def pass_fences(self) -> None:
        """If a lease may have ended, wait until nothing that it covered is left to handle.

        The poller may not have had a turn since then, because tasks run in any order (LEASE-45).
        After a wait a new slice begins.
        """
        if self.fences.is_passed():
            await self.wait_fenced()
            self._begin_slice()

    def _begin_slice(self) -> None:
        self.step_began = perf_counter()
        self.slice_ends = self.step_began + _SLICE_S

    def log_failure(self, handler: Callee | str, socket_id: str, error: BaseException) -> None:
        """Count and log what user code has raised (CODE-01).

        Raises:
            BaseException: the part of error that unwinds the task; see split_failure.
        """
        if isinstance(sole_error(error), EventRefused):
            log.debug("%s refused an event of socket %s: %s", handler, socket_id, error)
            return
        if _is_own_end(error, socket_id):
            log.debug("%s waited for socket %s, which has left: %s", handler, socket_id, error)
            return
        failure, unwinding = split_failure(error)
        if failure is not None:
            self.failed += 1
            self.failures.tell(str(handler), socket_id, failure)
        if unwinding is not None:
            raise unwinding

    def spawn(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> bool:
        """Run an async function in a task of its own; return False if the server has stopped."""
        nursery = self._nursery
        if nursery is None:
            return False
        self._busy += 1
        self._context.run(nursery.start_soon, self._run_spawned, function, arguments)
        return True

    @trio.lowlevel.enable_ki_protection
    async def _run_spawned(
        self, function: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]
    ) -> None:
        self._begin_slice()
        try:
            await function(*arguments)
        except Exception:  # it contains what user code raises itself, so the defect is ours
            self.failed += 1
            log.exception("a task failed: this is a defect of trio-socketio")
        finally:
            self._busy -= 1
            if self._busy <= 0:
                self._tell_idle()

    def _tell_idle(self) -> None:
        if self._waiting_idle:
            self._waiting_idle.unpark_all()

    @property
    def count(self) -> int:
        """How many jobs run or wait."""
        return max(self._busy, 0)

    @property
    def idle_workers(self) -> int:
        """How many workers wait for a job; at most MAX_IDLE_WORKERS."""
        return len(self._idle)

    async def wait_idle(self) -> None:
        """Wait until no job is left."""
        while self._busy > 0:
            await self._waiting_idle.park()

    @trio.lowlevel.enable_ki_protection
    async def _work(self) -> None:
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        if self._taker_starts:
            self._taker_starts = False
            self.taker = task
        self._begin_slice()
        while True:
            while self._ready:
                goes_on = False
                if self.fences.at < inf:
                    await self.pass_fences()
                self.running = None  # the last handler must not be blamed for this job
                try:
                    goes_on = await self._ready.popleft().run(self)
                # A job contains what user code raises itself, so the defect is ours.
                except BaseException as error:
                    if split_failure(error)[1] is not None:
                        raise
                    self.failed += 1
                    log.exception("a job failed: this is a defect of trio-socketio")
                finally:
                    self._busy -= 1
                    if self._busy <= 0:
                        self._tell_idle()
                if not goes_on and self.is_slice_over(perf_counter()):
                    await self.rest()
            if self.taker is task:
                self.taker = None
            if len(self._idle) >= MAX_IDLE_WORKERS:
                return
            self._idle.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)
            self._begin_slice()
