"""The workers of a program: starts them, starts them again when they die, and drains them."""

import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.cluster.workers.link import LinkLost
from trio_socketio.cluster.workers.process import describe_end
from trio_socketio.cluster.workers.record import Worker, WorkerBlocked, WorkerFault
from trio_socketio.cluster.workers.watch import watch
from trio_socketio.codec.worker_messages import Drain, End, decode_report
from trio_socketio.control.failures import unavailable
from trio_socketio.errors import ConfigurationError, ProgramFailed, RemoteProtocolError
from trio_socketio.protocol.worker_life import MAX_DEATHS, WINDOW_S, Deaths, State
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.cluster.workers.process import Child
    from trio_socketio.codec.worker_messages import CallName
    from trio_socketio.control.workers import WorkerInfo

log = logging.getLogger(__name__)

END_S: Final = 1.0
"""How long a worker that has to end at once may take before it is killed."""
START_S: Final = 120.0
"""How long a new worker may take until it serves, before the next one is not replaced."""
RELOAD_S: Final = 35.0
"""A little more than the files of a configuration may take to be read."""
ASK_S: Final = 1.0
UNSERVED_S: Final = 5.0
"""How long a worker that has not served yet may take to stop before it has to end at once."""
_LAST_WORDS_S: Final = 1.0
_REFUSED: Final = 2
"""The exit code of a program that cannot use its configuration."""
_ASKED: Final = (0, -signal.SIGTERM)
"""The exit codes of a worker that was asked to end; the signal ends it while it is loading."""


class Starter(Protocol):
    """Starts worker processes; see process.Launcher."""

    def start(self, index: int) -> "Awaitable[Child]":
        """Start the process of a worker.

        Raises:
            OSError: the system has nothing left for one.
        """


