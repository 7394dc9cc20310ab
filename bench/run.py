"""Measures our server against its peers: python -m bench.run --help."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import growth, report
from bench.lateness import Lateness, measure_lateness
from bench.machine import BENCH, Cores, describe, find_cores, raise_descriptor_limit
from bench.prepare import Prepared, prepare
from bench.resting import Resting, measure_idle_cpu, measure_memory
from bench.rows import GROUPS, Group, all_rows, select
from bench.servers import TITLES
from bench.throughput import PYTHON_PEERS, Figures, Pace, run_rows
from bench.verdicts import Results, judge

PARTS = ("memory", "idle", "lateness", "growth")
MEMORY_COUNTS = (2000, 10_000)
SPARE_DESCRIPTORS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when something was measured, 1 when nothing was, 2 for no such row."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        return _run(asked, started)
    except KeyboardInterrupt:
        print("bench: interrupted; every process is ended", file=sys.stderr)
        return 130


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(asked: argparse.Namespace, started: float) -> int:
    parts = {part for part in PARTS if not asked.rows or part in asked.rows}
    groups = select(asked.rows) if not asked.rows or set(asked.rows) - set(PARTS) else []
    if not groups and not parts:
        print("bench: no such row", file=sys.stderr)
        return 2
    descriptors = raise_descriptor_limit() - SPARE_DESCRIPTORS
    prepared = prepare(asked.servers)
    if "loadgen" in prepared.missing:
        prepared.missing.update(dict.fromkeys(asked.servers, prepared.missing["loadgen"]))
    servers = [name for name in asked.servers if name not in prepared.missing]
    results = Results(
        machine=describe(),
        servers=servers,
        asked_rows={row.key for group in groups for job in group.jobs for row in job.rows.values()},
        figures=Figures(),
        resting=Resting(),
        lateness={},
        curves=[],
        parts=parts,
    )
    for name in [name for name in asked.servers if name in prepared.missing]:
        for key in sorted(results.asked_rows):
            results.figures.miss(key, name, prepared.missing[name])
    cores = find_cores()
    os.sched_setaffinity(0, {cores.generator})  # this process waits beside the generator
    try:
        _measure(asked, results, groups, prepared, cores, descriptors)
    finally:
        os.sched_setaffinity(0, {cores.server, cores.generator})
    results.machine["rounds"] = "1, short" if asked.quick else str(asked.rounds)
    results.machine["took"] = f"{(time.monotonic() - started) / 60:.1f} minutes"
    verdicts = judge(results)
    report.write(results, verdicts, asked.results)
    print("\n".join(["", *report.verdict_table(verdicts), "", report.summary(verdicts)]))
    for line in report.unmeasured(results):
        print(f"not measured: {line}")
    print(f"took {results.machine['took']}; see results.md, results.json and the charts")
    return 0 if servers else 1


def _measure(
    asked: argparse.Namespace,
    results: Results,
    groups: list[Group],
    prepared: Prepared,
    cores: Cores,
    descriptors: int,
) -> None:
    servers, parts, figures = results.servers, results.parts, results.figures
    if not servers:
        return
    if os.getloadavg()[0] > 0.5:
        figures.note(f"other work runs on this machine (load {os.getloadavg()[0]:.1f}): noise")
    if cores.apart:
        usable = _within(descriptors, groups, prepared, figures, servers)
        pace = Pace(1, 0.3, 0.15, True) if asked.quick else Pace(asked.rounds, 0.8, 0.4)
        run_rows(usable, servers, cores, pace, figures)
    else:
        reason = "one core: server and load generator would share it"
        figures.note(f"not measured: throughput, lateness, growth: {reason}")
        for row in all_rows():
            for name in servers:
                figures.miss(row.key, name, reason)
    counts = [count for count in MEMORY_COUNTS if count <= descriptors]
    if len(counts) < len(MEMORY_COUNTS) and "memory" in parts:
        figures.note(f"not measured: memory at 10,000: {descriptors} descriptors are too few")
    first = servers if not asked.quick else [name for name in servers if name in ("trio", "node")]
    if "memory" in parts and counts:
        measure_memory(first, counts, cores, results.resting)
    if "idle" in parts:
        mine = [name for name in first if name not in PYTHON_PEERS]
        measure_idle_cpu(mine, cores, results.resting, 1 if asked.quick else 2)
        measure_idle_cpu(
            [name for name in first if name in PYTHON_PEERS], cores, results.resting, 1
        )
    if "lateness" in parts and "trio" in servers and cores.apart:
        found: tuple[dict[str, Lateness], list[str]]
        found = measure_lateness(cores, 2.0 if asked.quick else 5.0)
        results.lateness, faults = found
        figures.notes.extend(faults)
    if "growth" in parts and cores.apart:
        sizes: dict[str, Sequence[int]] = {
            growth.ECHO: _fit(growth.CONNECTIONS, descriptors, asked.quick),
            growth.BROADCAST: _fit(growth.CONNECTIONS, descriptors, asked.quick),
            growth.ROOM: growth.ROOMS[::2] if asked.quick else growth.ROOMS,
        }
        pace = Pace(1, 0.3, 0.15) if asked.quick else Pace(1, 0.8, 0.3)
        results.curves, faults = growth.measure_growth(first, sizes, cores, pace)
        figures.notes.extend(faults)


def _fit(sizes: Sequence[int], descriptors: int, quick: bool) -> Sequence[int]:
    fitting = [size for size in sizes if size <= descriptors]
    return fitting[::2] if quick else fitting


def _within(
    descriptors: int,
    groups: list[Group],
    prepared: Prepared,
    figures: Figures,
    servers: list[str],
) -> list[Group]:
    """The groups that can be run here; the rest is marked."""
    usable: list[Group] = []
    for group in groups:
        reason = prepared.missing.get("tls", "") if group.tls else ""
        for job in group.jobs:
            options = list(job.options)
            count = int(options[options.index("--connections") + 1])
            if count > descriptors:
                reason = f"{descriptors} file descriptors are too few for {count} connections"
        if not reason:
            usable.append(group)
            continue
        figures.note(f"not measured: {group.name}: {reason}")
        for job in group.jobs:
            for row in job.rows.values():
                for name in servers:
                    figures.miss(row.key, name, reason)
    return usable


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _servers(text: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name not in TITLES:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(TITLES)}")
    return names


def _rounds(text: str) -> int:
    rounds = int(text)
    if not 1 <= rounds <= 20:
        raise argparse.ArgumentTypeError("rounds are 1 to 20")
    return rounds


def _parser() -> argparse.ArgumentParser:
    groups = ", ".join(group.name for group in GROUPS)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--rows",
        type=_names,
        default=[],
        metavar="NAME,...",
        help=f"only these; groups: {groups}; or the start of a row's key, as echo/64; "
        f"parts: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--servers",
        type=_servers,
        default=list(TITLES),
        metavar="NAME,...",
        help=f"of {', '.join(TITLES)} (default: all)",
    )
    parser.add_argument("--rounds", type=_rounds, default=3, help="medians of (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    parser.add_argument(
        "--results",
        type=Path,
        default=BENCH / "results",
        metavar="FOLDER",
        help="where to write (default: bench/results)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
