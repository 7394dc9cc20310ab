"""``trio-socketio`` as a process: run to its end, or served and then ended."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

COMMAND: Final = (sys.executable, "-m", "trio_socketio")
LIMIT_S: Final = 15.0
ROOT: Final = Path(__file__).resolve().parent.parent

# A process that has imported the package forks those that run to their end. There are hundreds, and
# a new interpreter needs 0.4 s of CPU to import it.
_forking: Final = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    [f"trio_socketio.cli.{name}" for name in ("serve", "check_config", "ctl", "init")]
    + ["trio_socketio.services", "tests.cli_process"]
)


def run_cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; it must end by itself."""
    command = ["trio-socketio", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("output", "errors")]
        environment = {**os.environ, "COLUMNS": "200"}
        process = _forking.Process(
            target=_run_main, args=(command, cwd or Path.cwd(), environment, files)
        )
        process.start()
        process.join(LIMIT_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, LIMIT_S)
        output, errors = (file.read_text(encoding="utf-8") for file in files)
        ended = subprocess.CompletedProcess(command, process.exitcode, output, errors)
        process.close()
    return ended


def _run_main(
    command: list[str], cwd: Path, environment: dict[str, str], files: list[Path]
) -> None:
    """Be the command, as a shell would start it."""
    from trio_socketio.cli import main

    nowhere = os.open(os.devnull, os.O_RDONLY)
    places = [os.open(file, os.O_WRONLY | os.O_CREAT) for file in files]
    for number, place in enumerate((nowhere, *places)):
        os.dup2(place, number)
        if place > 2:
            os.close(place)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [str(cwd), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.argv[:] = command
    sys.exit(main(command[1:]))


class ServingProcess:
    """A server process; its log is read as it comes."""

    def __init__(self, process: trio.Process) -> None:
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
) -> AsyncIterator[ServingProcess]:
    """Run ``serve``, by default on a free port; killed at the end.

    Args:
        arguments: of ``serve``.
        cwd: where it runs.
        port: where it listens.
        limit_s: how long the block may take.
        variables: further ones of the environment.
    """
    where = () if "--unix" in arguments else ("--port", str(port))
    with trio.fail_after(limit_s):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "serve", *where, *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(variables or {})},
        )
        try:
            yield ServingProcess(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