class Supervision:
    """Keeps the workers of a program running.

    It has 13 attributes: what it was given, what it counts, and how far the program has come.

    Args:
        names: of their nodes, in order.
        starter: starts their processes.
        on_away: called with the index of a worker that does not serve for now: its process has
            ended, or does not answer.
        stop_s: how long a worker may take to stop in stages, before it is killed.
        max_blocked_s: how long a worker may fail to answer before it is killed; 0 means for ever.

    Attributes:
        restarts: how often a worker was started again, by reason.
        stop_s: the same; it may be set before they run.
        unanswered: how many calls of workers were not answered in time.
    """

    def __init__(
        self,
        names: Sequence[str],
        starter: Starter,
        on_away: Callable[[int], None],
        stop_s: float = inf,
        max_blocked_s: float = 0.0,
    ) -> None:
        self.restarts = dict.fromkeys(
            ("signal", "exit", "refused", "not started", "blocked", "asked"), 0
        )
        self.unanswered = 0
        self._names = names
        self._starter = starter
        self._on_away = on_away
        self.stop_s = stop_s
        self._max_blocked_s = max_blocked_s
        self._workers: list[Worker] = []
        self._deaths = Deaths()
        self._served = trio.Event()  # all workers
        self._stopping = trio.Event()
        self._is_restarting = False
        self._tasks: trio.Nursery | None = None

    # -- for operators

    def listed(self) -> "list[WorkerInfo]":
        """Return what operators are shown of the workers."""
        elapsed_s = time.time() - trio.current_time()
        return [worker.describe(elapsed_s) for worker in self._workers]

    def count_connections(self) -> int:
        """Return how many connections all of them have."""
        return sum(worker.connections for worker in self._workers)

    def count_states(self) -> dict[str, int]:
        """Return how many workers are in each state."""
        found = {state.name.lower(): 0 for state in State}
        for worker in self._workers:
            found[worker.life.state.name.lower()] += 1
        return found

    def check(self) -> str:
        """Return why no client is accepted; empty text if a worker serves; see ops.health."""
        if any(worker.life.state is State.SERVING for worker in self._workers):
            return ""
        return "no worker serves clients"

    # -- their life

    async def run(self) -> None:
        """Run the workers until they were drained and have ended.

        Raises:
            ConfigurationError: a worker cannot use the configuration with which the program starts.
            ProgramFailed: they die again and again.
        """
        now = trio.current_time()
        most_s = self._max_blocked_s
        self._workers = [
            Worker(index, name, now, most_s) for index, name in enumerate(self._names, 1)
        ]
        async with alone(trio.open_nursery()) as self._tasks:
            try:
                if self._stopping.is_set():
                    self.drain()
                self._tasks.start_soon(
                    watch, self._workers, self._tasks, self._max_blocked_s, self._on_away
                )
                async with alone(trio.open_nursery()) as keepers:
                    for worker in self._workers:
                        keepers.start_soon(self._keep, worker)
            finally:
                self._tasks.cancel_scope.cancel()
                self._tasks = None

    async def wait_serving(self) -> None:
        """Wait until each of them serves or has served."""
        await self._served.wait()

    def drain(self) -> None:
        """Have all workers stop in stages, all at the same time."""
        self._stopping.set()
        if self._tasks is None:
            return
        for worker in self._workers:
            self._drain(worker)
        self._tasks.start_soon(self._kill_late)

    def _drain(self, worker: Worker) -> None:
        is_starting = worker.life.state is State.STARTING
        worker.life.drain(trio.current_time())
        worker.note()
        if worker.child is not None and self._tasks is not None:
            stop = _stop_unserved if is_starting else _send_drain
            self._tasks.start_soon(stop, worker, worker.child)

    async def _kill_late(self) -> None:
        await trio.sleep(self.stop_s)
        for worker in self._workers:
            worker.kill(f"has not stopped within {self.stop_s:g} s")  # WORK-14

    async def _keep(self, worker: Worker) -> None:
        """Run the processes of one worker, one after the other, until the program stops."""
        while await self._wait_start(worker):
            await self._run_one(worker)

    async def _wait_start(self, worker: Worker) -> bool:
        """Wait until the next process has to be started; return False if there is to be none."""
        life = worker.life
        while life.state is not State.STARTING:
            if life.state is State.DRAINING or (
                life.state is State.DEAD and self._stopping.is_set()
            ):
                return False  # it was told to drain before it was started
            with trio.move_on_at(life.start_at):
                await worker.changed.wait()
            life.look(trio.current_time())
        return True

    async def _run_one(self, worker: Worker) -> None:
        started_at = trio.current_time()
        try:
            child = await self._starter.start(worker.index)
        except OSError as error:
            self._bury(worker, f"it cannot be started: {error.strerror}", "not started", 0.0)
            return
        worker.begin(child)
        code: int | None = None
        try:
            async with alone(trio.open_nursery()) as tasks:
                tasks.start_soon(self._listen, worker, child)
                if worker.life.state is State.DRAINING and self._tasks is not None:
                    self._tasks.start_soon(_stop_unserved, worker, child)
                code = await child.wait()
                # What it has said at last is on its way, unless others have its end of the link.
                tasks.cancel_scope.deadline = trio.current_time() + _LAST_WORDS_S
        finally:
            if code is None:
                await _end(child)
            was_silent = worker.silence.is_over
            worker.end()
            child.link.close()
            self._on_away(worker.index)
        assert code is not None  # the nursery was left without it only by an exception
        reason = "signal" if code < 0 else "refused" if code == _REFUSED else "exit"
        if was_silent:
            reason = "blocked"
        why = worker.fault or describe_end(code)
        self._bury(worker, why, reason, trio.current_time() - started_at, code)

    def _bury(
        self, worker: Worker, why: str, reason: str, lived_s: float, code: int | None = None
    ) -> None:
        """Note that a process has ended, and decide what follows.

        Raises:
            ConfigurationError: it cannot use the configuration with which the program starts.
            ProgramFailed: too many have died.
        """
        now = trio.current_time()
        was_asked = worker.life.state is State.DRAINING
        worker.life.ended(now, refused=reason == "refused")
        worker.note()
        if was_asked and code in _ASKED:
            worker.died_of = ""
            log.info("%s has ended", worker)
            return
        worker.died_of = why
        if was_asked:
            log.warning("%s has not stopped in stages: %s", worker, why)
            return
        if self._stopping.is_set():  # another one has ended the program already, by an error
            return
        if reason == "refused" and not self._served.is_set():  # WORK-12
            self._stopping.set()
            raise ConfigurationError(why)
        # A worker that cannot use its configuration does no harm to those that serve. Workers
        # blocked by the same thing, such as a database that they share, may be killed together.
        is_last = reason not in ("refused", "blocked") and self._deaths.note(now)
        wait_s = worker.life.start_at - now
        what_follows = f"it is started again {f'in {wait_s:g} s' if wait_s > 0 else 'now'}"
        if is_last:
            what_follows = "it is not started again, because too many have died"
        log.error("%s has died after %.1f s: %s; %s", worker, lived_s, why, what_follows)
        if is_last:  # WORK-11
            self._stopping.set()
            raise ProgramFailed(
                f"workers have died {MAX_DEATHS + 1} times within {WINDOW_S:g} s, so the program "
                f"ends; the last one: {why}"
            )
        self.restarts[reason] += 1

    async def _listen(self, worker: Worker, child: "Child") -> None:
        try:
            async with child.link.reading() as lines:
                async for line in lines:
                    worker.receive(decode_report(line), trio.current_time())
                    if all(one.has_served for one in self._workers):
                        self._served.set()
        except RemoteProtocolError as error:
            worker.kill(f"says what makes no sense ({error})")  # WORK-05

    # -- one after the other

    def restart(self) -> list[int]:
        """Begin to replace the workers, one after the other; return their indexes.

        Raises:
            ControlError: that is under way, or the program starts or stops.
        """
        if self._is_restarting:
            raise unavailable("the workers are being replaced already")
        if self._tasks is None or self._stopping.is_set() or not self._served.is_set():
            raise unavailable("the workers start or stop")
        self._is_restarting = True
        self._tasks.start_soon(self._replace_all)
        return [worker.index for worker in self._workers]

    async def _replace_all(self) -> None:
        log.info("the workers are replaced, one after the other")
        try:
            for worker in self._workers:
                if not await self._replace(worker):
                    if not self._stopping.is_set():  # WORK-22
                        log.error("%s does not serve, so the others are left as they are", worker)
                    return
        finally:
            self._is_restarting = False
        log.info("all workers were replaced")

    async def _replace(self, worker: Worker) -> bool:
        """Drain a worker, and start it again; return whether the new one serves."""
        if self._stopping.is_set():
            return False
        if worker.silence.is_noticed:  # WORK-64
            log.warning("%s does not answer, so its clients cannot be moved over a window", worker)
        self._drain(worker)
        with trio.move_on_after(self.stop_s) as waiting:
            await worker.wait_for(lambda state: state is State.DEAD)
        if waiting.cancelled_caught:
            worker.kill(f"has not stopped within {self.stop_s:g} s")
            await worker.wait_for(lambda state: state is State.DEAD)
        if self._stopping.is_set():
            return False
        self.restarts["asked"] += 1
        worker.life.start(trio.current_time())
        worker.note()
        with trio.move_on_after(START_S):
            await worker.wait_for(lambda state: state is not State.STARTING)
        return worker.life.state is State.SERVING

    async def reload(self) -> list[str]:
        """Have the workers read their configuration again, one after the other (WORK-23).

        Returns:
            Which of them have not, and why.
        """
        faults: list[str] = []
        for worker in self._workers:
            child = worker.child
            # The next process of a worker reads the configuration when it is started.
            if child is None or worker.life.state is State.DRAINING:
                continue
            try:
                await worker.call("reload", RELOAD_S)
            except WorkerBlocked as error:
                faults.append(f"worker {worker.index}: {error}, and reloads when it answers again")
            except WorkerFault as error:
                if worker.child is child:
                    faults.append(f"worker {worker.index}: {error}")
        return faults

    async def ask(self, name: "CallName") -> Mapping[int, Any]:
        """Make a call of all workers that have a process.

        Returns:
            The answer of each that has answered within ASK_S, by its index. A worker that is known
            not to answer is not waited for.
        """
        answers: dict[int, Any] = {}

        async def ask_one(worker: Worker) -> None:
            try:
                answers[worker.index] = await worker.call(name, ASK_S)
            except WorkerFault as error:
                self.unanswered += 1
                log.debug("%s has not answered %s: %s", worker, name, error)

        async with alone(trio.open_nursery()) as tasks:
            for worker in self._workers:
                if worker.child is None or worker.life.state is State.STARTING:
                    continue
                if worker.silence.is_noticed:
                    self.unanswered += 1
                else:
                    tasks.start_soon(ask_one, worker)
        return dict(sorted(answers.items()))


