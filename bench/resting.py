"""Idle connections: what they weigh, and what they cost while nothing happens."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.generator import LoadFailedError, hold
from bench.machine import Cores, cpu_seconds, rss_bytes
from bench.servers import TITLES, Running, ServerFailedError, run_server

SETTLE_S = 2.0
IDLE_CONNECTIONS = 5000
HEARTBEAT_S = 25.0  # the default of every server here


@dataclass(slots=True)
class Resting:
    """Memory in bytes per connection by server and count; idle CPU as a share of one core."""

    memory: dict[str, dict[int, float]] = field(default_factory=dict)
    idle_cpu: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def miss(self, what: str, server: str, reason: str) -> None:
        self.missing[f"{what}/{server}"] = reason
        print(f"bench: not measured: {what}: {TITLES[server]}: {reason}", flush=True)


def measure_memory(
    servers: Sequence[str], counts: Sequence[int], cores: Cores, resting: Resting
) -> None:
    """Resident memory per connection, over what the server took before the first one."""
    for name in servers:
        try:
            with run_server(name, cores) as server:
                found, lost = measure_weight(server, cores, counts, SETTLE_S)
                _check(lost, "memory", name, resting)
                resting.memory[name] = found
        except (ServerFailedError, LoadFailedError, OSError) as error:
            resting.miss("memory", name, str(error))
            continue
        told = ", ".join(f"{size / 1024:.2f} KiB at {count}" for count, size in found.items())
        print(f"bench: memory per connection: {TITLES[name]}: {told}", flush=True)


def measure_weight(
    server: Running, cores: Cores, counts: Sequence[int], settle_s: float
) -> tuple[dict[int, float], int]:
    """Hold more and more idle connections.

    Returns:
        Bytes per connection by their number, and how many were lost or misused on the way.
    """
    time.sleep(0.5)
    before = rss_bytes(server.pid)
    found: dict[int, float] = {}
    with hold(server, cores, counts[0], counts[-1]) as held:
        for count in counts:
            if count != counts[0]:
                held.grow(count)
            time.sleep(settle_s)
            found[count] = (rss_bytes(server.pid) - before) / count
        return found, held.finish()


def measure_rest(
    server: Running, cores: Cores, settle_s: float, window_s: float
) -> tuple[float, int]:
    """Hold 5,000 connections that only answer pings.

    Clients that came together are pinged together, so the window has to be a whole number of
    heartbeats and to begin between two of them.

    Returns:
        The share of a core that the server took, and how many connections were lost or misused.
    """
    with hold(server, cores, IDLE_CONNECTIONS, IDLE_CONNECTIONS) as held:
        time.sleep(settle_s)
        before, started = cpu_seconds(server.pid), time.monotonic()
        time.sleep(window_s)
        took = time.monotonic() - started
        return (cpu_seconds(server.pid) - before) / took, held.finish()


def measure_idle_cpu(
    servers: Sequence[str], cores: Cores, resting: Resting, heartbeats: int
) -> None:
    """CPU while 5,000 connections do nothing but answer pings, over whole heartbeats."""
    for name in servers:
        try:
            with run_server(name, cores) as server:
                window = heartbeats * HEARTBEAT_S
                share, lost = measure_rest(server, cores, 2 * SETTLE_S, window)
                resting.idle_cpu[name] = share
                _check(lost, "idle CPU", name, resting)
        except (ServerFailedError, LoadFailedError, OSError) as error:
            resting.miss("idle CPU", name, str(error))
            continue
        print(f"bench: idle CPU: {TITLES[name]}: {share:.2%} of a core", flush=True)


def _check(lost: int, what: str, server: str, resting: Resting) -> None:
    if lost:
        note = f"{what}: {TITLES[server]}: {lost} connections were lost or misused"
        resting.notes.append(note)
        print(f"bench: {note}", flush=True)
