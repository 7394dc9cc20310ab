"""What a second core is good for: two worker processes beside one, and beside two Node processes.

Servers may use both cores here, and the load generator and Redis take their part of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from bench.loading import Answer, load, measure_connects, warm_up, windows
from bench.machine import Cores
from bench.nodes import SharedRedis, run_nodes
from bench.prepare import prepare
from bench.servers import Running, ServerFailedError, run_server
from bench.throughput import Pace

COUNT: Final = 2
NODE_WARMUP_S: Final = 3.0
_MIXED: Final[tuple[str | int, ...]] = (
    *("--connections", 1000, "--senders", 10, "--rooms", 20, "--room-size", 50),
    *("--own-room", "--in-flight", 4),
)


_CONNECTS, _IM = "connects", "im"
LOADS: Final = (_CONNECTS, _IM)


def beside_one(name: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure two workers beside a single process, both with a Redis; which first alternates."""

    def run(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
        def figure(workers: int) -> float:
            with _ours(cores, workers) as server:
                return _measure(name, server, cores, pace, f"{workers} of ours")

        alone = figure(1) if number % 2 else 0.0
        both = figure(COUNT)
        return {f"workers/{name}": Answer(both, alone or figure(1))}

    return run


def beside_node(name: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure two workers beside two processes of Node with @socket.io/redis-adapter."""

    def run(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
        if reason := prepare(["node"]).missing.get("node"):
            raise ServerFailedError(reason)
        with _ours(cores, COUNT) as server:
            ours = _measure(name, server, cores, pace, f"{COUNT} of ours")
        slow = replace(pace, server_warmup_s=max(pace.server_warmup_s, NODE_WARMUP_S))
        with SharedRedis(cores) as redis, run_nodes("node", cores, redis, is_spread=True) as peers:
            node = _measure(name, peers, cores, slow, f"{COUNT} of Node")
        return {f"workers-node/{name}": Answer(ours, node)}

    return run


@contextmanager
def _ours(cores: Cores, workers: int) -> Iterator[Running]:
    options = ("--workers", str(workers)) if workers > 1 else ()
    with (
        SharedRedis(cores) as redis,
        run_server(
            "trio", cores, options=options, redis=redis.start().url, is_spread=True
        ) as server,
    ):
        yield server


def _measure(name: str, server: Running, cores: Cores, pace: Pace, title: str) -> float:
    """Return connects or deliveries a second; tell what the load generator took for them."""
    load("rooms", server, cores, *_MIXED, *warm_up(pace))
    if name == _CONNECTS:
        found = measure_connects(server, cores, *windows(pace))
    else:
        (found,) = load("rooms", server, cores, *_MIXED, *windows(pace))
    share = f"the load generator took {found.generator_cpu:.0%} of a core"
    print(f"bench: {name}, {title}: {found.per_second:,.0f} a second; {share}", flush=True)
    return found.per_second
