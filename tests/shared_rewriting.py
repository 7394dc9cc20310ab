"""Lets the workers of ``pytest -n`` share the work of rewriting assertions.

All workers collect the same files in the same order. In a fresh clone each would rewrite all their
assertions, which takes longer than the rest of the collection. So each worker imports its share
first, which leaves the rewritten bytecode for the others to read.
"""

import contextlib
import importlib
from pathlib import Path
from typing import Any, Final

import pytest

TESTS: Final = Path(__file__).resolve().parent
OF_OTHER_COMMANDS: Final = ("browser", "balancers")


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if worker and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        number = int(worker["workerid"].removeprefix("gw"))
        config.pluginmanager.register(Share(number, worker["workercount"]))


class Share:
    """Imports some of the test files before all are collected.

    Args:
        number: of this worker; the first is 0.
        workers: how many there are.
    """

    def __init__(self, number: int, workers: int) -> None:
        self._number = number
        self._workers = workers

    def pytest_collection(self) -> None:
        for module in modules()[self._number :: self._workers]:
            # Whatever is wrong with a file is reported when it is collected.
            with contextlib.suppress(Exception):
                importlib.import_module(module)


def modules() -> list[str]:
    """The names that pytest gives to the files of the suite."""
    paths = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]
    return [
        ".".join(("tests", *path.with_suffix("").parts))
        for path in paths
        if path.parts[0] not in OF_OTHER_COMMANDS and "node_modules" not in path.parts
    ]
