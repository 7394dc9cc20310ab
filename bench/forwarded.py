"""What it costs a node to pass on what belongs to another: requests, messages, memory.

The sessions are opened by long-polling on the node that owns them; then the load generator takes
them over, and sends all that is theirs to the other node.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.generator import LoadFailedError, Measurement, hold
from bench.loading import Answer, load, warm_up, windows
from bench.machine import BUILD, Cores, rss_bytes
from bench.nodes import SharedRedis, run_nodes
from bench.rows import CLIENTS, SMALL
from bench.servers import Running, ServerFailedError
from bench.throughput import Pace

PIPES: Final = 2000
MOST_REQUEST_US, MOST_MESSAGE_US, MOST_PIPE_KIB = 25, 10, 3
KNOWN_S: Final = 10.0  # until the nodes know each other
SETTLE_S: Final = 2.0
_SOURCES: Final = 100  # addresses from which sessions are opened
_SECRET: Final = BUILD / "run" / "nodes.secret"
_SIDS: Final = BUILD / "run" / "sids"
_POLLING: Final = "/socket.io/?EIO=4&transport=polling"


@contextmanager
def _two_nodes(cores: Cores) -> Iterator[tuple[Running, Running]]:
    """Run the node that sessions are opened on, and the one that passes on what is theirs.

    Raises:
        ServerFailedError: they do not start, or do not know each other in time.
    """
    _SECRET.parent.mkdir(parents=True, exist_ok=True)
    _SECRET.write_text("a secret of the nodes of the bench alone")
    _SECRET.chmod(0o600)
    options = ("--internal", "127.0.0.1:0", "--cluster-secret-file", str(_SECRET))
    with SharedRedis(cores) as redis, run_nodes("trio", cores, redis, options) as both:
        passing = both.second
        assert passing is not None
        owner = Running(both.name, both.pid, both.port)
        _wait_known(owner, passing)
        yield owner, passing


def _wait_known(owner: Running, passing: Running) -> None:
    give_up = time.monotonic() + KNOWN_S
    while time.monotonic() < give_up:
        (sid,) = _open_sessions(owner, 1)
        connection = http.client.HTTPConnection("127.0.0.1", passing.port, timeout=KNOWN_S)
        connection.request("POST", f"{_POLLING}&sid={sid}", "40")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(0.1)
    raise ServerFailedError("the second node does not pass on requests of the first")


def _open_sessions(owner: Running, count: int) -> list[str]:
    """Open sessions by long-polling; return their ids."""
    found: list[str] = []
    for number in range(min(count, _SOURCES)):
        source = (f"127.0.1.{number + 1}", 0)
        connection = http.client.HTTPConnection(
            "127.0.0.1", owner.port, timeout=KNOWN_S, source_address=source
        )
        for _ in range(number, count, _SOURCES):
            connection.request("GET", _POLLING)
            found.append(json.loads(connection.getresponse().read()[1:])["sid"])
        connection.close()
    return found


def _taken_over(owner: Running, count: int) -> tuple[str, str]:
    """Open sessions; return the option of the load generator that has it take them over."""
    _SIDS.parent.mkdir(parents=True, exist_ok=True)
    _SIDS.write_text("\n".join(_open_sessions(owner, count)))
    return "--sids", str(_SIDS)


def _measure(
    workload: str, server: Running, owner: Running, cores: Cores, pace: Pace
) -> Measurement:
    """Warm a node up, and measure it; the sessions are the owner's."""
    fixed = ("--connections", CLIENTS, "--bytes", SMALL)
    load(workload, server, cores, *fixed, *_taken_over(owner, CLIENTS), *warm_up(pace))
    sids = _taken_over(owner, CLIENTS)
    return load(workload, server, cores, *fixed, *sids, *windows(pace))[0]


def polling(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    """Measure round trips on long-polling that a node passes on, beside direct ones.

    Each of them is two requests: a POST and a GET.
    """
    with _two_nodes(cores) as (owner, passing):
        direct = _measure("polling", owner, owner, cores, pace)
        passed = _measure("polling", passing, owner, cores, pace)
    return {
        "forward-poll/trips": Answer.of(passed, direct),
        "forward-poll/cpu": Answer(passed.server_us / 2, MOST_REQUEST_US),
        "forward-poll/share": Answer(passed.server_us / 2, direct.server_us / 2),
    }


def pipes(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    """Measure an echo over WebSockets that a node passes on, beside direct ones.

    Each of them is two messages: one each way.
    """
    with _two_nodes(cores) as (owner, passing):
        direct = _measure("echo", owner, owner, cores, pace)
        passed = _measure("echo", passing, owner, cores, pace)
    return {
        "forward-pipe/echo": Answer.of(passed, direct),
        "forward-pipe/cpu": Answer(passed.server_us / 2, MOST_MESSAGE_US),
        "forward-pipe/share": Answer(passed.server_us / 2, direct.server_us / 2),
    }


def memory(cores: Cores, _: Pace, __: int) -> dict[str, Answer]:
    """Measure the resident memory of the passing node for each WebSocket that it passes on."""
    with _two_nodes(cores) as (owner, passing):
        sids = _taken_over(owner, PIPES)
        time.sleep(SETTLE_S / 4)
        before = rss_bytes(passing.pid)
        with hold(passing, cores, PIPES, PIPES, *sids) as held:
            time.sleep(SETTLE_S)
            grown = rss_bytes(passing.pid) - before
            if lost := held.finish():
                raise LoadFailedError(f"{lost} WebSockets were lost")
    return {"forward-memory": Answer(grown / 1024 / PIPES, MOST_PIPE_KIB)}
