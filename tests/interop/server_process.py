"""The server as a user starts it: a process of its own, found by its port."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from random import sample
from types import TracebackType
from typing import IO, Self

from tests.cli_process import Forked, be_the_command, start_of

ROOT = Path(__file__).resolve().parents[2]
INTEROP_APP = "tests/apps/interop_app.py:create"
HOST = "127.0.0.1"
START_S = 20.0
STOP_S = 15.0
POLL_S = 0.02
TAIL_BYTES = 6_000


class ServerFailed(Exception):
    """The server did not start, did not stop, or ended by itself; its last words are included."""


# Below those that the system gives to clients, who would take a port before its server listens.
# Each worker has its own, so that no other takes one meanwhile either.
_PORTS_OF_WORKER = 1000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 20
_FIRST_PORT = 10_000 + _PORTS_OF_WORKER * _WORKER
_ports = cycle(sample(range(_FIRST_PORT, _FIRST_PORT + _PORTS_OF_WORKER), _PORTS_OF_WORKER))


def free_port() -> int:
    """Return a port that nobody listens on, and that was not returned lately."""
    for port in _ports:
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("a cycle has no end")


class ServerProcess:
    """Run ``trio-socketio serve`` for as long as the ``with`` block lasts.

    Args:
        app: what ``--app`` takes; paths are relative to the repository.
        arguments: further arguments of ``serve``.
        port: where to listen; a free one if not given. It survives ``restart()``.
    """

    def __init__(
        self, app: str = INTEROP_APP, *, arguments: Sequence[str] = (), port: int | None = None
    ) -> None:
        self.app = app
        self.arguments = tuple(arguments)
        self.port = free_port() if port is None else port
        self._process: Forked | None = None
        self._stderr: IO[bytes] = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed in __exit__

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def _file(self) -> Path:
        return Path(self._stderr.name)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stderr.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._process is not None:
                self.stop()
        finally:
            self._stderr.close()

    def options(self) -> Sequence[str]:
        """The options of ``serve``, all but where it listens."""
        return ("--app", self.app, *self.arguments)

    def start(self) -> None:
        """Start the process and wait until its port answers."""
        assert self._process is None, "the server is already running"
        listen = ("--host", HOST, "--port", str(self.port))
        start = start_of("serve", *self.options(), *listen, cwd=ROOT)
        self._process = Forked(be_the_command, start, self._file, self._file)
        try:
            self._wait_listening()
        except ServerFailed:
            self._end(signal.SIGKILL)
            raise

    def stop(self) -> int:
        """Ask the server to drain and end, and return its exit code.

        Raises:
            ServerFailed: it had ended before, or did not end in time and was killed.
        """
        assert self._process is not None, "the server is not running"
        if self._process.returncode is not None:
            code = self._end(signal.SIGTERM)
            raise ServerFailed(f"the server had ended by itself with {code}\n{self.tail()}")
        try:
            return self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL)
            said = self.tail()
            raise ServerFailed(f"the server did not end {STOP_S} s after SIGTERM\n{said}") from None

    def kill(self) -> None:
        """End the server without a chance to say good-bye, as a crash does."""
        self._end(signal.SIGKILL)

    def restart(self, *, crash: bool = False) -> None:
        """Stop the server (or kill it) and start it again on the same port."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def readable(self) -> bool:
        """Whether there still is an output to read."""
        return not self._stderr.closed

    def output(self) -> str:
        """Everything the server wrote so far."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def tail(self) -> str:
        """The last words of the server, for the report of a test that failed."""
        return f"--- the server wrote ---\n{self.output()[-TAIL_BYTES:]}"

    def _wait_listening(self) -> None:
        assert self._process is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if (code := self._process.returncode) is not None:
                raise ServerFailed(f"the server ended with {code} at its start\n{self.tail()}")
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        raise ServerFailed(f"nobody listens on {self.url} after {START_S} s\n{self.tail()}")

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(number)  # does nothing if it has ended
        code = self._process.join(STOP_S)
        self._process = None
        return code


def assert_clean(server: ServerProcess) -> None:
    """Stop the server: it ends with 0 and no test made it write a traceback."""
    if not server.running:
        return  # it failed in the middle of a restart, and the test said so
    code = server.stop()
    said = server.output()
    assert code == 0, f"the server ended with {code} after SIGTERM\n{server.tail()}"
    assert "Traceback" not in said, f"something failed inside the server\n{server.tail()}"
