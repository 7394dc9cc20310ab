"""Runs the rows: every server in turn, round by round, one server at a time."""

import statistics
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from bench.generator import Measurement, measure
from bench.machine import Conditions, Cores, Watch
from bench.nodes import SharedRedis, run_nodes
from bench.ratios import is_unsteady, round_ratios
from bench.rows import Group, Job, family, only
from bench.servers import (
    ASYNC,
    LIMIT,
    NODE_PEERS,
    PLAIN,
    TITLES,
    Running,
    ServerFailedError,
    run_server,
)

PYTHON_PEERS = ("uvicorn", "aiohttp")
SLOW_GROUPS = ("broadcast-5000",)  # slow on the Python peers: once is enough
SLOW_IN_FLIGHT = 8
START_S, CONNECT_S, DRAIN_S = 0.8, 0.5, 0.1  # what a start, a job and a row take besides
STEAL = 0.05
BUSY = 0.9  # of a core: the load generator is the limit
WARM_UP_S = 3.0  # a fresh Node takes up to three times the CPU for a message until it has compiled


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often.

    Args:
        seconds: of one window.
        warmup_s: before every window, with the same load.
        server_warmup_s: of a fresh server, before its first row.
        is_short: leave out what takes the slowest servers long.
    """

    rounds: int
    seconds: float
    warmup_s: float
    server_warmup_s: float = WARM_UP_S
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One server in one round of a row.

    Args:
        number: of the round, from 1.
    """

    number: int
    measurement: Measurement
    conditions: Conditions

    def as_json(self) -> dict[str, Any]:
        return {
            "round": self.number,
            **self.measurement.as_json(),
            "load": round(self.conditions.load, 2),
            "steal_before": round(self.conditions.steal_before, 4),
            "steal": round(self.conditions.steal, 4),
        }


Samples = dict[str, dict[str, list[Sample]]]  # by row and server


@dataclass(slots=True)
class Figures:
    """What was measured, and why the rest was not.

    Args:
        measured: by row and server, one sample a round.
        set_aside: likewise, the first run of rows that were run again.
        missing: reason by row and server.
        notes: what a reader of the table should know.
    """

    measured: Samples = field(default_factory=dict)
    set_aside: Samples = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, row: str, server: str, sample: Sample) -> None:
        self.measured.setdefault(row, {}).setdefault(server, []).append(sample)

    def miss(self, row: str, server: str, reason: str) -> None:
        self.missing.setdefault(row, {}).setdefault(server, reason)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            print(f"bench: {text}", flush=True)

    def by_round(self, row: str, server: str, field_name: str = "per_second") -> dict[int, float]:
        """Figures by the number of the round, without those that had wrong replies."""
        return {
            sample.number: getattr(sample.measurement, field_name)
            for sample in self.measured.get(row, {}).get(server, [])
            if sample.measurement.messages and not sample.measurement.errors
        }

    def median(self, row: str, server: str, field_name: str = "per_second") -> float | None:
        clean = self.by_round(row, server, field_name)
        return statistics.median(clean.values()) if clean else None

    def ratios(
        self, row: str, reference: str, server: str, field_name: str = "per_second"
    ) -> dict[int, float]:
        """Ours to a server's figure of the reference row, in every round."""
        ours = self.by_round(row, "trio", field_name)
        return round_ratios(ours, self.by_round(reference, server, field_name))

    def ratios_to_best(
        self, row: str, reference: str, field_name: str = "per_second", *, is_least: bool = False
    ) -> dict[int, float]:
        """Ours to the better of Node's two, in every round in which all that ran were measured.

        Args:
            is_least: whether the smaller figure is the better one.
        """
        both = [self.by_round(reference, server, field_name) for server in NODE_PEERS]
        ran = [rounds for rounds in both if rounds]
        better = min if is_least else max
        best = {
            number: better(rounds[number] for rounds in ran)
            for number in (ran[0] if ran else ())
            if all(number in rounds for rounds in ran)
        }
        return round_ratios(self.by_round(row, "trio", field_name), best)

    def unsteady_servers(self, row: str) -> list[str]:
        return [
            server
            for server in self.measured.get(row, {})
            if is_unsteady(list(self.by_round(row, server).values()))
        ]

    def unsteady_rows(self) -> list[str]:
        return [row for row in self.measured if self.unsteady_servers(row)]

    def set_rows_aside(self, rows: Collection[str]) -> None:
        """What is measured of them from here on takes the place of what was measured before."""
        for row in rows:
            if row in self.measured:
                self.set_aside[row] = self.measured.pop(row)

    def samples(self) -> Iterator[tuple[str, str, Sample]]:
        for row, by_server in self.measured.items():
            for server, samples in by_server.items():
                for sample in samples:
                    yield row, server, sample


def run_rows(
    groups: Sequence[Group], servers: Sequence[str], cores: Cores, pace: Pace, figures: Figures
) -> None:
    with SharedRedis(cores) as redis:
        _run_rounds(groups, servers, cores, pace, figures, redis)


