"""One worker, as its parent knows it: its life, its process, and what it has to answer."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_socketio.cluster.workers.link import LinkLost
from trio_socketio.codec.worker_messages import Answer, Call, Count, Failed, Ready, Report
from trio_socketio.control.workers import WorkerInfo, WorkerState
from trio_socketio.protocol.worker_life import Silence, State, WorkerLife

if TYPE_CHECKING:
    from trio_socketio.cluster.workers.process import Child
    from trio_socketio.codec.worker_messages import CallName

log = logging.getLogger(__name__)

_STATES: dict[State, WorkerState] = {
    State.STARTING: "starting",
    State.SERVING: "serving",
    State.BLOCKED: "blocked",
    State.DRAINING: "draining",
    State.WAITING: "waiting",
    State.DEAD: "dead",
}


class WorkerFault(Exception):
    """A worker has not done what it was asked to, and why."""


class WorkerBlocked(WorkerFault):
    """A worker does not answer; it does what it was asked to as soon as it resumes."""


class _Waiting:
    """A call that has not been answered."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Answer | None = None


class Worker:
    """One worker.

    It has 14 attributes: its life, and what is known of its current process.

    Args:
        index: its number, from 1.
        name: of its node.
        now: when it is started.
        max_blocked_s: how long it may fail to answer before it is killed; 0 means for ever.

    Attributes:
        life: over all its processes.
        child: its process; None while there is none.
        changed: set when something has changed; replaced by another event then.
        connections: how many it has, as it has told.
        has_served: whether it serves or has served.
        fault: why its process ends, as it said itself or as we gave when we killed it; empty if
            neither has happened.
        silence: how long its process has not answered.
        died_of: why its last process has died.
    """

    def __init__(self, index: int, name: str, now: float, max_blocked_s: float) -> None:
        self.index = index
        self.life = WorkerLife(now)
        self.child: Child | None = None
        self.changed = trio.Event()
        self.has_served = False
        self.fault = ""
        self.died_of = ""
        self.silence = Silence(max_blocked_s)
        self._max_blocked_s = max_blocked_s
        self._name = name
        self._pid = 0  # of its process, or of the last one
        self.connections = 0
        self._calls: dict[int, _Waiting] = {}
        self._last_call = 0

    def __str__(self) -> str:
        return f"worker {self.index}" + (f" (pid {self._pid})" if self._pid else "")

    def describe(self, elapsed_s: float) -> WorkerInfo:
        """Return what operators are shown.

        Args:
            elapsed_s: what has to be added to our clock for seconds since 1970.
        """
        return WorkerInfo(
            index=self.index,
            node=self._name,
            pid=None if self.child is None else self.child.pid,
            state=_STATES[self.life.state],
            connections=self.connections,
            restarts=self.life.restarts,
            since_s=round(self.life.since + elapsed_s, 3),
            died_of=self.died_of,
        )

    def note(self) -> None:
        """Wake all who wait for a change."""
        self.changed.set()
        self.changed = trio.Event()

    async def wait_for(self, is_it: Callable[[State], bool]) -> None:
        """Wait for a state."""
        while not is_it(self.life.state):
            await self.changed.wait()

    # -- its process

    def begin(self, child: "Child") -> None:
        """Note that its process was started."""
        self.child = child
        self._pid = child.pid
        self.fault = ""
        self.silence = Silence(self._max_blocked_s)
        log.info("%s is started", self)

    def end(self) -> None:
        """Note that its process has ended."""
        self.child = None
        self.connections = 0
        self.silence = Silence(self._max_blocked_s)  # no answers are expected without a process
        for call in self._calls.values():
            call.answered.set()

    def kill(self, why: str) -> None:
        """End its process at once, if there is one.

        Args:
            why: what it has done; follows its name.
        """
        if self.child is not None:
            log.error("%s %s, and is killed", self, why)
            # Otherwise its end would be blamed on the system running out of memory (WORK-67).
            self.fault = f"it {why}, and was killed"
            self.child.kill()

    def block(self, now: float) -> None:
        """Note that it does not answer: nothing waits for it any longer."""
        self.life.silent(now)
        self.note()
        for call in self._calls.values():
            call.answered.set()

    def receive(self, report: Report, now: float) -> None:
        """Take what it says."""
        if self.silence.has_begun or isinstance(report, Ready):
            blocked_s = self.silence.heard(now)
            if blocked_s:
                self.life.answered(now)
                self.note()
                log.warning("%s answers again, after %.1f s", self, blocked_s)
        match report:
            case Ready():
                self.has_served = True
                if self.life.state is State.STARTING:
                    self.life.ready(now)
                    log.info("%s serves", self)
                    self.note()
            case Count():
                self.connections = report.connections
            case Failed():
                self.fault = report.reason
            case Answer():
                call = self._calls.get(report.number)
                if call is not None:  # it may come too late
                    call.answer = report
                    call.answered.set()

    async def call(self, name: "CallName", timeout_s: float) -> Any:
        """Have it do something, and return the result.

        Raises:
            WorkerBlocked: it is known not to answer, but the call was sent.
            WorkerFault: it has not done it, or has not answered in time.
        """
        child = self.child
        if child is None:
            raise WorkerFault("it does not run")
        self._last_call += 1
        number = self._last_call
        call = self._calls[number] = _Waiting()
        try:
            with trio.move_on_after(timeout_s):
                # A blocked worker finds it when it resumes.
                await child.link.send(Call(number=number, name=name), timeout_s)
                if not self.silence.is_noticed:
                    await call.answered.wait()
        except LinkLost as error:
            raise WorkerFault(str(error)) from None
        finally:
            del self._calls[number]
        if call.answer is None:
            if self.child is not child:
                raise WorkerFault("it has ended")
            if self.silence.is_noticed:  # WORK-64
                silent_s = trio.current_time() - self.silence.heard_at
                raise WorkerBlocked(f"it has not answered for {silent_s:.0f} s")
            raise WorkerFault(f"no answer within {timeout_s:g} s")
        if call.answer.fault:
            raise WorkerFault(call.answer.fault)
        try:
            return msgspec.json.decode(call.answer.result)
        except msgspec.DecodeError as error:
            raise WorkerFault(f"its answer cannot be read: {error}") from None
