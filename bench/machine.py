"""What the bench runs on: cores, limits, versions. No names of hosts and no paths."""

import json
import os
import platform
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
BUILD = BENCH / ".build"
PEERS = BENCH / "peers"
QUIET = 0.5  # load average
PEERS_PYTHON = BENCH / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the two sides run; the same core twice when there is only one."""

    server: int
    generator: int

    @property
    def apart(self) -> bool:
        return self.server != self.generator


def find_cores() -> Cores:
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[1] if len(usable) > 1 else usable[0])


@dataclass(frozen=True, slots=True)
class Ticks:
    """CPU time of all cores since the machine started, in clock ticks."""

    total: int
    stolen: int

    def stolen_since(self, earlier: "Ticks") -> float:
        """The share that the hypervisor gave to others, 0 to 1."""
        passed = self.total - earlier.total
        return (self.stolen - earlier.stolen) / passed if passed > 0 else 0.0


def parse_ticks(stat: str) -> Ticks:
    """The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.

    Two more columns, the time of guests, are contained in user and nice.
    """
    columns = [int(column) for column in stat.split(maxsplit=9)[1:9]]
    return Ticks(sum(columns), columns[7])


@dataclass(frozen=True, slots=True)
class Conditions:
    """What else the machine did when a row was measured.

    Args:
        load: average of the last minute, just before.
        steal_before: share of the CPU time stolen since the measurement before this one.
        steal: share of the CPU time stolen during this one.
    """

    load: float
    steal_before: float
    steal: float


def told_duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def other_work() -> str:
    """A warning when something else runs here; empty when it is quiet."""
    load = os.getloadavg()[0]
    return f"other work runs on this machine (load {load:.1f}): noise" if load > QUIET else ""


class Watch:
    """Reads load and CPU steal before and after every measurement."""

    def __init__(self) -> None:
        self._last = self._read()

    def before(self) -> tuple[float, float]:
        """Load average, and the share stolen since the last look."""
        return os.getloadavg()[0], self._look()

    def after(self, before: tuple[float, float]) -> Conditions:
        load, steal_before = before
        return Conditions(load, steal_before, self._look())

    def _look(self) -> float:
        now = self._read()
        share = now.stolen_since(self._last)
        self._last = now
        return share

    @staticmethod
    def _read() -> Ticks:
        return parse_ticks(Path("/proc/stat").read_text().partition("\n")[0])


def raise_descriptor_limit() -> int:
    """Descriptors that this process and its children may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, from its POSIX clock (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def children_of(pid: int) -> tuple[int, ...]:
    """Return the processes that any thread of a process has started."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (thread / "children").read_text().split())
    return tuple(found)


def rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise OSError("smaps_rollup has no Rss")


def describe() -> dict[str, str]:
    """The machine and the versions, as they stand in the results."""
    cpu = memory = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            memory = f"{int(line.split()[1]) / 1048576:.0f} GiB"
    found = {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for package in ("trio-socketio", "trio", "h11", "wsproto", "msgspec"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["commit"] = _output("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    found["node"] = _output("node", "--version")
    for package in ("socket.io", "engine.io", "ws", "@socket.io/redis-adapter", "ioredis"):
        manifest = PEERS / "node_modules" / package / "package.json"
        if manifest.is_file():
            found[package] = json.loads(manifest.read_text())["version"]
    manifest = PEERS / "node_modules/@trufflesuite/uws-js-unofficial/package.json"
    if manifest.is_file():
        found["uWebSockets.js"] = json.loads(manifest.read_text())["version"]
    if PEERS_PYTHON.is_file():
        packages = ("python-socketio", "python-engineio", "uvicorn", "uvloop", "aiohttp")
        for package in packages:
            code = f"from importlib.metadata import version; print(version('{package}'))"
            found[package] = _output(str(PEERS_PYTHON), "-c", code)
    return {name: text for name, text in found.items() if text}


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
