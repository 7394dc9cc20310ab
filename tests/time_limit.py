"""Gives every test a time limit of its own, so that a hang is a failure with a name.

pytest-timeout raises an exception wherever the main thread happens to be, or ends the process.
Neither serves here: a barrier around user code would take that exception for a handler's failure
and go on, inside of trio's own code it breaks the run, and a process that ends takes all other
tests with it. So the alarm tries three things, a grace apart: it cancels the main task of a running
trio, it raises, and at last it ends the process, which xdist reports with the test's name.
"""

import faulthandler
import os
import signal
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import trio

LIMIT_S: Final = 60.0
GRACE_S: Final = 5.0
STDERR: Final = pytest.StashKey[int]()
RAISES: Final = 3
"""How often the alarm raises before it ends the process."""


class TimeLimitExceeded(BaseException):
    """The test has hung. No Exception: a test that expects one must not be satisfied by it."""


class Alarm:
    """Goes off in the main thread when a phase of a test has taken too long.

    Args:
        name: of the test.
        limit_s: for one phase: setup, call or teardown.
        stderr: a descriptor for last words; pytest keeps what is written to 2.
    """

    def __init__(self, name: str, limit_s: float, stderr: int) -> None:
        self._name = name
        self._stderr = stderr
        self._limit_s = limit_s
        self._grace_s = min(GRACE_S, limit_s)
        self._rings = 0
        self.hung_at = ""  # what the program did when the time was over; empty before

    @property
    def verdict(self) -> str:
        return f"{self._name} took more than {self._limit_s:g} s\n{self.hung_at}"

    @contextmanager
    def set(self) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, self._ring)
        # The interval rings again when something has swallowed what the first one did.
        signal.setitimer(signal.ITIMER_REAL, self._limit_s, self._grace_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _ring(self, _: int, frame: FrameType | None) -> None:
        self._rings += 1
        if self._rings == 1:
            self.hung_at = "".join([*describe_stack(frame), *describe_tasks()])
            if cancel_trio():
                return
        if self._rings <= 1 + RAISES:
            if trio.lowlevel.in_trio_run() and not trio.lowlevel.in_trio_task():
                return  # it may end yet; an exception in here would leave its tasks in pieces
            raise TimeLimitExceeded
        last_words = f"\n{self.verdict}\nNothing ends it, so the process ends. It is at:\n"
        os.write(self._stderr, last_words.encode())
        faulthandler.dump_traceback(self._stderr)
        os._exit(1)


def describe_stack(frame: FrameType | None) -> list[str]:
    """Where the main thread is, from the test on."""
    places = traceback.extract_stack(frame)
    ours = [at for at, place in enumerate(places) if "pluggy" in Path(place.filename).parts]
    return traceback.format_list(places[ours[-1] + 1 if ours else 0 :])


def cancel_trio() -> bool:
    """Cancel the main task of the trio that runs in this thread; whether one does."""
    if not trio.lowlevel.in_trio_run():
        return False
    # A signal handler may call this.
    trio.lowlevel.current_trio_token().run_sync_soon(_cancel_main)
    return True


def _cancel_main() -> None:
    root = trio.lowlevel.current_root_task()
    if root is None or not root.child_nurseries:
        return
    main = root.child_nurseries[-1]  # the innermost holds the main task alone
    main.cancel_scope.cancel()
    for task in walk_tasks(*main.child_tasks):
        status: Any = getattr(task, "_cancel_status", None)
        while status is not None:  # a cleanup that hangs is shielded, as cleanups are
            status._scope.shield = False
            status = status._parent


def walk_tasks(*tasks: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """The tasks, and all that they have started."""
    for task in tasks:
        yield task
        for nursery in task.child_nurseries:
            yield from walk_tasks(*nursery.child_tasks)


def describe_tasks() -> Iterator[str]:
    """Where each task of a running trio waits."""
    root = trio.lowlevel.current_root_task() if trio.lowlevel.in_trio_run() else None
    for task in walk_tasks(*([] if root is None else [root])):
        places = traceback.StackSummary.extract(task.iter_await_frames())
        yield f"task {task.name}:\n" + "".join(places.format())


@contextmanager
def limited(item: pytest.Item) -> Iterator[None]:
    """Fail what hangs in the block."""
    mark = item.get_closest_marker("time_limit")
    limit_s = mark.args[0] if mark is not None else LIMIT_S
    limit_s *= item.config.getoption("time_limit_factor")
    if not limit_s or threading.current_thread() is not threading.main_thread():
        yield
        return
    alarm = Alarm(item.nodeid, limit_s, item.config.stash[STDERR])
    try:
        with alarm.set():
            yield
    finally:
        if alarm.hung_at:  # whatever came of it since, with a cancelled trio
            pytest.fail(alarm.verdict, pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STDERR] = os.dup(2)  # while nothing is captured
    config.add_cleanup(lambda: os.close(config.stash[STDERR]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--time-limit-factor",
        type=float,
        default=1.0,
        help="gives each test this many times its limit; 0 means no limit, for a debugger",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with limited(item):
        return (yield)
