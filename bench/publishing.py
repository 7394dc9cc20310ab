"""How fast 64 tasks publish to Redis: our connection, beside other clients of the same server."""

import json
import os
import subprocess
import sys

from tests.redis_server import RedisFailed, RedisServer, running_redis

from bench.generator import LoadFailedError
from bench.loading import Answer
from bench.machine import PEERS_PYTHON, ROOT, Cores
from bench.prepare import NotPreparedError, install_python_peers
from bench.servers import pinned
from bench.throughput import Pace

CLIENTS = ("ours", "awaited", "threads", "coredis")
START_S = 20.0


def publish(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure each client on the same server; which comes first changes from round to round."""
    first = number % len(CLIENTS)
    try:
        install_python_peers()
        with running_redis() as server:
            os.sched_setaffinity(server.pid, {cores.server})
            rates = {
                client: _rate(client, server, cores, pace)
                for client in (*CLIENTS[first:], *CLIENTS[:first])
            }
    except (NotPreparedError, RedisFailed) as error:
        raise LoadFailedError(f"publish-redis: {error}") from None
    return {
        f"publish-redis/{client}": Answer(rates["ours"], rates[client]) for client in CLIENTS[1:]
    }


def _rate(client: str, server: RedisServer, cores: Cores, pace: Pace) -> float:
    """Return how many messages a client has published in a second."""
    python = sys.executable if client in ("ours", "awaited") else str(PEERS_PYTHON)
    timing = (str(pace.seconds), str(pace.warmup_s))
    done = subprocess.run(
        [python, "-m", "bench.publishers", client, str(server.path), *timing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=pace.seconds + pace.warmup_s + START_S,
        preexec_fn=pinned(cores.generator),
        check=False,
    )
    if done.returncode:
        raise LoadFailedError(f"publish-redis: {client} has failed: {done.stderr[-200:]}")
    return float(json.loads(done.stdout))
