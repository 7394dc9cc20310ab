"""Runs the rows: every server in turn, round by round, one server at a time."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.generator import Measurement, measure
from bench.machine import Cores
from bench.rows import Group, Job
from bench.servers import ASYNC, TITLES, Running, ServerFailedError, run_server

PYTHON_PEERS = ("uvicorn", "aiohttp")
SLOW_GROUPS = ("broadcast-5000",)  # slow on the Python peers: once is enough
SLOW_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often.

    Args:
        seconds: of one window.
        warmup_s: before it, with the same load.
        is_short: leave out what takes the slowest servers long.
    """

    rounds: int
    seconds: float
    warmup_s: float
    is_short: bool = False


@dataclass(slots=True)
class Figures:
    """What was measured, and why the rest was not.

    Args:
        measured: by row and server, one measurement a round.
        missing: reason by row and server.
        notes: what a reader of the table should know.
    """

    measured: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, row: str, server: str, measurement: Measurement) -> None:
        self.measured.setdefault(row, {}).setdefault(server, []).append(measurement)

    def miss(self, row: str, server: str, reason: str) -> None:
        self.missing.setdefault(row, {}).setdefault(server, reason)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            print(f"bench: {text}", flush=True)

    def median(self, row: str, server: str, field_name: str = "per_second") -> float | None:
        found = self.measured.get(row, {}).get(server, [])
        clean = [getattr(one, field_name) for one in found if one.messages and not one.errors]
        return statistics.median(clean) if clean else None


def run_rows(
    groups: Sequence[Group], servers: Sequence[str], cores: Cores, pace: Pace, figures: Figures
) -> None:
    failed: set[tuple[str, str]] = set()
    for number in range(pace.rounds):
        for group in groups:
            for name in servers:
                if (group.name, name) in failed or not _is_asked(group, name):
                    continue
                if name in PYTHON_PEERS and group.name in SLOW_GROUPS:
                    if pace.is_short:
                        _miss_group(group, name, "too slow for a short run", figures)
                    if number or pace.is_short:
                        continue
                started = time.monotonic()
                try:
                    with run_server(name, cores, handlers=group.handlers, tls=group.tls) as server:
                        for job in group.jobs:
                            _run_job(job, server, cores, pace, figures)
                except ServerFailedError as error:
                    failed.add((group.name, name))
                    figures.note(f"not measured: {group.name}: {error}")
                    _miss_group(group, name, str(error), figures)
                took = time.monotonic() - started
                where = f"round {number + 1}/{pace.rounds}: {group.name}: {TITLES[name]}"
                print(f"bench: {where}: {took:.1f} s", flush=True)


def _miss_group(group: Group, server: str, reason: str, figures: Figures) -> None:
    for job in group.jobs:
        for row in job.rows.values():
            figures.miss(row.key, server, reason)


def _is_asked(group: Group, server: str) -> bool:
    """The handlers of the Python peers are coroutines anyway: they stand in the plain rows."""
    return not (group.handlers == ASYNC and server in PYTHON_PEERS)


def _run_job(job: Job, server: Running, cores: Cores, pace: Pace, figures: Figures) -> None:
    depths = list(job.rows)
    if server.name in PYTHON_PEERS and "broadcast/5000/1" in [row.key for row in job.rows.values()]:
        for depth in [depth for depth in depths if depth > SLOW_IN_FLIGHT]:
            depths.remove(depth)
            figures.miss(job.rows[depth].key, server.name, "too slow to measure in the time given")
    measurements, fault = measure(
        job.workload,
        server,
        cores,
        *job.options,
        *("--in-flight", ",".join(map(str, depths))),
        *("--seconds", pace.seconds, "--warmup", pace.warmup_s),
    )
    for measurement in measurements:
        row = job.rows[measurement.in_flight]
        figures.add(row.key, server.name, measurement)
        if measurement.errors:
            figures.note(
                f"{row.title}: {TITLES[server.name]}: {measurement.errors} wrong replies: {fault}"
            )
        if measurement.generator_cpu > 0.9:
            figures.note(f"{row.title}: {TITLES[server.name]}: the load generator was the limit")
    reached = {measurement.in_flight for measurement in measurements}
    for depth in depths:
        if depth not in reached:
            figures.miss(job.rows[depth].key, server.name, fault or "no figures")
    if len(reached) < len(depths) and not any(one.errors for one in measurements):
        figures.note(f"{job.workload}: {TITLES[server.name]}: {fault or 'no figures'}")
