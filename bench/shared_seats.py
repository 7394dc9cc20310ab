"""What presence costs that several nodes share: seats in Redis, messages of users who have them.

And how long the users of a node that is killed stay online.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Final

import trio

from bench.generator import LoadFailedError, Measurement, hold
from bench.identity import USERS, configured, tokens_of
from bench.loading import Answer, load, measure_connects, warm_up, windows
from bench.machine import BUILD, Cores
from bench.nodes import SharedRedis, run_nodes
from bench.rows import CLIENTS, SMALL
from bench.servers import Running, run_server
from bench.throughput import Pace
from trio_socketio.control import follow_presence

LEASE_S: Final = 5.0
LOST_S: Final = 30.0  # until all users of a lost node are offline
_CONTROL: Final = BUILD / "run" / "survivor.sock"


def claims(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure connects that claim a seat in Redis, beside those that claim one in memory."""

    def connects(server: Running) -> Measurement:
        return _connects(server, cores, pace)

    return {"shared-seats/claims": _beside_memory(connects, cores, number)}


def takeovers(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    """Measure connects that take a seat over from the other one of two nodes, beside claims."""
    options = configured("HS256", "newest", store="redis")
    with SharedRedis(cores) as redis, run_nodes("trio", cores, redis, options) as both:
        first = Running(both.name, both.pid, both.port)
        beside = _connects(first, cores, pace)
        figure = _connects(both, cores, pace, "takeovers")
    return {"shared-seats/takeovers": Answer.of(figure, beside)}


def messages_of_users(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure an echo of clients that have seats in Redis, beside one of seats in memory."""
    echo: tuple[str | int, ...] = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)
    tokens = tokens_of("HS256")

    def messages(server: Running) -> Measurement:
        load("echo", server, cores, *echo, *tokens, *warm_up(pace))
        return load("echo", server, cores, *echo, *tokens, *windows(pace))[0]

    return {"shared-seated": _beside_memory(messages, cores, number)}


def _connects(server: Running, cores: Cores, pace: Pace, workload: str = "connects") -> Measurement:
    asked = (*tokens_of("HS256"), *windows(pace))
    return measure_connects(server, cores, *asked, workload=workload)


def _beside_memory(figure: Callable[[Running], Measurement], cores: Cores, number: int) -> Answer:
    """Measure a node with seats in Redis and one with seats in memory; which first alternates."""

    def measure(store: str) -> Measurement:
        options = configured("HS256", "newest", store=store)
        with (
            SharedRedis(cores) as redis,
            run_server("trio", cores, options=options, redis=redis.start().url) as server,
        ):
            return figure(server)

    in_memory = measure("memory") if number % 2 else None
    in_redis = measure("redis")
    return Answer.of(in_redis, in_memory or measure("memory"))


def time_until_offline(cores: Cores, _: Pace, __: int) -> dict[str, Answer]:
    """Kill a node, and measure the time until the log says of all its users that they are offline.

    Both figures are in milliseconds; what it is held against is the lease.
    """
    options = configured("HS256", "newest", store="redis", lease_s=LEASE_S)
    control = ("--control", f"unix:{_CONTROL}")
    with SharedRedis(cores) as redis:
        url = redis.start().url
        with (
            run_server("trio", cores, options=(*options, *control), redis=url),
            run_server("trio", cores, options=options, redis=url, log_name="trio-2") as lost,
            hold(lost, cores, USERS, USERS, *tokens_of("HS256"), loses=True),
        ):
            took_s = trio.run(_kill, lost.pid)
    return {"node-lost": Answer(took_s * 1000, LEASE_S * 1000)}


async def _kill(pid: int) -> float:
    """Kill a node without a goodbye; return the time until all its users are offline.

    Raises:
        LoadFailedError: they are not, or one of them was more than once.
    """
    lost: list[str] = []
    with trio.move_on_after(LOST_S):
        async with follow_presence("/", f"unix:{_CONTROL}") as batches:
            async for batch in batches:
                if batch.online is not None:
                    if batch.online != USERS:
                        raise LoadFailedError(f"{batch.online} users are online, not {USERS}")
                    os.kill(pid, signal.SIGKILL)
                    killed_at = time.monotonic()
                lost += [one["user"] for one in batch.entries if one["type"] == "offline"]
                if len(lost) >= USERS:
                    break
            took_s = time.monotonic() - killed_at
    if len(lost) != USERS or len(set(lost)) != USERS:
        raise LoadFailedError(f"{len(lost)} users of {USERS} were offline within {LOST_S:g} s")
    return took_s
