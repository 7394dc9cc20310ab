"""A SQLite file that one thread owns, for what has to outlive the program.

Callers hand over functions of a connection. The thread runs all that wait in one transaction and
answers when that is committed, so that many callers share one write to the disk: ::

    write(function) ─┐
    write(function) ─┼─> queue ──> thread: BEGIN, function, function, ..., COMMIT ──> answers
    read(function)  ─┘                     reads follow the commit, and see what it wrote

Whatever was taken into the queue is carried out, also if its caller is cancelled meanwhile.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Generic, TypeVar, cast

import trio

from trio_socketio.errors import StorageUnavailable
from trio_socketio.storage.opening import Opened, open_file
from trio_socketio.storage.reasons import explain

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING: Final = 4096
"""How many calls may wait for the thread; further ones are refused."""

MAX_BATCH: Final = 512
"""How many calls share a transaction, so that the first of them does not wait for ever."""

ANSWER_S: Final = 10.0
"""A disk that has not answered within this time counts as unavailable."""

CALM_S: Final = 5.0
"""A file counts as usable again when a write has succeeded so long after the last failure."""

END_S: Final = 10.0
"""How long the end of the program waits for what is in the queue."""


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    """A function that waits for the thread, and what becomes of it."""

    function: Callable[[sqlite3.Connection], T]
    writes: bool
    result: T | None = None
    error: BaseException | None = None
    done: trio.Event = field(default_factory=trio.Event)
    attended: bool = True


@dataclass(frozen=True, slots=True)
class DatabaseStatistics:
    """The numbers of a database.

    Args:
        waiting: calls that wait for the thread, or are being carried out.
        writes: writes that were committed.
        reads: reads that were answered.
        commits: transactions in which the writes were committed.
        failures: calls that failed because the disk or the file could not be used.
        refused: calls that were refused because too many waited.
        unattended: writes that were committed although their callers had gone.
    """

    waiting: int
    writes: int
    reads: int
    commits: int
    failures: int
    refused: int
    unattended: int


class Database:
    """A SQLite file in a folder, in WAL mode with synchronous FULL.

    It is a service: start `run` before the first call, and end it after the last.

    Args:
        folder: where the file is; it is made if it does not exist.
        max_waiting: how many calls may wait for the thread.

    Attributes:
        fault: why the file cannot be written; empty if it can.
        folder: see above.
    """

    def __init__(self, folder: Path, *, max_waiting: int = MAX_WAITING) -> None:
        self.folder = folder
        self.fault = ""
        self._max_waiting = max_waiting
        self._schema: list[str] = []
        self._queue: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._is_open = False
        self._waiting = 0
        self._counts = dict.fromkeys(
            ("writes", "reads", "commits", "failures", "refused", "unattended"), 0
        )

    def add_schema(self, *statements: str) -> None:
        """Add tables that one of the owners of the file needs.

        Args:
            statements: carried out at every start, so they say IF NOT EXISTS.
        """
        assert not self._is_open, "tables are added before the database is opened"
        self._schema += statements

    def statistics(self) -> DatabaseStatistics:
        """Return the numbers of now."""
        return DatabaseStatistics(waiting=self._waiting, **self._counts)

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function that changes the file, and return what it returns when it is committed.

        If the caller is cancelled, the change is made all the same (STATE-04).

        Args:
            function: runs in the thread of the database, within a transaction that it shares with
                others. It may be run a second time if the first run was rolled back, so it changes
                nothing but the file. If it raises, its own changes are undone (STATE-05).
        Raises:
            StorageUnavailable: nothing was changed; or, as `is_unsure` says, the disk does not
                answer, and the change may be made later.
        """
        return await self._call(function, writes=True)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function that only reads, and return what it returns.

        Args:
            function: runs in the thread of the database; it sees whatever was committed.
        Raises:
            StorageUnavailable: the file cannot be read, or not within ANSWER_S.
        """
        return await self._call(function, writes=False)

    async def _call(self, function: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        if not self._is_open:
            raise StorageUnavailable(f"{self.folder} is not open")
        if self._waiting >= self._max_waiting:  # STATE-06
            self._counts["refused"] += 1
            raise StorageUnavailable(f"{self._waiting} calls wait for the disk already")
        call = _Call(function, writes)
        self._waiting += 1
        self._queue.put(call)
        try:
            with trio.move_on_after(ANSWER_S):
                await call.done.wait()
        finally:
            call.attended = call.done.is_set()
        if not call.done.is_set():  # STATE-09
            known = "; it may be written later" if writes else ""
            self._note_fault(f"the disk did not answer within {ANSWER_S:g} s")
            raise StorageUnavailable(
                f"the disk did not answer within {ANSWER_S:g} s{known}", is_unsure=writes
            )
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the file open until cancelled; then carry out what was taken, and close it.

        Raises:
            ConfigurationError: the file cannot be opened; it says why and what to do.
        """
        limiter = trio.CapacityLimiter(1)
        opened = await trio.to_thread.run_sync(
            partial(open_file, self.folder, tuple(self._schema)), limiter=limiter
        )
        worker = _Worker(opened, self._queue, trio.lowlevel.current_trio_token(), self._finish)
        self._is_open = True
        async with trio.open_nursery() as nursery:
            ending = trio.CancelScope(shield=True)
            nursery.start_soon(self._run_worker, worker, limiter, ending)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._is_open = False
                self._queue.put(None)
                ending.deadline = trio.current_time() + END_S

    async def _run_worker(
        self, worker: "_Worker", limiter: trio.CapacityLimiter, ending: trio.CancelScope
    ) -> None:
        with ending:
            # A thread that hangs in the disk cannot be ended, so it is left alone in the end.
            await trio.to_thread.run_sync(worker.work, limiter=limiter, abandon_on_cancel=True)
            return
        log.error(
            "the disk of %s did not take what was to be written within %g s: %d calls may be lost",
            self.folder,
            END_S,
            self._waiting,
        )

    def _note_fault(self, fault: str) -> None:
        """Say in the log when the file cannot be written any more, and when it can (STATE-15)."""
        if fault and not self.fault:
            log.error("the state in %s cannot be written: %s", self.folder, fault)
        elif self.fault and not fault:
            log.warning("the state in %s can be written again", self.folder)
        self.fault = fault

    def _finish(self, calls: Sequence[_Call[Any]], commits: int, fault: str) -> None:
        """Answer calls; the thread has it called here, in trio."""
        self._note_fault(fault)
        self._waiting -= len(calls)
        self._counts["commits"] += commits
        for call in calls:
            if isinstance(call.error, StorageUnavailable):
                self._counts["failures"] += 1
                if call.writes and not call.attended:
                    log.error("a write whose caller has gone has failed: %s", call.error)
            elif call.writes:
                self._counts["writes"] += 1
                self._counts["unattended"] += not call.attended
            else:
                self._counts["reads"] += 1
            call.done.set()


