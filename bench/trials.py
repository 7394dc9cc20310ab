"""What is measured on both sides of a comparison: one trial is one start of a server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import growth, lateness, operating
from bench.generator import Measurement, measure
from bench.loading import measure_connects
from bench.machine import Cores
from bench.resting import IDLE_CONNECTIONS, measure_rest, measure_weight
from bench.rows import GROUPS, Group, Job, is_asked
from bench.servers import FORWARDING, LATENESS, PLAIN, Running

P99_ROW = "echo/64/1"
GROWN = 10_000  # connections
LATE_LOAD = "broadcast to 5,000, 8 in flight"  # the heavier of the two

_GROUPS = tuple(group for group in GROUPS if not group.is_cluster)  # a trial has one server

# What a trial takes besides its windows, on the machine of bench/results.
START_S, CONNECT_S, ROW_S = 1.0, 0.00015, 0.1


class TrialFailedError(Exception):
    """A side does not do what was asked of it; says what."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the comparison."""

    key: str
    title: str
    less_is_better: bool = False
    form: str = ",.0f"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one side did in one pair of a row.

    Args:
        value: in the unit of the row.
        cpu_us: CPU time of the server for each message; None where no messages are counted.
    """

    value: float
    cpu_us: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is measured, in seconds.

    Every window has been chosen so that all rows and ten pairs take about half an hour: the pairs,
    not the length of a window, are what makes an interval narrow.

    Args:
        window_s: of a row of throughput.
        warmup_s: before each window, with the same load.
        heartbeat_s: of the idle connections, and the window in which they are watched: one
            heartbeat of 5 s instead of 25 s costs the server the same CPU time.
        lateness_s: for which sleeps are timed.
        held: idle connections that are weighed.
        settle_s: before they are.
    """

    window_s: float
    warmup_s: float
    heartbeat_s: float
    lateness_s: float
    held: int
    settle_s: float


FULL = Timing(0.7, 0.3, 5.0, 1.5, 10_000, 1.0)
QUICK = Timing(0.25, 0.15, 3.0, 0.5, 2000, 0.5)


@dataclass(frozen=True, slots=True)
class Trial:
    """Quantities that one start of a server gives.

    Args:
        estimate_s: about how long it takes, start and end of the server included.
        connections: how many descriptors it needs.
        run: measures; raises TrialFailedError, or what generators and sockets raise.
        options: of the server's command line.
    """

    quantities: tuple[Quantity, ...]
    estimate_s: float
    connections: int
    run: Callable[[Running, Cores], dict[str, Reading]]
    handlers: str = PLAIN
    tls: bool = False
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.quantities[0].key


def all_trials(timing: Timing) -> list[Trial]:
    trials = [_throughput(group, job, timing) for group in _GROUPS for job in group.jobs]
    return [*trials, *_others(timing)]


def _others(timing: Timing) -> list[Trial]:
    """What is not a row of throughput."""
    resting = [_weight(timing), _rest(timing), _lateness(timing), _growth(timing)]
    return [*resting, _control(timing), _session_lines(timing), _backends(timing)]


def keys() -> list[str]:
    return [quantity.key for trial in all_trials(FULL) for quantity in trial.quantities]


def select(patterns: Sequence[str], timing: Timing) -> list[Trial]:
    """The trials that have a row asked for, with no others where they can be left out."""
    if not patterns:
        return all_trials(timing)
    chosen: list[Trial] = []
    for group in _GROUPS:
        for job in group.jobs:
            kept = {
                depth: row
                for depth, row in job.rows.items()
                if is_asked(row.key, group.name, patterns)
                or (row.key == P99_ROW and is_asked("p99", "", patterns))
            }
            if kept:
                cut = Job(job.workload, job.options, kept)
                chosen.append(_throughput(group, cut, timing))
    others = [
        trial
        for trial in _others(timing)
        if any(is_asked(quantity.key, "", patterns) for quantity in trial.quantities)
    ]
    return [*chosen, *others]


def _connections(job: Job) -> int:
    options = list(job.options)
    return int(options[options.index("--connections") + 1])


def _throughput(group: Group, job: Job, timing: Timing) -> Trial:
    quantities = [Quantity(row.key, row.title) for row in job.rows.values()]
    if P99_ROW in [quantity.key for quantity in quantities]:
        title = "p99 latency, echo 64 B, 1 in flight (us)"
        quantities.append(Quantity("p99", title, less_is_better=True))

    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        load = (*job.options, "--in-flight", ",".join(map(str, job.rows)))
        found: dict[str, Reading] = {}
        for one in _measure(job.workload, server, cores, load, timing, len(job.rows)):
            key = job.rows[one.in_flight].key
            found[key] = Reading(one.per_second, one.server_us)
            if key == P99_ROW:
                found["p99"] = Reading(one.p99_us)
        return found

    count = _connections(job)
    rows_s = len(job.rows) * (timing.window_s + timing.warmup_s + ROW_S)
    # Connects have their own warm-up, counted in connects and not in seconds.
    warm_s = 0.3 if job.workload == "connects" else 0.0
    estimate_s = START_S + count * CONNECT_S + rows_s + warm_s
    return Trial(tuple(quantities), estimate_s, count, run, group.handlers, group.tls)


