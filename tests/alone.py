"""Lets tests that measure time run alone, while ``pytest -n`` runs the others side by side.

A test that is marked `alone` judges by the clock, or needs most of the machine. Under pytest-xdist
no other test is at work while it runs. The workers agree on that by locks on two files, which the
system takes back from a worker that dies: whoever runs alone holds `room` exclusively, the others
share it, and all of them pass `gate` first, so that none who runs alone waits for ever.

Files with such tests come first. A file that is marked `in_background` has processes at work
between its tests, so it keeps its share of the room until its last test is done, and begins when
nobody wants to be alone any more. Files that take long, as they start many processes, come next: a
worker that began one of them late would have all others wait for it at the end.

(A group of xdist's own would do for the order, but `--dist loadgroup` of 3.8 writes its groups into
ids that pytest 9.2 no longer reads.)
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

WAITS_S: Final = 120.0
"""How long a file in the background waits for tests that run alone; a worker may have died."""
POLL_S: Final = 0.05

LONG: Final = (
    *("tests/test_cli", "tests/interop/", "tests/test_presence_over_nodes"),
    *("tests/faults/test_presence_faults", "tests/im/test_killed", "tests/im/test_nodes_on_redis"),
    *("tests/test_time_limit", "tests/im/test_outages", "tests/im/test_presence_store"),
    *("tests/test_cluster_guide", "tests/cluster/test_on_redis", "tests/cluster/test_revoke"),
)
"""How the names of files begin that take ten seconds and more."""

FOLDER: Final = pytest.StashKey[str]()


def order_of(item: pytest.Item) -> int:
    if item.get_closest_marker("alone"):
        return 0
    if item.get_closest_marker("in_background"):
        return 1
    return 2 if item.nodeid.startswith(LONG) else 3


# --- the process that hands out the tests ---------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns(Path(config.workerinput["alone"])))
    elif config.getoption("numprocesses", None):
        folder = tempfile.TemporaryDirectory(prefix="alone-")
        config.add_cleanup(folder.cleanup)
        config.stash[FOLDER] = folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker is about to start (a hook of xdist)."""
    node.workerinput["alone"] = node.config.stash[FOLDER]


# --- its workers ----------------------------------------------------------------------------------


class Turns:
    """Makes each test of a worker wait for its turn.

    Args:
        folder: that all workers of a run share.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = os.open(folder / "gate", os.O_RDWR | os.O_CREAT)
        self._room = os.open(folder / "room", os.O_RDWR | os.O_CREAT)
        # One byte for each test that has run alone.
        self._done = os.open(folder / "done", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._to_do = 0
        self._stays = False  # in the room, from one test of a file to the next

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=order_of)
        self._to_do = sum(order_of(item) == 0 for item in items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        order = order_of(item)
        if not self._stays:
            if order == 1:
                self._wait_for_those_alone()
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_SH if order else fcntl.LOCK_EX)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        if order == 0:
            os.write(self._done, b".")
        try:
            return (yield)
        finally:
            self._stays = order == 1 and nextitem is not None and nextitem.path == item.path
            if not self._stays:
                fcntl.flock(self._room, fcntl.LOCK_UN)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Escape what UTF-8 cannot carry: tests that log lone surrogates would end their worker."""
        report = yield
        report.sections = [
            (name, text.encode(errors="backslashreplace").decode())
            for name, text in report.sections
        ]
        return report

    def _wait_for_those_alone(self) -> None:
        until = time.monotonic() + WAITS_S
        while os.fstat(self._done).st_size < self._to_do and time.monotonic() < until:
            time.sleep(POLL_S)
