"""What it costs to operate a server: calls of a backend, lines of the log, peers that misbehave.

Every figure is held against another one of ours, of the same round: there is nothing of the kind in
the peers.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.generator import LoadFailedError, Measurement, measure
from bench.machine import BENCH, BUILD, ROOT, Cores
from bench.rows import CLIENTS, SMALL, WARM_CONNECTS
from bench.servers import FORWARDING, PRESENCE, Running, ServerFailedError, end, pinned, run_server
from bench.throughput import Pace

CONTROL_SOCKET = BUILD / "run" / "control.sock"
CONTROL = ("--control", f"unix:{CONTROL_SOCKET}")
SESSION_LINES = ("--log-level", "info")
FORWARDED = ("--config", str(BENCH / "apps" / "forwarding.toml"), *CONTROL)
WATCHED = (*SESSION_LINES, *CONTROL, "--admin", "127.0.0.1:0")
BACKENDS, BACKEND_CLIENTS = 200, 20
BACKENDS_S = 10.0  # until they have registered
FOLLOWING_S = 20.0  # until a whole log was read once
SETTLE_S = 0.3
BUSY = 0.9  # of a core


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
)
PARTS = tuple(dict.fromkeys(question.part for question in QUESTIONS))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one round gave: the figure, and the one that it is held against."""

    figure: float
    beside: float

    @property
    def ratio(self) -> float:
        return self.figure / self.beside


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
    servers = {"control": 1, "session-lines": 2, "watched": 2, "backends": 1, "presence": 1}
    windows = {"control": 4, "session-lines": 2, "watched": 2, "backends": 2, "presence": 3}
    return pace.rounds * sum(
        servers[part] * (1.5 + pace.server_warmup_s) + windows[part] * (pace.seconds + 0.8)
        for part in parts
        if part in servers
    )


# -- calls over the control socket


def measure_calls(
    server: Running, cores: Cores, windows: Sequence[str | float], depths: Sequence[int] = (1, 16)
) -> list[Measurement]:
    """Emit to one socket over the control socket; every event arrives, or it does not count."""
    in_flight = ("--in-flight", ",".join(map(str, depths)))
    return load("control", server, cores, "--control", str(CONTROL_SOCKET), *in_flight, *windows)


def _control(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    acks = ("ack", "--connections", 1, "--bytes", SMALL, "--in-flight", "1,16")
    with run_server("trio", cores, options=CONTROL) as server:
        load("echo", server, cores, "--connections", CLIENTS, *_warm_up(pace))
        calls = measure_calls(server, cores, _windows(pace))
        asked = load(acks[0], server, cores, *acks[1:], *_windows(pace))
    return {
        f"control/{call.in_flight}": Answer(call.per_second, ack.per_second)
        for call, ack in zip(calls, asked, strict=True)
    }


# -- lines of the log, metrics


def measure_connects(server: Running, cores: Cores, windows: Sequence[str | float]) -> Measurement:
    options = ("--connections", 64, "--warmup-count", WARM_CONNECTS)
    return load("connects", server, cores, *options, *windows)[0]


def _session_lines(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    def connects(options: Sequence[str]) -> float:
        with run_server("trio", cores, options=options) as server:
            return measure_connects(server, cores, _windows(pace)).per_second

    return {"session-lines": _side_by_side(connects, SESSION_LINES, number)}


def _watched(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    echo = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)

    def messages(options: Sequence[str]) -> float:
        with run_server("trio", cores, options=options) as server:
            load("echo", server, cores, *echo, *_warm_up(pace))
            return load("echo", server, cores, *echo, *_windows(pace))[0].per_second

    return {"watched": _side_by_side(messages, WATCHED, number)}


def _side_by_side(
    figure: Callable[[Sequence[str]], float], options: Sequence[str], number: int
) -> Answer:
    """With these options and without, one after the other; which comes first alternates."""
    without = figure(()) if number % 2 else 0.0
    with_options = figure(options)
    return Answer(with_options, without or figure(()))


# -- backends


def measure_backends(
    server: Running, cores: Cores, windows: Sequence[str | float], warm_up: Sequence[str | float]
) -> tuple[Measurement, Measurement]:
    """Acknowledgements that backends give: while all is quiet, and beside two that misbehave."""
    acks = ("ack", server, cores, "--connections", BACKEND_CLIENTS)
    with _crowd("answering", cores):
        load(*acks, *warm_up)
        quiet = load(*acks, *windows)[0]
        with _crowd("misbehaving", cores):
            time.sleep(SETTLE_S)
            return quiet, load(*acks, *windows)[0]


def _backends(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    with run_server("trio", cores, handlers=FORWARDING, options=FORWARDED) as server:
        quiet, beside = measure_backends(server, cores, _windows(pace), _warm_up(pace))
    return {"backends": Answer(beside.p99_us, quiet.p99_us)}


@contextmanager
def _crowd(what: str, cores: Cores) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.backends", what, str(CONTROL_SOCKET), str(BACKENDS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=pinned(cores.generator),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    limit = threading.Timer(BACKENDS_S, process.kill)
    limit.start()
    try:
        if process.stdout.readline() != b"ready\n":
            raise LoadFailedError(f"the {what} backends did not register")
        limit.cancel()
        yield
        if process.poll() is not None:
            raise LoadFailedError(f"the {what} backends ended early")
    finally:
        limit.cancel()
        end(process)
        process.stdin.close()
        process.stdout.close()


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


# -- the load generator


def load(workload: str, server: Running, cores: Cores, *options: str | float) -> list[Measurement]:
    """Put load on a server.

    Raises:
        LoadFailedError: a reply was wrong or none came, or the generator was the limit.
    """
    found, fault = measure(workload, server, cores, *options)
    if not found or any(one.errors or not one.messages for one in found):
        raise LoadFailedError(f"{workload}: {fault or 'no figures'}")
    if any(one.generator_cpu > BUSY for one in found):
        raise LoadFailedError(f"{workload}: the load generator was the limit")
    return found


def _windows(pace: Pace) -> tuple[str | float, ...]:
    return ("--seconds", pace.seconds, "--warmup", pace.warmup_s)


def _warm_up(pace: Pace) -> tuple[str | float, ...]:
    return ("--seconds", pace.server_warmup_s, "--warmup", 0)


_MEASURE: dict[str, Callable[[Cores, Pace, int], dict[str, Answer]]] = {
    "control": _control,
    "session-lines": _session_lines,
    "watched": _watched,
    "backends": _backends,
    "presence": _presence,
}
