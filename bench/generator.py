"""Runs the load generator and reads its lines."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench.machine import Cores
from bench.prepare import LOADGEN
from bench.servers import Running, end, pinned

LIMIT_S = 100


class LoadFailedError(Exception):
    """The load generator ended without figures."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the load generator.

    Args:
        server_us: CPU for each message, of all processes that serve.
    """

    workload: str
    connections: int
    in_flight: int
    bytes: int
    seconds: float
    messages: int
    per_second: float
    p50_us: float
    p99_us: float
    max_us: float
    errors: int
    generator_cpu: float
    server_us: float
    redis_us: float = 0  # CPU of the Redis that was named
    machine_busy: float = 0  # share of all cores of the machine, whoever took it
    across_p50_us: float = 0  # of what came from the other node than the sender's
    across_p99_us: float = 0

    @property
    def generator_us(self) -> float:
        """Return the CPU time that the load generator took for each message."""
        return self.generator_cpu * 1e6 / self.per_second if self.per_second else 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def command(workload: str, server: Running, *options: str | float) -> list[str]:
    pids = ",".join(map(str, server.pids))
    fixed = ["--port", server.port, "--server-pids", pids, "--limit", LIMIT_S]
    if server.second is not None:
        fixed += ["--second-port", server.second.port]
    if server.redis_pid:
        fixed += ["--redis-pid", server.redis_pid]
    return [str(LOADGEN), workload, *map(str, fixed), *map(str, options)]


def measure(
    workload: str, server: Running, cores: Cores, *options: str | float
) -> tuple[list[Measurement], str]:
    """Put load on a server.

    Returns:
        A measurement for each value of --in-flight that was reached, and what went wrong.
    """
    try:
        done = subprocess.run(
            command(workload, server, *options),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S + 10,
            check=False,
            preexec_fn=pinned(cores.generator),
        )
    except subprocess.TimeoutExpired:
        return [], "the load generator hung"
    found = [Measurement(**json.loads(line)) for line in done.stdout.splitlines()]
    said = done.stderr.strip().splitlines()
    return found, said[0] if said else ""


class Held:
    """Idle connections that the load generator keeps open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait_held(self) -> None:
        """Until all connections asked for are open; the generator's own limit bounds it."""
        assert self._process.stdout is not None
        if b'"held"' not in self._process.stdout.readline():
            raise LoadFailedError("the connections could not be opened")

    def grow(self, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n".encode())
        self._process.stdin.flush()
        self.wait_held()

    def finish(self) -> int:
        """Close them all.

        Returns:
            How many were lost, or misused by the server, on the way.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        line = self._process.stdout.readline()
        if not line:
            raise LoadFailedError("the load generator ended early")
        last = json.loads(line)
        return int(last["errors"]) + int(last["connections"]) - int(last["held"])


@contextmanager
def hold(
    server: Running, cores: Cores, count: int, most: int, *options: str | float, loses: bool = False
) -> Iterator[Held]:
    """Keep idle connections open for a block.

    Args:
        server: to which they are.
        cores: that are free.
        count: how many there are at first.
        most: how many there may be.
        options: further ones of the load generator.
        loses: whether they are to be lost, so that nothing has to be told about it.
    """
    fixed = ("--connections", most, "--target", count, "--limit", 300)
    process = subprocess.Popen(
        command("idle", server, *fixed, *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if loses else None,
        preexec_fn=pinned(cores.generator),
    )
    try:
        held = Held(process)
        held.wait_held()
        yield held
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
