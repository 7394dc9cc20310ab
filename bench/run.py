"""Measures our server against its peers or another commit: python -m bench.run --help."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import against, growth, operating, report
from bench.lateness import Lateness, measure_lateness
from bench.machine import (
    BENCH,
    BUILD,
    Cores,
    describe,
    find_cores,
    other_work,
    raise_descriptor_limit,
    told_duration,
)
from bench.prepare import Prepared, prepare
from bench.questions import PARTS as OPERATING_PARTS
from bench.ratios import FEWEST_PAIRS
from bench.resting import Resting, measure_idle_cpu, measure_memory
from bench.rows import GROUPS, Group, all_rows, is_asked, select, unknown
from bench.servers import LIMIT, NODE_PEERS, TITLES
from bench.throughput import (
    PYTHON_PEERS,
    Figures,
    Pace,
    estimate_s,
    note_steal,
    run_rows,
    run_unsteady_rows_again,
)
from bench.verdicts import Results, judge
from bench.workers import told_cores

ROUNDS = 5
PARTS = ("memory", "idle", "lateness", "growth", *OPERATING_PARTS)
OURS_ALONE = {"lateness", *OPERATING_PARTS}  # no peer has them
MEMORY_COUNTS = (2000, 10_000)
SPARE_DESCRIPTORS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench.

    Returns:
        0 when something was measured, 1 when nothing was or a row has regressed against the
        other commit, 2 when what is asked makes no sense, 130 when interrupted.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    _check(parser, asked)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        return _run_against(asked) if asked.against else _run(asked, started)
    except KeyboardInterrupt:
        print("bench: interrupted; every process is ended", file=sys.stderr)
        return 130


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _check(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """Exits with code 2 when the options contradict each other or name no row."""
    if asked.against:
        keys = against.KEYS
        if asked.rounds is not None or asked.servers is not None:
            parser.error("--rounds and --servers are for peers: against a commit, give --pairs")
    else:
        keys = PARTS
        if asked.pairs is not None:
            parser.error("--pairs needs --against; against peers, give --rounds")
        if asked.python != sys.executable:
            parser.error("--python needs --against; to compare interpreters alone, --against HEAD")
    if strange := unknown(asked.rows, keys):
        parser.error(f"no such row: {', '.join(strange)}")
    if asked.servers is None:
        ours_alone = asked.rows and not select(asked.rows) and not _parts(asked) - OURS_ALONE
        asked.servers = ["trio"] if ours_alone else list(TITLES)
    if asked.rounds is None:
        asked.rounds = 1 if asked.quick else ROUNDS


def _parts(asked: argparse.Namespace) -> set[str]:
    return {part for part in PARTS if not asked.rows or is_asked(part, "", asked.rows)}


def _run_against(asked: argparse.Namespace) -> int:
    results = asked.results or BUILD / "against"
    pairs = asked.pairs or (against.QUICK_PAIRS if asked.quick else against.PAIRS)
    return against.run(
        asked.against, asked.rows, pairs, results, is_quick=asked.quick, python=asked.python
    )


def _run(asked: argparse.Namespace, started: float) -> int:
    parts = _parts(asked)
    groups = select(asked.rows)
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
        operating=operating.Operating(),
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
    results.machine["rounds"] = f"{asked.rounds}{', short' if asked.quick else ''}"
    results.machine["took"] = f"{(time.monotonic() - started) / 60:.1f} minutes"
    verdicts = judge(results)
    report.write(results, verdicts, asked.results or BENCH / "results")
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
    if warning := other_work():
        figures.note(warning)
    if cores.apart:
        usable = _within(descriptors, groups, prepared, figures, servers)
        pace = Pace(asked.rounds, 0.8, 0.4)
        if asked.quick:
            pace = Pace(asked.rounds, 0.3, 0.15, 0.3, is_short=True)
        if usable:
            duration = told_duration(estimate_s(usable, servers, pace))
            print(
                f"bench: throughput takes about {duration}, up to twice as long when rows "
                "are unsteady and run again",
                flush=True,
            )
        run_rows(usable, servers, cores, pace, figures)
        run_unsteady_rows_again(usable, servers, cores, pace, figures)
        note_steal(figures)
    else:
        reason = "one core: server and load generator would share it"
        figures.note(f"not measured: throughput, lateness, growth: {reason}")
        for row in all_rows():
            for name in servers:
                figures.miss(row.key, name, reason)
    counts = [count for count in MEMORY_COUNTS if count <= descriptors]
    if len(counts) < len(MEMORY_COUNTS) and "memory" in parts:
        figures.note(f"not measured: memory at 10,000: {descriptors} descriptors are too few")
    first = [name for name in servers if name != LIMIT]
    if asked.quick:
        first = [name for name in first if name in ("trio", *NODE_PEERS)]
    if "memory" in parts and counts:
        measure_memory(first, counts, cores, results.resting)
    if "idle" in parts:
        others = [name for name in first if name not in PYTHON_PEERS]
        measure_idle_cpu(others, cores, results.resting, 1 if asked.quick else 2)
        measure_idle_cpu(
            [name for name in first if name in PYTHON_PEERS], cores, results.resting, 1
        )
    if "lateness" in parts and "trio" in servers and cores.apart:
        found: tuple[dict[str, Lateness], list[str]]
        found = measure_lateness(cores, 2.0 if asked.quick else 5.0)
        results.lateness, faults = found
        figures.notes.extend(faults)
    mine = parts & set(OPERATING_PARTS)
    if mine and "trio" in servers and cores.apart:
        # A fresh process of ours is at its full speed at once, unlike Node.
        pace = Pace(asked.rounds, 0.3, 0.15, 0.3) if asked.quick else Pace(asked.rounds, 1, 0.3, 1)
        duration = told_duration(operating.estimate_s(parts, pace))
        print(f"bench: {', '.join(sorted(mine))}: about {duration}", flush=True)
        results.operating = operating.measure_operating(parts, cores, pace)
        figures.notes.extend(results.operating.faults)
        figures.notes.extend(told_cores(results.operating.answers))
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


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not {least} to {most}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    groups = ", ".join(group.name for group in GROUPS)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare with another commit instead of peers; exit code 1 when a row has regressed",
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="EXECUTABLE",
        help="with --against: the interpreter of the new side, as in --against HEAD --python "
        "/opt/python3.13/bin/python, which has the dependencies (default: that of the bench)",
    )
    parser.add_argument(
        "--rows",
        type=_names,
        default=[],
        metavar="PATTERN,...",
        help=f"only these; groups: {groups}; or a row's key, the start of one, as echo/64, or a "
        f"pattern, as '*/64/1'; parts: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--servers",
        type=_servers,
        metavar="NAME,...",
        help=f"peers among {', '.join(TITLES)} (default: all)",
    )
    parser.add_argument(
        "--rounds", type=_number(1, 20), help=f"against peers (default: {ROUNDS}, quick: 1)"
    )
    parser.add_argument(
        "--pairs",
        type=_number(1, 100),
        help=f"against a commit (default: {against.PAIRS}, quick: {against.QUICK_PAIRS}); fewer "
        f"than {FEWEST_PAIRS} give no verdict",
    )
    parser.add_argument("--quick", action="store_true", help="short windows: does it work?")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="where to write (default: bench/results; against a commit: bench/.build/against)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
