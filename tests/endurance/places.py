"""The servers of the soak: `serve` with everything on, and what can be measured of each."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.endurance.client import CHAT
from tests.interop.server_process import free_port
from tests.wire import HttpClient
from trio_socketio.control import Control, open_control
from trio_socketio.errors import TrioSocketIOError

START_S: Final = 30.0
END_S: Final = 20.0
GONE_S: Final = 45.0
"""By then a server has given up every client that has gone without a word."""
SECRET: Final = "a secret of the soak that is as long as HS256 demands"

# What is kept up to a bound has small bounds, so that it is full when the judged time begins.
_CONFIGURATION: Final = """
[listen]
port = {port}
[identity]
jwt.keys = [{{ file = "{folder}/jwt.key", algorithm = "HS256" }}]
namespaces = [{{ name = "/", methods = [] }}]
[presence]
namespaces = [{{ name = "{chat}" }}]
linger_s = 1.0
max_events = 500
watch = [{{ namespace = "{chat}", rooms = "r1*" }}]
[chat]
namespaces = ["{chat}"]
[rules]
max_counted = 500
user = {{ per_s = 100.0, burst = 200 }}
[[rules.namespaces]]
name = "{chat}"
rates.user = {{ per_s = 5.0, burst = 25 }}
rates.room = {{ per_s = 1000.0 }}
[deliveries]
durable = ["{chat}"]
schedule_s = [1.0, 2.0]
expires_s = 3.0
keep_s = 10.0
max_reports = 50
[recovery]
enabled = true
max_disconnection_s = 2.0
max_packets = 500
[engine]
allow_eio3 = {is_json}
ping_interval_s = 2.0
ping_timeout_s = 4.0
[sockets]
parser = "{parser}"
connect_timeout_s = {connect_timeout_s}
attachments_timeout_s = 2.0
[control]
listen = ["unix:{folder}/{name}/control.sock"]
backends.forward = [{{ namespace = "{chat}" }}]
backends.deadline_s = 15.0
[admin]
listen = "127.0.0.1:{admin}"
[stop]
window_s = 0.2
grace_s = 1.0
{further}
"""
_MEMORY: Final = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured of a server at a time.

    Args:
        at_s: since the start of the soak.
        rss_bytes: the memory that is resident.
        descriptors: that are open.
        tasks: of trio, without those that are kept for later events.
        deadlines: that are watched.
        sessions: that are open.
        sockets: in all namespaces.
        saved: sessions that may be recovered.
        online: users.
        opened: how many sessions it has opened so far.
        log_bytes: size of the log on disk.
        state_bytes: size of the folder of [state].
    """

    at_s: float
    rss_bytes: int
    descriptors: int
    tasks: int
    deadlines: int
    sessions: int
    sockets: int
    saved: int
    online: int
    opened: int
    log_bytes: int
    state_bytes: int

    def tell(self) -> str:
        """Return a line to print."""
        return (
            f"{self.at_s:7.0f} s  {self.rss_bytes / 2**20:7.2f} MiB  {self.descriptors:5} "
            f"descriptors  {self.tasks:5} tasks  {self.deadlines:6} deadlines  {self.sessions:5} "
            f"sessions  {self.sockets:5} sockets  {self.saved:4} saved  {self.online:4} online  "
            f"{self.opened:7} opened  "
            f"{self.log_bytes / 2**20:6.2f} MiB of log  {self.state_bytes / 2**20:5.2f} of state"
        )


