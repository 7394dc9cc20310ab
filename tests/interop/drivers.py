"""Runs rows of the matrix: a driver process for each, a few at a time."""

import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.interop.matrix import Cell, Client, cells_of
from tests.interop.server_process import ROOT, ServerProcess, assert_clean

HERE: Final = Path(__file__).parent
NODE_MODULES: Final = HERE / "node_modules"
LANES: Final = 4
ROW_S: Final = 120.0
SERVE: Final = ("--ping-interval", "0.3")
"""Heartbeats so often that they meet everything else; scenarios know the number."""

Row = tuple[Client, str]


class ClientsMissing(Exception):
    """What drives the clients is not installed."""


def node_command(url: str, scenarios: Iterable[str], transport: str, client: str) -> list[str]:
    """The command line of ``client.mjs``."""
    node = shutil.which("node")
    if node is None:
        raise ClientsMissing("node is missing: it runs the official clients; install Node 18+")
    if not NODE_MODULES.is_dir():
        raise ClientsMissing("tests/interop/node_modules is missing: run `npm ci` there")
    return [node, str(HERE / "client.mjs"), url, ",".join(scenarios), transport, client]


def driver_command(client: Client, url: str, scenarios: Iterable[str], transport: str) -> list[str]:
    """The command line that runs scenarios with a client of the matrix."""
    if not client.family.in_python:
        return node_command(url, scenarios, transport, client.loader)
    driver = [sys.executable, "-m", "tests.interop.python_driver"]
    return [*driver, url, ",".join(scenarios), transport, client.loader]


@dataclass
class Run:
    """What one driver process reported.

    Args:
        errors: scenario -> what failed in it, or None.
        trouble: what else there is to know if there are not more of them, or some failed.
    """

    errors: dict[str, str | None] = field(default_factory=dict)
    trouble: str = ""

    def failures(self, scenarios: Iterable[str]) -> list[str]:
        """What failed of them, or was never run; empty if all are well."""
        unreported = "the driver did not report it"
        errors = {name: self.errors.get(name, unreported) for name in scenarios}
        found = [f"{name}: {error}" for name, error in errors.items() if error is not None]
        return [*found, self.trouble] if found else []


def drive(command: Sequence[str], server: ServerProcess) -> Run:
    """Run a driver to its end; restart the server when it asks for that."""
    run = Run()
    begun = len(server.output())
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=words) as process,
    ):
        killer = threading.Timer(ROW_S, process.kill)  # bounds all reading below
        killer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said: dict[str, Any] = json.loads(line)
                if "restart" in said:
                    server.restart(crash=said["restart"] == "crash")
                else:
                    run.errors[said["scenario"]] = said["error"]
            code = process.wait()
        finally:
            killer.cancel()
            process.kill()
        if code:
            words.seek(0)
            said_last = words.read().decode(errors="replace")[-4_000:]
            served = server.output()[begun:][-4_000:]
            run.trouble = (
                f"the driver ended with {code}\n{said_last}\n--- the server wrote ---\n{served}"
            )
    return run


class Matrix:
    """Runs rows, and keeps what came of them.

    Each lane has servers of its own, since a broadcast of one client must not reach another's: one
    for each set of arguments that clients need.

    Args:
        rows: what to run.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._runs: dict[Row, Future[Run]] = {row: Future() for row in rows}
        self._waiting = queue.SimpleQueue[Row]()
        for row in self._runs:
            self._waiting.put(row)
        self._lanes = [threading.Thread(target=self._work) for _ in range(LANES)]
        self._problems: list[str] = []

    def start(self) -> None:
        """Start the lanes."""
        for lane in self._lanes:
            lane.start()

    def failures(self, cell: Cell) -> list[str]:
        """What failed in a cell, once its row is done; empty if it passes."""
        return self._runs[cell.client, cell.transport].result().failures(cell.scenarios)

    def finish(self) -> list[str]:
        """Wait until all rows are done; return what servers said or did that they should not."""
        for lane in self._lanes:
            lane.join()
        return self._problems

    def _work(self) -> None:
        servers: dict[tuple[str, ...], ServerProcess] = {}
        with ExitStack() as opened:
            while True:
                try:
                    client, transport = self._waiting.get_nowait()
                except queue.Empty:
                    break
                future = self._runs[client, transport]
                try:
                    if client.serve not in servers:
                        server = ServerProcess(arguments=[*SERVE, *client.serve])
                        servers[client.serve] = opened.enter_context(server)
                    cells = cells_of(client, transport)
                    scenarios = [name for cell in cells for name in cell.scenarios]
                    server = servers[client.serve]
                    command = driver_command(client, server.url, scenarios, transport)
                    future.set_result(drive(command, server))
                except Exception as error:
                    future.set_exception(error)
            for server in servers.values():
                try:
                    assert_clean(server)
                except Exception as problem:
                    self._problems.append(str(problem))