async def _send_drain(_: Worker, child: "Child") -> None:
    with suppress(LinkLost):  # it is ending
        await child.link.send(Drain())


async def _stop_unserved(worker: Worker, child: "Child") -> None:
    """Stop a process that has no clients yet (WORK-19).

    The signal ends it while it is loading the app and not reading its link.
    """
    log.info("%s has not served yet, and is told to end", worker)
    child.terminate()
    await _send_drain(worker, child)
    with trio.move_on_after(UNSERVED_S):
        await child.wait()
        return
    if worker.child is not child:
        return  # anything further would hit this worker's next process
    if worker.silence.has_begun:
        return  # it serves by now, so it gets the time for its stages
    with trio.move_on_after(END_S) as waiting:
        with suppress(LinkLost):
            await child.link.send(End())
        await child.wait()
    if waiting.cancelled_caught and worker.child is child:
        worker.kill("has not ended, though it has not served yet")


async def _end(child: "Child") -> None:
    """End a process at once, and wait for its end: none is left behind (WORK-13)."""
    with trio.CancelScope(shield=True):
        with trio.move_on_after(END_S) as waiting:
            with suppress(LinkLost):  # it is ending
                await child.link.send(End())
            await child.wait()
        if waiting.cancelled_caught:
            child.kill()
            await child.wait()
