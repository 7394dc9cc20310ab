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

from bench import adapter, forwarded, identity, product, publishing, ruled, shared_seats, workers
from bench.crowds import crowd
from bench.generator import LoadFailedError, Measurement
from bench.loading import (
    BESIDE,
    OURS,
    Answer,
    load,
    measure_connects,
    side_by_side,
    warm_up,
    windows,
)
from bench.machine import BENCH, BUILD, ROOT, Cores
from bench.questions import PARTS
from bench.rows import CLIENTS, SMALL
from bench.servers import FORWARDING, PRESENCE, Running, ServerFailedError, pinned, run_server
from bench.throughput import BUSY, Pace, told_busy

CONTROL_SOCKET = BUILD / "run" / "control.sock"
CONTROL = ("--control", f"unix:{CONTROL_SOCKET}")
SESSION_LINES = ("--log-level", "info")
FORWARDED = ("--config", str(BENCH / "apps" / "forwarding.toml"), *CONTROL)
WATCHED = (*SESSION_LINES, *CONTROL, "--admin", "127.0.0.1:0")
BACKENDS, BACKEND_CLIENTS = 200, 20
FOLLOWING_S = 20.0  # until a whole log was read once
SETTLE_S = 0.3


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
            took = time.monotonic() - started
            told = f"{', '.join(map(_told, answers, answers.values()))} ({took:.1f} s)"
            print(f"bench: round {number}/{pace.rounds}: {told}", flush=True)
    return found


def _told(key: str, answer: Answer) -> str:
    busy = told_busy([one.machine_busy for one in answer.loads.values()])
    uws = f" and {answer.uws:,.0f}" if answer.uws is not None else ""
    figures = f"{answer.figure:,.0f} to {answer.beside:,.0f}{uws}"
    return f"{key}: {figures} is {answer.ratio:.2f}{busy}"


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
        f"control/{call.in_flight}": Answer.of(call, ack)
        for call, ack in zip(calls, asked, strict=True)
    }


# -- lines of the log, metrics


def _session_lines(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    def connects(options: Sequence[str]) -> Measurement:
        with run_server("trio", cores, options=options) as server:
            return measure_connects(server, cores, *windows(pace))

    return {"session-lines": side_by_side(connects, SESSION_LINES, number)}


def _watched(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    echo = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)

    def messages(options: Sequence[str]) -> Measurement:
        with run_server("trio", cores, options=options) as server:
            load("echo", server, cores, *echo, *warm_up(pace))
            return load("echo", server, cores, *echo, *windows(pace))[0]

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
    loads = {OURS: beside, BESIDE: quiet}
    return {"backends": Answer(beside.p99_us, quiet.p99_us, loads=loads)}


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
    **dict.fromkeys((f"workers-node/{name}" for name in workers.BESIDE_NODE), (3, 4)),
    **dict.fromkeys((f"product/{name}" for name in product.LOADS), (2, 2)),
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
    **{f"workers-node/{name}": workers.beside_node(name) for name in workers.BESIDE_NODE},
    **{f"product/{name}": product.beside_bare(name) for name in product.LOADS},
    "unconcerned": adapter.messages_of_no_concern,
    **{f"adapter-local/{workload}": adapter.local(workload) for workload in adapter.LOCAL},
    **{f"jwt-{name.lower()}": identity.connects_with(name) for name in identity.ALGORITHMS},
}
