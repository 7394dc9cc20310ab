"""``trio-socketio`` as a process: run to its end, or served and then ended."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import trio

COMMAND: Final = (sys.executable, "-m", "trio_socketio")
LIMIT_S: Final = 15.0
ROOT: Final = Path(__file__).resolve().parent.parent

# A process that has imported the package forks commands and servers. There are hundreds of them,
# and a new interpreter takes half a second of CPU to import all that they need.
_forking: Final = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    [f"trio_socketio.cli.{name}" for name in ("serve", "check_config", "ctl", "init")]
    + ["trio_socketio.services", "tests.cli_process"]
)
_lock: Final = threading.Lock()
"""Whoever starts a process checks whether others have ended, of which one at a time can be told."""


@dataclass(frozen=True)
class Start:
    """How the command is started.

    Args:
        command: its name and its arguments.
        cwd: where.
        environment: of the process.
    """

    command: list[str]
    cwd: Path
    environment: dict[str, str]


class Forked:
    """A process that was forked to be the command.

    Args:
        target: what it does.
        start: how it is started.
        more: further arguments of target.
    """

    def __init__(self, target: Callable[..., None], start: Start, *more: object) -> None:
        self.args = start.command
        self._process = _forking.Process(target=target, args=(start, *more), daemon=True)
        with _lock:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._ended = self._process.sentinel

    @property
    def returncode(self) -> int | None:
        with _lock:
            return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it is ending
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def join(self, timeout_s: float) -> int:
        """Wait until it has ended; give its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        if not multiprocessing.connection.wait([self._ended], timeout_s):
            raise subprocess.TimeoutExpired(self.args, timeout_s)
        code = self.returncode
        assert code is not None
        return code


class ForkedProcess(Forked):
    """Also has what tests use of a `trio.Process`."""

    def __init__(self, start: Start) -> None:
        reading, writing = _forking.Pipe(duplex=False)
        with reading, writing:
            super().__init__(_serve, start, writing)
            self.stderr = trio.lowlevel.FdStream(os.dup(reading.fileno()))

    async def wait(self) -> int:
        await trio.lowlevel.wait_readable(self._ended)
        return self.join(0)


def run_cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; it must end by itself."""
    start = start_of(*arguments, cwd=cwd, COLUMNS="200")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("output", "errors")]
        process = Forked(be_the_command, start, *files)
        try:
            code = process.join(LIMIT_S)
        finally:
            process.kill()
        output, errors = (file.read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess(start.command, code, output, errors)


def start_of(*arguments: str, cwd: Path | None = None, **variables: str) -> Start:
    return Start(["trio-socketio", *arguments], cwd or Path.cwd(), {**os.environ, **variables})


def be_the_command(start: Start, output: Path, errors: Path) -> None:
    """Write into files, at their ends."""
    for number, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    _be(start)


def _serve(start: Start, errors: Connection) -> None:
    os.dup2(errors.fileno(), 2)
    errors.close()
    _be(start)


def _be(start: Start) -> None:
    """Be the command, as a shell would start it."""
    from trio_socketio.cli import main

    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    if nowhere:
        os.close(nowhere)
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.environment)
    sys.path[:] = [str(start.cwd), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.argv[:] = start.command
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 - lasts
    sys.exit(main(start.command[1:]))


class ServingProcess:
    """A server process; its log is read as it comes."""

    def __init__(self, process: trio.Process | ForkedProcess) -> None:
        self.process = process
        self.log: list[str] = []
        self._rest = b""

    async def wait_logged(self, part: str) -> str:
        """Read the log up to a line that has part in it, and give that line."""
        while not (self.log and part in self.log[-1]):
            assert await self._read_line(), f"it ended without saying {part!r}: {self.log}"
        return self.log[-1]

    async def wait_url(self) -> str:
        """Read up to the line that tells where it serves, and give the URL."""
        return (await self.wait_logged("serving ")).rpartition("serving ")[2].rstrip('"}')

    async def wait_port(self) -> int:
        """See wait_url; just the port."""
        return int((await self.wait_url()).split(":")[2].partition("/")[0])

    async def wait_end(self) -> int:
        """Read the log to its end; give the exit code."""
        while await self._read_line():
            pass
        return await self.process.wait()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; give the exit code."""
        self.process.send_signal(number)
        return await self.wait_end()

    async def _read_line(self) -> bool:
        assert self.process.stderr is not None
        while b"\n" not in self._rest:
            data = await self.process.stderr.receive_some()
            if not data:
                return False
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.log.append(line.decode())
        return True


@asynccontextmanager
async def serving(
    *arguments: str,
    cwd: Path | None = None,
    port: int = 0,
    limit_s: float = LIMIT_S,
    variables: Mapping[str, str] | None = None,
    is_child: bool = False,
) -> AsyncIterator[ServingProcess]:
    """Run ``serve``, by default on a free port; killed at the end.

    Args:
        arguments: of ``serve``.
        cwd: where it runs.
        port: where it listens.
        limit_s: how long the block may take.
        variables: further ones of the environment.
        is_child: start an interpreter for it, so that it is a child of this process.
    """
    where = () if "--unix" in arguments else ("--port", str(port))
    with trio.fail_after(limit_s):
        start = start_of("serve", *where, *arguments, cwd=cwd, **(variables or {}))
        process: trio.Process | ForkedProcess
        if is_child:
            process = await trio.lowlevel.open_process(
                [*COMMAND, *start.command[1:]],
                cwd=start.cwd,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=start.environment,
            )
        else:
            process = ForkedProcess(start)
        try:
            yield ServingProcess(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                if process.stderr is not None:
                    await process.stderr.aclose()
