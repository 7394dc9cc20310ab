"""Two workers beside one process on the same cores: python -m bench.worker_costs.

Nothing is pinned: the workers, their parent, Redis and the load generator share the cores, as they
do on one machine. So beside the rate stands the CPU time of each side per connect or message. On a
machine that does other things at the same time, rates say little, and times remain comparable.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.interop.server_process import free_port
from tests.redis_server import RedisServer, running_redis

from bench.identity import configured, tokens_of
from bench.machine import ROOT
from bench.prepare import LOADGEN

START_S = 30.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CLAIM, ROOMS = "connects with a seat", "messages to rooms of 10"
LOADS: dict[str, tuple[str, ...]] = {
    "connects": ("connects", "--connections", "256"),
    CLAIM: ("connects", "--connections", "256"),
    "echoes": ("echo", "--connections", "1000", "--in-flight", "1", "--window", "256"),
    ROOMS: (
        "rooms", "--connections", "1000", "--rooms", "100", "--room-size", "10", "--senders", "10",
        "--in-flight", "16",
    ),
}  # fmt: skip
"""What the load generator does."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one connect or message took.

    Args:
        per_second: how many there were.
        server_us: CPU of the process that serves, or of all workers and their parent.
        redis_us, generator_us: of the others.
    """

    per_second: float
    server_us: float
    redis_us: float
    generator_us: float


def cpu_s(pids: Sequence[int]) -> float:
    """The CPU time of processes so far."""
    found = 0.0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            columns = file.read().rpartition(")")[2].split()
        found += (int(columns[11]) + int(columns[12])) * TICK_S
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):  # any of them may have started a process
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return found


@contextmanager
def served(
    workers: int, redis: RedisServer, options: Sequence[str]
) -> Iterator[tuple[int, list[int]]]:
    """Serve the bench app; give the port, and all processes."""
    port = free_port()
    command = [sys.executable, "-m", "trio_socketio", "serve", "--log-level", "warning"]
    command += ["--app", "tests/apps/bench_app.py", "--port", str(port), "--redis", redis.tcp_url]
    command += [
        "--workers",
        str(workers),
        "--admin",
        f"127.0.0.1:{(admin := free_port())}",
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(admin):
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.1)
        time.sleep(0.5)
        yield port, [process.pid, *children_of(process.pid)]
    finally:
        process.terminate()
        process.wait(START_S)


def _is_ready(admin: int) -> bool:
    asked = ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{admin}/readyz"]
    return subprocess.run(asked, check=False).returncode == 0


def measure(name: str, workers: int, seconds: float, redis: RedisServer) -> Cost:
    """Put one load on a server with this many workers."""
    tokens: Sequence[str] = tokens_of("HS256") if name == CLAIM else ()
    options = configured("HS256", "newest", store="redis") if name == CLAIM else ()
    with served(workers, redis, options) as (port, pids):
        asked = [str(LOADGEN), *LOADS[name], *tokens, "--port", str(port), "--limit", "100"]
        asked += ["--seconds", str(seconds), "--warmup", "1"]
        before = cpu_s(pids), cpu_s([redis.pid]), os.times()
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        after = cpu_s(pids), cpu_s([redis.pid]), os.times()
    line = json.loads(done.stdout.splitlines()[0])
    assert not line["errors"], done.stderr
    # The warm-up takes CPU, too.
    scale = 1e6 * seconds / (seconds + 1) / line["messages"]
    generator_s = sum(after[2][2:4]) - sum(before[2][2:4])
    return Cost(
        line["per_second"],
        (after[0] - before[0]) * scale,
        (after[1] - before[1]) * scale,
        generator_s * scale,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.worker_costs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the best of each is shown")
    parser.add_argument("--loads", nargs="*", choices=sorted(LOADS), default=list(LOADS))
    asked = parser.parse_args()
    print(
        "| load | workers | per second | CPU us: server | Redis | generator | ratio "
        "| by CPU, two cores for the workers | with Redis and the load on them |"
    )
    print(f"|{'---|' * 9}")
    with running_redis() as redis:
        for name in asked.loads:
            best: dict[int, Cost] = {}
            for _ in range(asked.rounds):
                for workers in (1, 2):
                    found = measure(name, workers, asked.seconds, redis)
                    if workers not in best or found.per_second > best[workers].per_second:
                        best[workers] = found
            one, two = best[1], best[2]
            # One process has one core at most, and the load has the other one. Two workers have
            # both cores for themselves, or share them with Redis and the load.
            alone, shared = two.server_us, two.server_us + two.redis_us + two.generator_us
            ratios = [2 * one.server_us / each for each in (alone, shared)]
            told = f"{two.per_second / one.per_second:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f}"
            for workers, cost in best.items():
                print(
                    f"| {name} | {workers} | {cost.per_second:,.0f} | {cost.server_us:.0f} "
                    f"| {cost.redis_us:.0f} | {cost.generator_us:.0f} "
                    f"| {told if workers == 2 else '| |'} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
