"""What a second core is good for: two worker processes beside one, and beside two Node processes.

Nothing is pinned here: workers, Redis and the load generator share the cores, as they do on one
machine. So a machine with two cores is nearly full already beside one process, and the rate of two
workers cannot rise much. Hence CPU time is taken as well, of all processes that serve: what a
connect or a message costs says what two workers would carry if they had cores of their own.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from bench.generator import Measurement
from bench.identity import configured, tokens_of
from bench.loading import OURS, Answer, load, measure_connects, warm_up, windows
from bench.machine import Cores, children_of
from bench.nodes import SharedRedis, run_nodes
from bench.prepare import prepare
from bench.servers import Running, ServerFailedError, free_port, run_server
from bench.throughput import Pace, told_busy

COUNT: Final = 2
NODE_WARMUP_S: Final = 3.0
READY_S: Final = 20.0
_CROWD: Final = ("--connections", 1000)


@dataclass(frozen=True, slots=True)
class Load:
    """What the load generator does.

    Args:
        options: of its command line; none for connects.
        has_seats: whether clients have tokens, and seats in Redis.
    """

    workload: str
    options: tuple[str | int, ...] = ()
    has_seats: bool = False


LOADS: Final = {
    "connects": Load("connects"),
    "im": Load(
        "rooms",
        (
            *(*_CROWD, "--senders", 10, "--rooms", 20, "--room-size", 50),
            *("--own-room", "--in-flight", 4),
        ),
    ),
    "seats": Load("connects", has_seats=True),
    "echo": Load("echo", (*_CROWD, "--in-flight", 1, "--window", 256)),
    "rooms": Load(
        "rooms", (*_CROWD, "--senders", 10, "--rooms", 100, "--room-size", 10, "--in-flight", 16)
    ),
}
BESIDE_NODE: Final = ("connects", "im")


def beside_one(name: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure two workers beside a single process, both with a Redis; which first alternates."""

    def run(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
        def figure(workers: int) -> Measurement:
            with _ours(cores, workers, LOADS[name]) as server:
                return _measure(name, server, cores, pace, f"{workers} of ours")

        alone = figure(1) if number % 2 else None
        both = figure(COUNT)
        alone = alone or figure(1)
        return {
            f"workers/{name}": Answer.of(both, alone),
            f"workers/{name}/cpu": Answer(COUNT * _per_cpu_second(both), _per_cpu_second(alone)),
        }

    return run


def beside_node(name: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure two workers beside two processes of Node with @socket.io/redis-adapter.

    Both of Node's servers take part, if they are there.
    """

    def run(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
        missing = prepare(["node", "uws"]).missing
        if "node" in missing:
            raise ServerFailedError(missing["node"])
        with _ours(cores, COUNT, LOADS[name]) as server:
            ours = _measure(name, server, cores, pace, f"{COUNT} of ours")
        slow = replace(pace, server_warmup_s=max(pace.server_warmup_s, NODE_WARMUP_S))

        def figure(peer: str) -> Measurement:
            with SharedRedis(cores) as redis, run_nodes(peer, cores, redis, is_spread=True) as both:
                peers = replace(both, redis_pid=redis.start().pid)
                return _measure(name, peers, cores, slow, f"{COUNT} of Node ({peer})")

        node = figure("node")
        uws = None if "uws" in missing else figure("uws")
        return {
            f"workers-node/{name}": Answer.of(ours, node, uws),
            f"workers-node/{name}/cpu": Answer(
                COUNT * _per_cpu_second(ours),
                COUNT * _per_cpu_second(node),
                COUNT * _per_cpu_second(uws) if uws else None,
            ),
        }

    return run


def told_cores(answers: dict[str, dict[int, Answer]]) -> list[str]:
    """Say for each row how busy all cores were: a rate tells little where they had no time left."""
    return [
        f"{key}: all cores of the machine were {', '.join(shares)}"
        for key, rounds in answers.items()
        if key.startswith("workers")
        if (shares := _busy_sides(list(rounds.values())))
    ]


def _busy_sides(answers: Sequence[Answer]) -> list[str]:
    sides = dict.fromkeys(side for one in answers for side in one.loads)
    found = []
    for side in sides:
        shares = [one.loads[side].machine_busy for one in answers if side in one.loads]
        low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
        what = "with two workers" if side == OURS else "with what is beside"
        found.append(f"{low if low == high else f'{low} to {high}'} busy {what}")
    return found


def _per_cpu_second(found: Measurement) -> float:
    """Connects or messages that one core carries for all processes of a server together."""
    return 1e6 / found.server_us


@contextmanager
def _ours(cores: Cores, workers: int, asked: Load) -> Iterator[Running]:
    admin = free_port()
    options: tuple[str, ...] = ("--admin", f"127.0.0.1:{admin}")
    if workers > 1:
        options += ("--workers", str(workers))
    if asked.has_seats:
        options += configured("HS256", "newest", store="redis")
    with SharedRedis(cores) as shared:
        redis = shared.start()
        with run_server("trio", cores, options=options, redis=redis.url, is_spread=True) as server:
            _wait_ready(admin)
            children = children_of(server.pid)
            if workers > 1 and len(children) < workers:
                raise ServerFailedError(f"{len(children)} workers of {workers} have started")
            yield replace(server, children=children, redis_pid=redis.pid)


def _wait_ready(admin: int) -> None:
    """Wait until all workers serve, not only the first.

    Raises:
        ServerFailedError: they do not in time.
    """
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise ServerFailedError("trio-socketio is not ready")


def _measure(name: str, server: Running, cores: Cores, pace: Pace, title: str) -> Measurement:
    """Measure one side; tell what it cost, what the generator took, and what was left."""
    asked = LOADS[name]
    tokens = tokens_of("HS256") if asked.has_seats else ()
    warming = asked if asked.options else LOADS["im"]
    load(warming.workload, server, cores, *warming.options, *tokens, *warm_up(pace))
    if asked.options:
        (found,) = load(asked.workload, server, cores, *asked.options, *windows(pace))
    else:
        found = measure_connects(server, cores, *tokens, *windows(pace))
    costs = f"CPU of the server {found.server_us:.1f} us each, of Redis {found.redis_us:.1f}"
    share = f"the load generator took {found.generator_cpu:.0%} of a core"
    told = f"{costs}; {share}{told_busy([found.machine_busy])}"
    print(f"bench: {name}, {title}: {found.per_second:,.0f} a second; {told}", flush=True)
    return found