class _Worker:
    """The thread that owns the connection."""

    def __init__(
        self,
        opened: Opened,
        queue: "SimpleQueue[_Call[Any] | None]",
        token: trio.lowlevel.TrioToken,
        finish: Callable[[Sequence[_Call[Any]], int, str], None],
    ) -> None:
        self._fault = ""  # why the file cannot be written
        self._failed_at = 0.0
        self._opened = opened
        self._connection = opened.connection
        self._queue = queue
        self._token = token
        self._finish = finish

    def work(self) -> None:
        """Carry out calls until None is in the queue."""
        with closing(self._opened):
            goes_on = True
            while goes_on:
                batch: deque[_Call[Any]] = deque()
                call = self._queue.get()
                while call is not None:
                    batch.append(call)
                    if len(batch) == MAX_BATCH or self._queue.empty():
                        break
                    call = self._queue.get()
                goes_on = call is not None
                if batch:
                    commits = self._change([one for one in batch if one.writes])
                    self._read([one for one in batch if not one.writes])
                    # If trio has ended without waiting for this thread, nobody needs an answer.
                    with suppress(trio.RunFinishedError):
                        self._token.run_sync_soon(self._finish, batch, commits, self._fault)

    def _change(self, calls: list[_Call[Any]]) -> int:
        """Make writes if they would not be lost; return the number of commits."""
        if loss := self._opened.find_loss():
            self._fail(calls, loss)
            return 0
        if calls:
            commits = self._write(calls)
        elif self._fault and self._is_calm:
            commits = self._write([_Call(_touch, writes=True)])  # no caller dares to, perhaps
        else:
            return 0
        if self._is_calm:
            self._fault = ""
        return commits

    @property
    def _is_calm(self) -> bool:
        """Whether the last failure was some time ago: a full disk may have room for a little."""
        return monotonic() - self._failed_at >= CALM_S

    def _fail(self, calls: Iterable[_Call[Any]], fault: str) -> None:
        self._fault, self._failed_at = fault, monotonic()
        for call in calls:
            call.result, call.error = None, StorageUnavailable(fault)

    def _write(self, calls: list[_Call[Any]]) -> int:
        """Make writes in one transaction; return the number of commits."""
        if not calls:
            return 0
        try:
            self._transact(calls)
        except sqlite3.Error as error:
            self._roll_back()
            if len(calls) > 1 and explain(error).is_by_size:
                # One of them may have been too much for the disk: the others are not to suffer.
                return sum(self._write([call]) for call in calls)
            self._fail(calls, explain(error).text)
            return 0
        return 1

    def _transact(self, calls: list[_Call[Any]]) -> None:
        """Run functions between BEGIN and COMMIT, each in a savepoint of its own.

        Raises:
            sqlite3.Error: the file cannot be used; the transaction may be open still.
        """
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")  # waits for the lock now, not at the first change
        for call in calls:
            execute("SAVEPOINT call")
            call.result = call.error = None
            try:
                call.result = call.function(self._connection)
            except sqlite3.Error as error:
                if not explain(error).is_of_caller:
                    raise
                call.error = error
            except BaseException as error:
                # Whatever a function raises is its caller's; the thread serves others, too.
                call.error = error
            if call.error is not None:
                execute("ROLLBACK TO call")
            execute("RELEASE call")
        execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk may have ended it already
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _read(self, calls: list[_Call[Any]]) -> None:
        for call in calls:
            try:
                self._connection.execute("PRAGMA query_only = ON")
                self._connection.execute("BEGIN")  # all that a function reads is of one moment
                call.result = call.function(self._connection)
            except sqlite3.Error as error:
                told = explain(error)
                call.error = error if told.is_of_caller else StorageUnavailable(told.text)
            except BaseException as error:
                call.error = error
            finally:
                self._roll_back()
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA query_only = OFF")


def _touch(connection: sqlite3.Connection) -> None:
    """Write something that changes nothing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")
