"""What it costs to operate a server: calls of a backend, lines of the log, identity, peers that
misbehave.

Every figure is held against another one of ours, of the same round: there is nothing of the kind in
the peers.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from bench import adapter, forwarded, identity, publishing, ruled, shared_seats, workers
from bench.crowds import crowd
from bench.generator import LoadFailedError, Measurement
from bench.loading import BUSY, Answer, load, measure_connects, side_by_side, warm_up, windows
from bench.machine import BENCH, BUILD, ROOT, Cores
from bench.rows import CLIENTS, SMALL
from bench.servers import FORWARDING, PRESENCE, Running, ServerFailedError, pinned, run_server
from bench.throughput import Pace

CONTROL_SOCKET = BUILD / "run" / "control.sock"
CONTROL = ("--control", f"unix:{CONTROL_SOCKET}")
SESSION_LINES = ("--log-level", "info")
FORWARDED = ("--config", str(BENCH / "apps" / "forwarding.toml"), *CONTROL)
WATCHED = (*SESSION_LINES, *CONTROL, "--admin", "127.0.0.1:0")
BACKENDS, BACKEND_CLIENTS = 200, 20
FOLLOWING_S = 20.0  # until a whole log was read once
SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Question:
    """A figure, and what it is held against.

    Args:
        part: which part of the bench measures it.
        beside: what it is held against, in words.
        must, goal: of the ratio; at least, or at most where less is better. 0 is none.
    """

    key: str
    part: str
    title: str
    beside: str
    must: float = 0
    goal: float = 0
    less_is_better: bool = False


QUESTIONS = (
    Question("control/1", "control", "control: emit to one socket, 1 in flight", "acks of one"),
    Question("control/16", "control", "control: emit to one socket, 16 in flight", "acks of one"),
    Question(
        "session-lines", "session-lines", "connects with session lines", "without", 0.85, 0.95
    ),
    Question("watched", "watched", "echo 64 B, 16 in flight, watched", "unwatched", 0.95, 0.98),
    Question(
        "backends",
        "backends",
        "p99 of 200 backends' events beside two that misbehave (us)",
        "quiet",
        5,
        2,
        less_is_better=True,
    ),
    Question("presence/1", "presence", "presence entries to a backend", "written", 1, 2),
    Question(
        "presence/3", "presence", "presence entries to 3 backends, all together", "written", 1, 2
    ),
    Question("jwt-hs256", "jwt-hs256", "connects with a JWT, HS256", "without", 0.75, 0.85),
    Question("jwt-rs256", "jwt-rs256", "connects with a JWT, RS256", "without", 0.6, 0.7),
    Question("jwt-es256", "jwt-es256", "connects with a JWT, ES256", "without"),
    Question("jwt-eddsa", "jwt-eddsa", "connects with a JWT, EdDSA", "without"),
    Question("seats/claims", "seats", "connects with a JWT that claim a seat", "without seats"),
    Question("seats/takeovers", "seats", "connects that take a seat over", "claims"),
    Question(
        "publish-redis/awaited",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "ours, each awaited",
    ),
    Question(
        "publish-redis/threads",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "redis-py in 64 threads",
        10,
        15,
    ),
    Question(
        "publish-redis/coredis",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "coredis on trio",
        1,
        5,
    ),
    Question(
        "adapter-local/echo",
        "adapter-local/echo",
        "echo 64 B, 16 in flight, with Redis",
        "without",
        0.97,
        0.98,
    ),
    Question(
        "adapter-local/broadcast",
        "adapter-local/broadcast",
        "broadcast to 1,000, 4 in flight, with Redis",
        "without",
    ),
    Question(
        "adapter-local/rooms",
        "adapter-local/rooms",
        "1,000 rooms of 10, 4 in flight, with Redis",
        "without",
    ),
    Question(
        "unconcerned",
        "unconcerned",
        "CPU for a message to rooms of the other node (us)",
        "of its sender's node, to 10 clients",
        less_is_better=True,
    ),
    Question(
        "seated", "seated", "echo 64 B, 16 in flight, of users with seats", "strangers", 0.95, 0.98
    ),
    Question(
        "shared-seats/claims",
        "shared-seats/claims",
        "connects with a JWT that claim a seat in Redis",
        "in memory",
        0.4,
        0.6,
    ),
    Question(
        "shared-seats/takeovers",
        "shared-seats/takeovers",
        "connects that take a seat over from another node",
        "claims in Redis",
    ),
    Question(
        "shared-seated",
        "shared-seated",
        "echo 64 B, 16 in flight, of users with seats in Redis",
        "in memory",
        0.97,
        0.99,
    ),
    Question(
        "node-lost",
        "node-lost",
        "kill -9 of a node to the last of 1,000 offline entries (ms)",
        "its lease",
        1 + 1 / shared_seats.LEASE_S,
        1.1,
        less_is_better=True,
    ),
    Question(
        "im-ruled",
        "im-ruled",
        "mixed IM load, 1 in flight, of users with rules and seats",
        "strangers without",
        0.9,
        0.95,
    ),
    Question(
        "flood",
        "flood",
        "p99 of 20 clients beside 4 that flood (us)",
        "quiet",
        5,
        2,
        less_is_better=True,
    ),
    Question(
        "forward-poll/trips",
        "forward-poll",
        "polling round trips that a second node passes on",
        "direct",
    ),
    Question(
        "forward-poll/cpu",
        "forward-poll",
        "CPU of the node that passes on, for a polling request (us)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    Question(
        "forward-poll/share",
        "forward-poll",
        "CPU of the node that passes on, for a polling request (us)",
        "of a direct one",
        less_is_better=True,
    ),
    Question(
        "forward-pipe/echo",
        "forward-pipe",
        "echo 64 B, 1 in flight, over a WebSocket that a second node passes on",
        "direct",
    ),
    Question(
        "forward-pipe/cpu",
        "forward-pipe",
        "CPU of the node that passes on, for a message each way (us)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    Question(
        "forward-pipe/share",
        "forward-pipe",
        "CPU of the node that passes on, for a message each way (us)",
        "of a direct one",
        less_is_better=True,
    ),
    Question(
        "forward-memory",
        "forward-memory",
        "memory of the node that passes on, for a WebSocket (KiB)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    Question(
        "workers/connects", "workers/connects", "connects, two workers", "one process", 1.6, 1.8
    ),
    Question("workers/im", "workers/im", "mixed IM load, two workers", "one process", 1.6, 1.8),
    Question(
        "workers-node/connects",
        "workers-node/connects",
        "connects, two workers",
        "two Node processes",
    ),
    Question(
        "workers-node/im", "workers-node/im", "mixed IM load, two workers", "two Node processes"
    ),
)
PARTS = tuple(dict.fromkeys(question.part for question in QUESTIONS))


@dataclass(slots=True)
class Operating:
    """By key of the question and number of the round; and what went wrong."""

    answers: dict[str, dict[int, Answer]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure_operating(parts: Collection[str], cores: Cores, pace: Pace) -> Operating:
    found = Operating()
    for number in range(1, pace.rounds + 1):
        for part in [part for part in PARTS if part in parts]:
            started = time.monotonic()
            try:
                answers = _MEASURE[part](cores, pace, number)
            except (LoadFailedError, ServerFailedError, OSError, ValueError) as error:
                found.faults.append(f"not measured: {part}, round {number}: {error}")
                print(f"bench: {found.faults[-1]}", flush=True)
                continue
            for key, answer in answers.items():
                found.answers.setdefault(key, {})[number] = answer
            told = ", ".join(
                f"{key}: {answer.figure:,.0f} to {answer.beside:,.0f} is {answer.ratio:.2f}"
                for key, answer in answers.items()
            )
            took = time.monotonic() - started
            print(f"bench: round {number}/{pace.rounds}: {told} ({took:.1f} s)", flush=True)
    return found


def estimate_s(parts: Collection[str], pace: Pace) -> float:
    """About how long measure_operating takes."""
    return pace.rounds * sum(
        servers * (1.5 + pace.server_warmup_s) + count * (pace.seconds + 0.8)
        for part, (servers, count) in _SERVERS_AND_WINDOWS.items()
        if part in parts
    )


# -- calls over the control socket


def measure_calls(
    server: Running, cores: Cores, timing: Sequence[str | float], depths: Sequence[int] = (1, 16)
) -> list[Measurement]:
    """Emit to one socket over the control socket; every event arrives, or it does not count."""
    in_flight = ("--in-flight", ",".join(map(str, depths)))
    return load("control", server, cores, "--control", str(CONTROL_SOCKET), *in_flight, *timing)


def _control(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    acks = ("ack", "--connections", 1, "--bytes", SMALL, "--in-flight", "1,16")
    with run_server("trio", cores, options=CONTROL) as server:
        load("echo", server, cores, "--connections", CLIENTS, *warm_up(pace))
        calls = measure_calls(server, cores, windows(pace))
        asked = load(acks[0], server, cores, *acks[1:], *windows(pace))
    return {
        f"control/{call.in_flight}": Answer(call.per_second, ack.per_second)
        for call, ack in zip(calls, asked, strict=True)
    }


# -- lines of the log, metrics


def _session_lines(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    def connects(options: Sequence[str]) -> float:
        with run_server("trio", cores, options=options) as server:
            return measure_connects(server, cores, *windows(pace)).per_second

    return {"session-lines": side_by_side(connects, SESSION_LINES, number)}


def _watched(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    echo = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)

    def messages(options: Sequence[str]) -> float:
        with run_server("trio", cores, options=options) as server:
            load("echo", server, cores, *echo, *warm_up(pace))
            return load("echo", server, cores, *echo, *windows(pace))[0].per_second

    return {"watched": side_by_side(messages, WATCHED, number)}


# -- backends


def measure_backends(
    server: Running, cores: Cores, timing: Sequence[str | float], warming: Sequence[str | float]
) -> tuple[Measurement, Measurement]:
    """Acknowledgements that backends give: while all is quiet, and beside two that misbehave."""
    acks = ("ack", server, cores, "--connections", BACKEND_CLIENTS)
    peers = (str(CONTROL_SOCKET), str(BACKENDS))
    with crowd(cores, "bench.backends", "answering", *peers):
        load(*acks, *warming)
        quiet = load(*acks, *timing)[0]
        with crowd(cores, "bench.backends", "misbehaving", *peers):
            time.sleep(SETTLE_S)
            return quiet, load(*acks, *timing)[0]


def _backends(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    with run_server("trio", cores, handlers=FORWARDING, options=FORWARDED) as server:
        quiet, beside = measure_backends(server, cores, windows(pace), warm_up(pace))
    return {"backends": Answer(beside.p99_us, quiet.p99_us)}


# -- presence


def measure_following(count: int, cores: Cores, pace: Pace) -> Answer:
    """Entries a second to so many backends, all together, beside those that were written before."""
    windows = (str(pace.seconds), str(pace.warmup_s))
    done = subprocess.run(
        [sys.executable, "-m", "bench.following", str(CONTROL_SOCKET), str(count), *windows],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=pace.seconds + pace.warmup_s + FOLLOWING_S,
        preexec_fn=pinned(cores.generator),
        check=False,
    )
    if done.returncode:
        raise LoadFailedError(f"the followers have failed: {done.stderr[-200:]}")
    told = json.loads(done.stdout)
    if told["busy"] > BUSY:
        raise LoadFailedError("presence: the followers were the limit")
    return Answer(told["per_second"], told["written"])


def _presence(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    with run_server("trio", cores, handlers=PRESENCE, options=CONTROL):
        return {f"presence/{count}": measure_following(count, cores, pace) for count in (1, 3)}


_SERVERS_AND_WINDOWS = {
    "control": (1, 4),
    "backends": (1, 2),
    "presence": (1, 3),
    "seats": (2, 3),
    "publish-redis": (1, 3),
    "unconcerned": (2, 1),
    "shared-seats/claims": (2, 2),
    "shared-seats/takeovers": (2, 2),
    "node-lost": (1, 4),
    "im-ruled": (2, 2),
    "flood": (1, 2),
    **dict.fromkeys(("forward-poll", "forward-pipe"), (2, 2)),
    "forward-memory": (2, 2),
    **dict.fromkeys((f"workers/{name}" for name in workers.LOADS), (2, 2)),
    **dict.fromkeys((f"workers-node/{name}" for name in workers.LOADS), (2, 3)),
    **dict.fromkeys(("session-lines", "watched", "seated", "shared-seated"), (2, 2)),
    **dict.fromkeys((f"adapter-local/{workload}" for workload in adapter.LOCAL), (2, 2)),
    **dict.fromkeys((f"jwt-{name.lower()}" for name in identity.ALGORITHMS), (2, 2)),
}
_MEASURE: dict[str, Callable[[Cores, Pace, int], dict[str, Answer]]] = {
    "control": _control,
    "session-lines": _session_lines,
    "watched": _watched,
    "backends": _backends,
    "presence": _presence,
    "seats": identity.claims_and_takeovers,
    "seated": identity.messages_of_users,
    "shared-seats/claims": shared_seats.claims,
    "shared-seats/takeovers": shared_seats.takeovers,
    "shared-seated": shared_seats.messages_of_users,
    "node-lost": shared_seats.time_until_offline,
    "im-ruled": ruled.mixed_load,
    "flood": ruled.beside_a_flood,
    "publish-redis": publishing.publish,
    "forward-poll": forwarded.polling,
    "forward-pipe": forwarded.pipes,
    "forward-memory": forwarded.memory,
    **{f"workers/{name}": workers.beside_one(name) for name in workers.LOADS},
    **{f"workers-node/{name}": workers.beside_node(name) for name in workers.LOADS},
    "unconcerned": adapter.messages_of_no_concern,
    **{f"adapter-local/{workload}": adapter.local(workload) for workload in adapter.LOCAL},
    **{f"jwt-{name.lower()}": identity.connects_with(name) for name in identity.ALGORITHMS},
}