def _run_rounds(
    groups: Sequence[Group],
    servers: Sequence[str],
    cores: Cores,
    pace: Pace,
    figures: Figures,
    redis: SharedRedis,
) -> None:
    failed: set[tuple[str, str]] = set()
    watch = Watch()
    for number in range(pace.rounds):
        for group in groups:
            for name in servers:
                if (group.name, name) in failed or not is_asked_of(group, name):
                    continue
                if name in PYTHON_PEERS and group.name in SLOW_GROUPS:
                    if pace.is_short:
                        _miss_group(group, name, "too slow for a short run", figures)
                    if number or pace.is_short:
                        continue
                started = time.monotonic()
                busy: list[float] = []
                try:
                    with _serve(group, name, cores, redis) as server:
                        _warm_up(group.jobs[0], server, cores, pace)
                        for job in group.jobs:
                            before = watch.before()
                            found = _run_job(job, server, cores, pace, figures)
                            conditions = watch.after(before)
                            busy += [one.machine_busy for one in found.values()]
                            for row, measurement in found.items():
                                sample = Sample(number + 1, measurement, conditions)
                                figures.add(row, name, sample)
                except ServerFailedError as error:
                    failed.add((group.name, name))
                    figures.note(f"not measured: {group.name}: {error}")
                    _miss_group(group, name, str(error), figures)
                took = time.monotonic() - started
                where = f"round {number + 1}/{pace.rounds}: {group.name}: {TITLES[name]}"
                print(f"bench: {where}: {took:.1f} s{told_busy(busy)}", flush=True)


def told_busy(shares: Sequence[float]) -> str:
    """Say how busy all cores of the machine were, whoever took them; nothing if it is not known."""
    if not shares:
        return ""
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return f", all cores {low if low == high else f'{low} to {high}'} busy"


def _serve(
    group: Group, name: str, cores: Cores, redis: SharedRedis
) -> AbstractContextManager[Running]:
    if group.is_cluster:
        return run_nodes(name, cores, redis)
    return run_server(name, cores, handlers=group.handlers, tls=group.tls)


def run_unsteady_rows_again(
    groups: Sequence[Group], servers: Sequence[str], cores: Cores, pace: Pace, figures: Figures
) -> None:
    """Once, all rounds and all servers, with the rows that are held against the same figures.

    A row and its reference must come from the same rounds, or their ratio says nothing.
    """
    unsteady = figures.unsteady_rows()
    if not unsteady:
        return
    figures.note(
        f"run again, since the rounds of a server differed by more than 25 %: {', '.join(unsteady)}"
    )
    again = family(unsteady)
    figures.set_rows_aside(again)
    run_rows(only(groups, again), servers, cores, pace, figures)


def note_steal(figures: Figures) -> None:
    """Tell which figures were measured while the machine was not ours."""
    robbed = [
        f"{row} ({TITLES[server]}, round {sample.number}: {sample.conditions.steal:.0%})"
        for row, server, sample in figures.samples()
        if sample.conditions.steal > STEAL
    ]
    if robbed:
        figures.note(f"more than {STEAL:.0%} of the CPU time was stolen during {', '.join(robbed)}")


def estimate_s(groups: Sequence[Group], servers: Sequence[str], pace: Pace) -> float:
    """About how long run_rows takes."""
    window = pace.seconds + pace.warmup_s + DRAIN_S
    one_round = 0.0
    for group in groups:
        rows = sum(len(job.rows) for job in group.jobs)
        asked = sum(is_asked_of(group, name) for name in servers)
        start = START_S + len(group.jobs) * CONNECT_S
        one_round += asked * (start + pace.server_warmup_s + rows * window)
        if LIMIT in servers and is_asked_of(group, LIMIT):
            one_round -= pace.server_warmup_s
    return pace.rounds * one_round


def _miss_group(group: Group, server: str, reason: str, figures: Figures) -> None:
    for job in group.jobs:
        for row in job.rows.values():
            figures.miss(row.key, server, reason)


def is_asked_of(group: Group, server: str) -> bool:
    """The handlers of the Python peers are coroutines anyway: they stand in the plain rows.

    They have no nodes here: what they publish is pickled, and no other server reads it. The limit
    has no handlers, no TLS and no nodes.
    """
    if server == LIMIT:
        return group.handlers == PLAIN and not group.tls and not group.is_cluster
    return not ((group.handlers == ASYNC or group.is_cluster) and server in PYTHON_PEERS)


def _warm_up(job: Job, server: Running, cores: Cores, pace: Pace) -> None:
    """Load that does not count; what goes wrong here goes wrong again in the row and is told."""
    if "--warmup-count" in job.options or server.name == LIMIT:
        return  # the row brings its own, or nothing is compiled
    depth = min(job.rows)
    timing = ("--seconds", pace.server_warmup_s, "--warmup", 0)
    measure(job.workload, server, cores, *job.options, "--in-flight", depth, *timing)


def _run_job(
    job: Job, server: Running, cores: Cores, pace: Pace, figures: Figures
) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    depths = list(job.rows)
    if server.name in PYTHON_PEERS and "broadcast/5000/1" in [row.key for row in job.rows.values()]:
        for depth in [depth for depth in depths if depth > SLOW_IN_FLIGHT]:
            depths.remove(depth)
            figures.miss(job.rows[depth].key, server.name, "too slow to measure in the time given")
    if not depths:
        return found
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
        found[row.key] = measurement
        if measurement.errors:
            figures.note(
                f"{row.title}: {TITLES[server.name]}: {measurement.errors} wrong replies: {fault}"
            )
        if measurement.generator_cpu > BUSY and server.name != LIMIT:
            figures.note(f"{row.title}: {TITLES[server.name]}: the load generator was the limit")
    reached = {measurement.in_flight for measurement in measurements}
    for depth in depths:
        if depth not in reached:
            figures.miss(job.rows[depth].key, server.name, fault or "no figures")
    if len(reached) < len(depths) and not any(one.errors for one in measurements):
        figures.note(f"{job.workload}: {TITLES[server.name]}: {fault or 'no figures'}")
    return found
