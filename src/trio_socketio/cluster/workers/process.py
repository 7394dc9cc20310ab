"""Starts worker processes: each is a new interpreter that runs the same command."""

import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from trio_socketio.cluster.workers.link import Link
from trio_socketio.codec.worker_messages import MAX_LINE_BYTES, WorkerPlace, encode_place

VARIABLE: Final = "TRIO_SOCKETIO_WORKER"
"""The variable that tells a process that it is a worker: its WorkerPlace."""
GROUP_SIGNALS: Final = frozenset((signal.SIGINT, signal.SIGHUP, signal.SIGUSR2))
"""What a terminal sends to all processes, or an operator to the parent; workers ignore it."""
_NOT_FOR_WORKERS: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip
"""The variables of systemd, which deals with the parent alone."""

_waiting: Final = trio.CapacityLimiter(1 << 10)


class Child(Protocol):
    """A worker process that was started."""

    @property
    def pid(self) -> int:
        """Of the process."""

    @property
    def link(self) -> Link:
        """Its link."""

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code, which is negative for a signal."""

    def is_stopped(self) -> bool:
        """Whether a signal or a debugger has stopped it; False where the system does not say."""

    def terminate(self) -> None:
        """Send it SIGTERM."""

    def kill(self) -> None:
        """End it at once."""


class Process:
    """A worker process.

    Args:
        process: it runs.
        link: our end of its link.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", link: Link) -> None:
        self._process = process
        self._link = link

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def link(self) -> Link:
        return self._link

    async def wait(self) -> int:
        # A thread for each worker, which the end of the process ends: not every system can wait for
        # a process in another way.
        return await trio.to_thread.run_sync(
            self._process.wait, abandon_on_cancel=True, limiter=_waiting
        )

    def is_stopped(self) -> bool:
        try:
            found = Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:  # it has ended, or this is not Linux
            return False
        # The name of the program comes first, in parentheses, and may hold any bytes.
        return found.rpartition(b")")[2].split()[:1] in ([b"T"], [b"t"])

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


class Launcher:
    """Starts the processes of the workers.

    Args:
        command: the words that start this program.
        environment: the variables of this program.
        place_of: returns the place of a worker, given its index and the descriptor of its link.
        inherited: returns the descriptors that every worker inherits.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        place_of: Callable[[int, int], WorkerPlace],
        inherited: Callable[[], Sequence[int]],
    ) -> None:
        self._command = tuple(command)
        self._environment = {
            name: value for name, value in environment.items() if name not in _NOT_FOR_WORKERS
        }
        self._place_of = place_of
        self._inherited = inherited

    async def start(self, index: int) -> Process:
        """Start a worker.

        Raises:
            OSError: the system has no process or descriptor left.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                place = self._place_of(index, theirs.fileno())
                fds = (*self._inherited(), theirs.fileno())
                environment = {**self._environment, VARIABLE: encode_place(place)}
                process = await trio.to_thread.run_sync(
                    self._start, environment, fds, limiter=_waiting
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return Process(process, Link(ours, MAX_LINE_BYTES))

    def _start(
        self, environment: Mapping[str, str], fds: Sequence[int]
    ) -> "subprocess.Popen[bytes]":
        # A signal to the group must not end an interpreter that has not got as far as to ignore it.
        # What is blocked in this thread is blocked in the new process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        try:
            return subprocess.Popen(
                self._command, env=environment, pass_fds=fds, stdin=subprocess.DEVNULL
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def describe_end(code: int) -> str:
    """Say how a process has ended (WORK-10).

    Args:
        code: its exit code; negative for a signal.
    """
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"the signal {-code}"
    perhaps = " (perhaps the system ran out of memory)" if -code == signal.SIGKILL else ""
    return f"{name} ended it{perhaps}"
