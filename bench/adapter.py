"""What it costs a server to have other nodes: traffic of its own, and messages of no concern."""

from collections.abc import Callable, Sequence

from bench.generator import Measurement
from bench.loading import Answer, load, side_by_side, warm_up, windows
from bench.machine import Cores, cpu_seconds
from bench.nodes import SharedRedis, run_nodes
from bench.rows import CLIENTS, SMALL
from bench.servers import Running, run_server
from bench.throughput import Pace

MEMBERS = 10  # of a room
ROOMS = ("--connections", 1000, "--senders", 10, "--room-size", MEMBERS, "--in-flight", 4)
LOCAL: dict[str, tuple[str | int, ...]] = {
    "echo": ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16),
    "broadcast": ("--connections", 1000, "--in-flight", 4),
    "rooms": ROOMS,
}


def local(workload: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure a node that has a Redis, and no other node, beside one without a Redis."""

    def run(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
        def messages(options: Sequence[str]) -> Measurement:
            with run_server("trio", cores, options=options) as server:
                load(workload, server, cores, *LOCAL[workload], *warm_up(pace))
                return load(workload, server, cores, *LOCAL[workload], *windows(pace))[0]

        with SharedRedis(cores) as redis:
            options = ("--redis", redis.start().url)
            return {f"adapter-local/{workload}": side_by_side(messages, options, number)}

    return run


def messages_of_no_concern(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    """Measure CPU for each message to rooms of the other node, beside that of the sender's node."""
    with SharedRedis(cores) as redis, run_nodes("trio", cores, redis) as node:
        other = node.second
        assert other is not None
        alone = Running(node.name, node.pid, node.port)  # all clients are on one of them
        load("rooms", alone, cores, *ROOMS, *warm_up(pace))
        spent_s, published = -cpu_seconds(other.pid), -_published(redis)
        found = load("rooms", alone, cores, *ROOMS, *windows(pace))[0]
        spent_s += cpu_seconds(other.pid)
        published += _published(redis)
    return {"unconcerned": Answer(spent_s * 1e6 / published, found.server_us * MEMBERS)}


def _published(redis: SharedRedis) -> int:
    calls: int = redis.command("INFO", "commandstats")["cmdstat_publish"]["calls"]
    return calls
