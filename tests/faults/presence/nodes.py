"""The processes of nodes: started, killed, frozen, and asked whether they are ready."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from tests.faults.presence.history import History, Mark, Process, read_acts
from tests.faults.presence.node_process import NodeSetup
from tests.interop.server_process import free_port

STARTS_S: Final = 20.0
ASKS_S: Final = 2.0


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NodeEnded(Exception):
    """A process of a node has ended by itself; it holds the end of its log."""


class Node:
    """A node, which is started again and again under its name, at its ports.

    Attributes:
        setup: of its processes.
        log: the path of their log.
        process: the last one.
    """

    def __init__(self, history: History, folder: Path, name: str, redis: str, **more: Any) -> None:
        self.log = folder / f"{name}.log"
        self._history = history
        self._folder = folder
        self._process: trio.Process | None = None
        self.process = Process(0, name, 0)
        self.setup = NodeSetup(
            name=name,
            redis=redis,
            port=free_port(),
            admin_port=free_port(),
            control=str(folder / f"{name}.sock"),
            acts="",
            **more,
        )

    @property
    def name(self) -> str:
        return self.setup.name

    @property
    def port(self) -> int:
        return self.setup.port

    @property
    def is_up(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start a process, and wait until it serves."""
        number = len(self._history.processes) + 1
        self.process = Process(number, self.name, self.port)
        self._history.processes.append(self.process)
        self.setup = msgspec.structs.replace(
            self.setup, acts=str(self._folder / f"{number}-{self.name}.acts")
        )
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-m",
                    "tests.faults.presence.node_process",
                    msgspec.json.encode(self.setup).decode(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        with trio.fail_after(STARTS_S):
            if not await self._process.stdout.receive_some():
                raise NodeEnded(f"{self.name}: {self.read_log()[-3000:]}")

    def _send(self, number: signal.Signals) -> float:
        assert self._process is not None
        self._process.send_signal(number)
        return boottime()

    async def kill(self) -> float:
        """Kill it; return when."""
        at = self._send(signal.SIGKILL)
        self._history.marks.append(Mark(at, "killed", self.process.number))
        assert self._process is not None
        await self._process.wait()
        return at

    def freeze(self) -> float:
        """Have it stand still; return when."""
        at = boottime()  # before, so that nothing is done after it
        self._send(signal.SIGSTOP)
        self._history.marks.append(Mark(at, "frozen", self.process.number))
        return at

    def thaw(self) -> float:
        """Have it go on; return when."""
        at = boottime()
        self._history.marks.append(Mark(at, "thawed", self.process.number))
        self._send(signal.SIGCONT)
        return at

    def close(self) -> None:
        """End it, without a mark."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def read_acts(self) -> None:
        """Read what each process has written."""
        for process in self._history.processes:
            if process.node == self.name:
                path = self._folder / f"{process.number}-{self.name}.acts"
                process.acts[:] = read_acts(path)

    async def why_not_ready(self) -> str | None:
        """Return why it is not ready; empty text if it is, None if it does not answer."""
        answer = await self._ask("/readyz")
        if answer is None:
            return None
        status, body = answer
        return "" if status == 200 else body

    async def count(self) -> dict[str, Any]:
        """Return its numbers; see node_process.Numbers."""
        answer = await self._ask("/metrics")
        return {} if answer is None else msgspec.json.decode(answer[1])

    async def _ask(self, path: str) -> tuple[int, str] | None:
        with trio.move_on_after(ASKS_S):
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self.setup.admin_port)
                async with stream:
                    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                    await stream.send_all(request.encode())
                    answer = b"".join([data async for data in stream])
            except (OSError, trio.BrokenResourceError):
                return None
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"chunked" in head.lower():
                body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
            return int(head.split()[1]), body.decode().strip()
        return None
