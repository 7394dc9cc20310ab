"""The processes of nodes: started, killed, frozen, and asked whether they are ready."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from tests.faults.presence.app import ACTS, NAMESPACE
from tests.faults.presence.history import History, Mark, Process, boottime, read_acts
from tests.interop.server_process import ROOT, free_port

STARTS_S: Final = 30.0
ASKS_S: Final = 2.0
LOOKS_S: Final = 0.02


class NodeSetup(msgspec.Struct, frozen=True, kw_only=True):
    """How a node runs.

    Args:
        name: of the node.
        redis: the URL.
        port: where clients reach it.
        admin_port: where operators do.
        control: the path of its control socket.
        lease_s: of the store.
        outage: what becomes of its clients when the store is away.
        ping_interval_s: for clients.
        ping_timeout_s: for clients.
        max_events: of the log.
    """

    name: str
    redis: str
    port: int
    admin_port: int
    control: str
    lease_s: float = 5.0
    outage: str = "strict"
    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    max_events: int = 100_000

    def write(self) -> str:
        """Return it as a configuration."""
        tables: dict[str, dict[str, Any]] = {
            "listen": {"port": self.port},
            "engine": {
                "ping_interval_s": self.ping_interval_s,
                "ping_timeout_s": self.ping_timeout_s,
                "max_unjoined_sessions": 10_000,
            },
            "control": {"listen": [f"unix:{self.control}"]},
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "redis": {"url": self.redis},
            "cluster": {"node": self.name},
            "presence": {
                "lease_s": self.lease_s,
                "outage": self.outage,
                "max_events": self.max_events,
            },
        }
        return "".join(
            f"[{table}]\n" + "".join(f"{key} = {json.dumps(one)}\n" for key, one in its.items())
            for table, its in tables.items()
        )


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
        configuration = trio.Path(self._folder / f"{self.name}.toml")
        await configuration.write_text(self.setup.write(), encoding="utf-8")
        command = [sys.executable, "-m", "tests.faults.presence.node_process", "serve"]
        command += ["--config", str(configuration), "--app", "tests.faults.presence.app:create"]
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, ACTS: str(self._path_of(number))},
            )
        until = boottime() + STARTS_S
        while (why := await self.why_not_ready()) != "":
            if not self.is_up or boottime() > until:
                raise NodeEnded(f"{self.name} is not ready: {why}: {self.read_log()[-3000:]}")
            await trio.sleep(LOOKS_S)

    def _path_of(self, number: int) -> Path:
        return self._folder / f"{number}-{self.name}.acts"

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

    async def close(self) -> None:
        """End it, without a mark."""
        if self._process is not None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def read_acts(self) -> None:
        """Read what each process has written."""
        for process in self._history.processes:
            if process.node == self.name:
                process.acts[:] = read_acts(self._path_of(process.number), NAMESPACE)

    async def why_not_ready(self) -> str | None:
        """Return why it is not ready; empty text if it is, None if it does not answer."""
        answer = await self._ask("/readyz")
        if answer is None:
            return None
        status, body = answer
        return "" if status == 200 else body

    async def count(self, metric: str) -> float:
        """Return a metric, summed over its labels."""
        answer = await self._ask("/metrics")
        text = answer[1] if answer else ""
        found = re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

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