class Place:
    """A server process.

    Args:
        folder: for its files.
        name: of the server.
        parser: "json" or "msgpack".
        redis: the URL of the Redis that it shares with others; "" is none, and then it has a disk.
        connect_timeout_s: of its clients.

    Attributes:
        port: where clients find it.
        control: what backends and operators ask it by, once it is entered.
        samples: what was measured of it while clients came.
    """

    control: Control

    def __init__(
        self,
        folder: Path,
        name: str,
        parser: str,
        redis: str = "",
        connect_timeout_s: float = 3.0,
    ) -> None:
        self.name = name
        self.parser = parser
        self.port = free_port()
        self.samples: list[Sample] = []
        self._admin = free_port()
        self._folder = folder
        self._process: trio.Process | None = None
        further = f'[state]\nfolder = "{folder}/{name}/state"'
        if redis:
            further = f'[redis]\nurl = "{redis}"\n[cluster]\nnode = "{name}"'
        (folder / name).mkdir()
        (folder / "jwt.key").write_text(SECRET)
        self._configuration = folder / f"{name}.toml"
        self._configuration.write_text(
            _CONFIGURATION.format(
                port=self.port,
                folder=folder,
                chat=CHAT,
                parser=parser,
                is_json=str(parser == "json").lower(),
                connect_timeout_s=connect_timeout_s,
                name=name,
                admin=self._admin,
                further=further,
            )
        )

    @property
    def exit_code(self) -> int | None:
        """Of the process; None if it has not ended, or was not started."""
        return None if self._process is None else self._process.returncode

    @property
    def address(self) -> str:
        """Of its control socket."""
        return f"unix:{self._folder}/{self.name}/control.sock"

    @property
    def log(self) -> Path:
        return self._folder / f"{self.name}.log"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it for a block; afterwards it must end by itself."""
        with self.log.open("ab") as log:
            process = self._process = await trio.lowlevel.open_process(
                [
                    *(sys.executable, "-m", "trio_socketio", "serve"),
                    *("--config", str(self._configuration)),
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "STATE_DIRECTORY": ""},
            )
        try:
            with trio.fail_after(START_S):
                while not await self._serves():
                    if process.poll() is not None:
                        raise RuntimeError(f"{self.name} has ended: {self.log.read_text()[-500:]}")
                    await trio.sleep(0.05)
            async with open_control(self.address) as self.control:
                yield
        finally:
            with trio.CancelScope(shield=True):
                process.terminate()
                with trio.move_on_after(END_S):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _serves(self) -> bool:
        with suppress(TrioSocketIOError, OSError):
            async with open_control(self.address) as control:
                return bool((await control.call("system.info"))["state"] == "serving")
        return False

    async def measure(self, at_s: float) -> Sample:
        counts = await self.read_metrics()
        stats = await self.control.call("system.stats")
        assert self._process is not None
        proc = Path(f"/proc/{self._process.pid}")
        found = _MEMORY.search((proc / "smaps_rollup").read_text())
        assert found is not None
        files = [one.stat().st_size for one in (self._folder / self.name).rglob("*")]
        return Sample(
            at_s=at_s,
            rss_bytes=int(found[1]) * 1024,
            descriptors=len(list((proc / "fd").iterdir())),
            tasks=int(counts["tsio_tasks{busy}"]),
            deadlines=int(counts["tsio_deadlines"]),
            sessions=int(counts["tsio_sessions"]),
            sockets=int(counts.get("tsio_sockets", 0)),
            saved=_find(stats, "sessions_saved"),
            online=int(counts.get("tsio_presence_users", 0)),
            opened=int(counts["tsio_sessions_opened_total"]),
            log_bytes=self.log.stat().st_size,
            state_bytes=sum(files),
        )

    async def read_metrics(self) -> dict[str, float]:
        """Read all metrics: those with labels as sums, and each as ``name{value}`` by itself."""
        client = HttpClient(self._admin)
        try:
            response = await client.request("GET", "/metrics")
        finally:
            await client.aclose()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(response.text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0) + sample.value
                for value in sample.labels.values():
                    key = f"{sample.name}{{{value}}}"
                    found[key] = found.get(key, 0) + sample.value
        return found


def _find(stats: Any, name: str) -> int:
    """Return a number of system.stats, wherever it stands."""
    if name in stats:
        return int(stats[name])
    return sum(_find(one, name) for one in stats.values() if isinstance(one, dict))


def read_faults(places: Sequence[Place]) -> list[str]:
    """Return what the logs say of faults."""
    faults = []
    for place in places:
        lines = place.log.read_text(errors="replace").splitlines()
        bad = [line for line in lines if " ERROR " in line or "Traceback" in line]
        if bad:
            faults.append(f"{place.name} has logged {len(bad)} errors, such as {bad[0][:300]}")
    return faults