def _measure(
    workload: str,
    server: Running,
    cores: Cores,
    load: Sequence[str | int],
    timing: Timing,
    rows: int,
) -> list[Measurement]:
    found, fault = measure(workload, server, cores, *load, *_windows(timing))
    if len(found) < rows or any(one.errors or not one.messages for one in found):
        raise TrialFailedError(fault or "wrong replies")
    return found


def _weight(timing: Timing) -> Trial:
    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        sizes, lost = measure_weight(server, cores, [timing.held], timing.settle_s)
        _check(lost)
        return {"memory": Reading(sizes[timing.held] / 1024)}

    title = f"memory per idle connection at {timing.held:,} (KiB)"
    quantity = Quantity("memory", title, less_is_better=True, form=".2f")
    estimate_s = START_S + 0.5 + timing.held * CONNECT_S + timing.settle_s + 0.5
    return Trial((quantity,), estimate_s, timing.held, run)


def _rest(timing: Timing) -> Trial:
    settle_s = timing.heartbeat_s / 3  # the first ping comes one heartbeat after the handshake

    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        share, lost = measure_rest(server, cores, settle_s, timing.heartbeat_s)
        _check(lost)
        return {"idle": Reading(share * timing.heartbeat_s / IDLE_CONNECTIONS * 1e6)}

    quantity = Quantity(
        "idle", f"idle CPU, {IDLE_CONNECTIONS:,} connections (us a heartbeat)", True, ".1f"
    )
    estimate_s = START_S + IDLE_CONNECTIONS * CONNECT_S + settle_s + timing.heartbeat_s + 0.3
    options = ("--ping-interval", f"{timing.heartbeat_s:g}")
    return Trial((quantity,), estimate_s, IDLE_CONNECTIONS, run, options=options)


def _check(lost: int) -> None:
    if lost:
        raise TrialFailedError(f"{lost} connections were lost or misused")


def _lateness(timing: Timing) -> Trial:
    workload, load = lateness.LOADS[LATE_LOAD]
    settle_s = 3.0  # connecting, warm-up, and load beyond the sleeps

    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        late = lateness.measure_under_load(server, cores, workload, load, timing.lateness_s)
        return {"lateness": Reading(late.p99_ms)}

    # The 99th percentile and not the maximum, which is one sleep of a hundred and all noise.
    title = f"lateness of sleep(0.01), p99 under {LATE_LOAD} (ms)"
    quantity = Quantity("lateness", title, less_is_better=True, form=".2f")
    estimate_s = START_S + settle_s + timing.lateness_s
    return Trial((quantity,), estimate_s, 5000, run, LATENESS)


def _growth(timing: Timing) -> Trial:
    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        load = growth.load_options(growth.ECHO, GROWN)
        found = _measure(growth.ECHO, server, cores, load, timing, 1)
        return {"growth": Reading(found[0].server_us)}

    title = f"CPU of an echo among {GROWN:,} connections (us)"
    quantity = Quantity("growth", title, less_is_better=True, form=".2f")
    estimate_s = START_S + GROWN * CONNECT_S + timing.window_s + timing.warmup_s + 0.5
    return Trial((quantity,), estimate_s, GROWN, run)


def _control(timing: Timing) -> Trial:
    depths = (1, 16)

    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        found = operating.measure_calls(server, cores, _windows(timing), depths)
        return {f"control/{one.in_flight}": Reading(one.per_second, one.server_us) for one in found}

    quantities = tuple(
        Quantity(f"control/{depth}", f"control: emit to one socket, {depth} in flight")
        for depth in depths
    )
    estimate_s = START_S + len(depths) * (timing.window_s + timing.warmup_s + ROW_S)
    return Trial(quantities, estimate_s, 2, run, options=operating.CONTROL)


def _session_lines(timing: Timing) -> Trial:
    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        found = measure_connects(server, cores, *_windows(timing))
        return {"session-lines": Reading(found.per_second, found.server_us)}

    quantity = Quantity("session-lines", "connects with session lines")
    estimate_s = START_S + 0.3 + timing.window_s + timing.warmup_s + ROW_S
    return Trial((quantity,), estimate_s, 64, run, options=operating.SESSION_LINES)


def _backends(timing: Timing) -> Trial:
    settle_s = 1.5  # until the backends have registered, and beside those that misbehave

    def run(server: Running, cores: Cores) -> dict[str, Reading]:
        warm_up = ("--seconds", timing.warmup_s)
        _, beside = operating.measure_backends(server, cores, _windows(timing), warm_up)
        return {"backends": Reading(beside.p99_us)}

    title = "p99 of 200 backends' events beside two that misbehave (us)"
    quantity = Quantity("backends", title, less_is_better=True)
    estimate_s = START_S + settle_s + 2 * (timing.window_s + timing.warmup_s)
    connections = operating.BACKENDS + operating.BACKEND_CLIENTS
    return Trial((quantity,), estimate_s, connections, run, FORWARDING, options=operating.FORWARDED)


def _windows(timing: Timing) -> tuple[str | float, ...]:
    return ("--seconds", timing.window_s, "--warmup", timing.warmup_s)
