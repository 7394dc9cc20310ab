"""What one of each costs, for ``trio-socketio size --costs FILE``: python -m bench.unit_costs.

It prints TOML with a line for each cost. CPU times are those of the processes, so they can be taken
on a machine that does other things at the same time, but they come out up to twice as large there.
It takes about five minutes, needs two cores and a Redis, and measures up to 10,000 connections.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Final

from bench.adapter import ROOMS
from bench.forwarded import memory, pipes, polling
from bench.generator import hold
from bench.identity import USERS, configured, tokens_of
from bench.loading import load, measure_connects, warm_up, windows
from bench.machine import (
    Cores,
    cpu_seconds,
    describe,
    find_cores,
    other_work,
    raise_descriptor_limit,
    rss_bytes,
)
from bench.nodes import SharedRedis, run_nodes
from bench.prepare import prepare
from bench.resting import IDLE_CONNECTIONS, SETTLE_S, measure_weight
from bench.rows import CLIENTS, SMALL
from bench.servers import Running, run_server
from bench.throughput import Pace
from redis import Redis

CONNECTIONS: Final = 10_000
MEMBERS: Final = 10  # of a room
SUBSCRIBERS: Final = (1, 21)
PUBLISHED: Final = 6400
TOGETHER: Final = 16  # as many wait when Redis and the nodes have much to do
PAYLOAD: Final = b"x" * 400
HEARTBEAT_S: Final = 5.0
ECHO: Final[tuple[str | int, ...]] = ("--bytes", SMALL, "--connections")
TRIO: Final = "trio"

Costs = dict[str, float]


def logins(cores: Cores, pace: Pace) -> Costs:
    """Connects, with a JWT, and with a seat in Redis; what the latter cost Redis."""
    found = []
    for policy in ("", "none", "newest"):
        options = configured("HS256", policy, store="redis") if policy else ()
        tokens = tokens_of("HS256") if policy else ()
        with SharedRedis(cores) as shared:
            redis = shared.start()
            with run_server(TRIO, cores, options=options, redis=redis.url) as server:
                before = cpu_seconds(redis.pid), _commands(shared)
                connects = measure_connects(server, cores, *tokens, *windows(pace))
                spent_s = cpu_seconds(redis.pid) - before[0]
                scripts = _commands(shared) - before[1]
        found.append(connects.server_us)
    # Each connect claims a seat and releases it: two scripts.
    return {
        "connect_us": found[0],
        "token_us": found[1] - found[0],
        "seat_us": found[2] - found[1],
        "redis_seat_us": spent_s * 1e6 / scripts * 2,
    }


def _commands(redis: SharedRedis) -> int:
    stats = redis.command("INFO", "commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("evalsha",))


def messages(cores: Cores, pace: Pace) -> Costs:
    """Events with plain and async handlers, and deliveries, joined and alone."""

    def echo(handlers: str) -> float:
        with run_server(TRIO, cores, handlers=handlers) as server:
            asked = (*ECHO, CONNECTIONS, "--in-flight", 1, "--window", 100)
            load("echo", server, cores, *asked, *warm_up(pace))
            return load("echo", server, cores, *asked, *windows(pace))[0].server_us

    with run_server(TRIO, cores) as server:
        asked = ("--connections", 1000, "--in-flight", "1,8")
        load("broadcast", server, cores, *asked, *warm_up(pace))
        alone, joined = load("broadcast", server, cores, *asked, *windows(pace))
    return {
        "event_us": echo("suspends") - alone.server_us,
        "delivery_us": alone.server_us,
        "joined_delivery_us": joined.server_us,
    }


def requests(cores: Cores, pace: Pace) -> Costs:
    """Requests of long-polling."""
    with run_server(TRIO, cores) as server:
        load("polling", server, cores, *ECHO, CLIENTS, *warm_up(pace))
        trips = load("polling", server, cores, *ECHO, CLIENTS, *windows(pace))[0]
    return {"request_us": trips.server_us / 2}


def at_rest(cores: Cores, pace: Pace) -> Costs:
    """Heartbeats and memory."""
    with run_server(TRIO, cores) as server:
        time.sleep(0.5)
        kernel = _kernel_bytes()
        weight, _ = measure_weight(server, cores, (CONNECTIONS,), SETTLE_S)
    with run_server(TRIO, cores) as server, _held(server, cores, CONNECTIONS):
        held = _kernel_bytes() - kernel
    often = ("--ping-interval", str(HEARTBEAT_S))
    with (
        run_server(TRIO, cores, options=often) as server,
        _held(server, cores, IDLE_CONNECTIONS),
    ):
        before = cpu_seconds(server.pid)
        time.sleep(2 * HEARTBEAT_S)
        spent_s = cpu_seconds(server.pid) - before
    with SharedRedis(cores) as shared:
        options = configured("HS256", "newest", store="redis")
        with run_server(TRIO, cores, options=options, redis=shared.start().url) as server:
            time.sleep(0.5)
            process = rss_bytes(server.pid)
            with _held(server, cores, USERS, *tokens_of("HS256")):
                seat = (rss_bytes(server.pid) - process) / USERS
    return {
        "heartbeat_us": spent_s * 1e6 / (2 * IDLE_CONNECTIONS),
        "process_bytes": process,
        "connection_bytes": weight[CONNECTIONS],
        "kernel_connection_bytes": held / CONNECTIONS / 2,  # both ends are here
        "seat_bytes": seat - weight[CONNECTIONS],
    }


@contextmanager
def _held(server: Running, cores: Cores, count: int, *options: str) -> Iterator[None]:
    with hold(server, cores, count, count, *options) as held:
        time.sleep(2 * SETTLE_S)
        yield
        held.finish()


def _kernel_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (slab,) = (line.split()[1] for line in lines if line.startswith("Slab:"))
    return int(slab) * 1024


def forwarding(cores: Cores, pace: Pace) -> Costs:
    """What the node that passes on pays."""
    return {
        "forwarded_request_us": polling(cores, pace, 0)["forward-poll/cpu"].figure,
        "forwarded_message_us": pipes(cores, pace, 0)["forward-pipe/cpu"].figure,
        "forwarded_bytes": memory(cores, pace, 0)["forward-memory"].figure * 1024,
    }


def bus(cores: Cores, pace: Pace) -> Costs:
    """What a message costs that other nodes get: the node that sends it, and one that delivers it.

    Both nodes share a core, so that turns are shorter than those of nodes with a core each.
    """

    def rooms(server: Running) -> float:
        load("rooms", server, cores, *ROOMS, *warm_up(pace))
        return load("rooms", server, cores, *ROOMS, *windows(pace))[0].server_us * MEMBERS

    with run_server(TRIO, cores) as server:
        alone = rooms(server)
    with SharedRedis(cores) as shared:
        with run_server(TRIO, cores, redis=shared.start().url) as server:
            published = rooms(server)
        with run_nodes(TRIO, cores, shared) as both:
            delivered_by_two = rooms(both)
    return {"publish_us": published - alone, "read_us": delivered_by_two - published}


def dropped(cores: Cores, pace: Pace) -> Costs:
    """What a message costs a node that has no client for it, if several come together."""
    with SharedRedis(cores) as shared, ExitStack() as closing:
        redis = shared.start()
        with run_server(TRIO, cores, redis=redis.url) as node:
            time.sleep(1)
            before = cpu_seconds(node.pid)
            _publish(closing.enter_context(Redis(unix_socket_path=str(redis.path))), pause_s=0.002)
            time.sleep(0.2)
            return {"skip_us": (cpu_seconds(node.pid) - before) * 1e6 / PUBLISHED}


def copies(cores: Cores, pace: Pace) -> Costs:
    """What a message costs Redis, and each node that it is sent to, if several come together."""
    spent = []
    for count in SUBSCRIBERS:
        with SharedRedis(cores) as shared, ExitStack() as closing:
            server = shared.start()
            for _ in range(count):
                client = closing.enter_context(Redis(unix_socket_path=str(server.path)))
                listener = closing.enter_context(client.pubsub())
                listener.psubscribe("socket.io#*")
                threading.Thread(target=_read, args=(listener,), daemon=True).start()
            publisher = closing.enter_context(Redis(unix_socket_path=str(server.path)))
            time.sleep(0.5)
            before = cpu_seconds(server.pid)
            _publish(publisher)
            spent.append((cpu_seconds(server.pid) - before) * 1e6 / PUBLISHED)
    each = (spent[1] - spent[0]) / (SUBSCRIBERS[1] - SUBSCRIBERS[0])
    return {"redis_publish_us": spent[0] - each, "redis_copy_us": each}


def _publish(publisher: Redis, pause_s: float = 0.0) -> None:
    for _ in range(PUBLISHED // TOGETHER):
        pipe = publisher.pipeline(transaction=False)
        for _ in range(TOGETHER):
            pipe.publish("socket.io#/#room#", PAYLOAD)
        pipe.execute()
        time.sleep(pause_s)


def _read(listener: object) -> None:
    try:
        for _ in listener.listen():  # type: ignore[attr-defined] # redis-py types it as untyped
            pass
    except Exception:  # the server has ended, and so does the measurement
        return


MEASUREMENTS: Final[Sequence[Callable[[Cores, Pace], Costs]]] = (
    logins, messages, requests, at_rest, forwarding, bus, dropped, copies,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.unit_costs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each window")
    parser.add_argument("--rounds", type=int, default=3, help="the median of each is shown")
    names = [one.__name__ for one in MEASUREMENTS]
    parser.add_argument("--parts", nargs="*", choices=names, default=names, help="default: all")
    asked = parser.parse_args()
    cores, pace = find_cores(), Pace(1, asked.seconds, 0.5, 1.0)
    raise_descriptor_limit()
    machine = describe()
    print(f"# {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['commit']}")
    if noise := other_work():
        print(f"# {noise}")
    with redirect_stdout(sys.stderr):  # the costs alone are TOML
        prepare(())
    for measurement in MEASUREMENTS:
        if measurement.__name__ in asked.parts:
            with redirect_stdout(sys.stderr):
                rounds = [measurement(cores, pace) for _ in range(asked.rounds)]
            for line in lines(rounds):
                print(line, flush=True)
    return 0


def lines(rounds: Sequence[Costs]) -> Iterator[str]:
    """Write the medians of rounds as TOML, and the figures of all rounds behind them.

    What is a difference of two figures may be below zero where the machine does much else.
    """
    for name in rounds[0]:
        figures = [one[name] for one in rounds]
        told = ", ".join(f"{figure:.1f}" for figure in figures)
        yield f"{name} = {max(0.0, statistics.median(figures)):.1f}  # {told}"


if __name__ == "__main__":
    sys.exit(main())
