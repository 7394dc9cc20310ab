"""Compares the working tree with another commit, in pairs: make bench ARGS='--against COMMIT'."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import comparison, trials
from bench.comparison import NEW, OLD, Comparison
from bench.generator import LoadFailedError, measure
from bench.machine import (
    ROOT,
    Cores,
    Watch,
    describe,
    find_cores,
    other_work,
    raise_descriptor_limit,
    told_duration,
)
from bench.prepare import prepare
from bench.servers import ServerFailedError, app_path, run_server
from bench.trees import NoSuchTreeError, Tree, check_import, check_out
from bench.trials import FULL, QUICK, Reading, Trial, TrialFailedError

PAIRS = 10
QUICK_PAIRS = 5
KEYS = tuple(trials.keys())
SPARE_DESCRIPTORS = 200
PROBE_S = 0.1

Faults = (ServerFailedError, LoadFailedError, TrialFailedError, OSError, ValueError)


def run(
    commit: str,
    patterns: Sequence[str],
    pairs: int,
    results: Path,
    *,
    is_quick: bool,
    python: str = sys.executable,
) -> int:
    """Measure, print the table, write it and its JSON into a folder.

    Args:
        commit: of the old side, which this interpreter runs.
        patterns: of the rows; none means all.
        pairs: how many.
        results: the folder.
        is_quick: whether the windows are short.
        python: the interpreter that runs the new side.
    Returns:
        0 when no row has regressed, 1 when one has or none could be measured, 2 when the commit
        cannot be measured.
    """
    try:
        with check_out(commit) as old:
            new = Tree(NEW, ROOT, python=python)
            return _compare(old, new, patterns, pairs, results, is_quick=is_quick)
    except NoSuchTreeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _compare(
    old: Tree,
    new: Tree,
    patterns: Sequence[str],
    pairs: int,
    results: Path,
    *,
    is_quick: bool,
) -> int:
    started = time.monotonic()
    check_import(old)
    check_import(new)
    descriptors = raise_descriptor_limit() - SPARE_DESCRIPTORS
    prepared = prepare([])
    cores = find_cores()
    if "loadgen" in prepared.missing or not cores.apart:
        reason = prepared.missing.get("loadgen", "server and generator need a core each")
        print(f"bench: nothing can be measured: {reason}", file=sys.stderr)
        return 1
    chosen = trials.select(patterns, QUICK if is_quick else FULL)
    made = Comparison([quantity for trial in chosen for quantity in trial.quantities])
    usable: list[Trial] = []
    for trial in chosen:
        reason = prepared.missing.get("tls", "") if trial.tls else ""
        if trial.connections > descriptors:
            reason = f"{descriptors} file descriptors are too few"
        if reason:
            for quantity in trial.quantities:
                made.miss(quantity, OLD, reason)
                made.miss(quantity, NEW, reason)
        else:
            usable.append(trial)
    os.sched_setaffinity(0, {cores.generator})  # this process waits beside the generator
    try:
        if warning := other_work():
            _note(made, warning)
        _probe(usable, (old, new), cores, made)
        _measure(usable, (old, new), cores, pairs, made)
    finally:
        os.sched_setaffinity(0, {cores.server, cores.generator})
    if new.python != old.python:
        _note(made, f"new is run by {new.python}, old by {old.python}")
    return _report(made, old, pairs, results, time.monotonic() - started)


def _note(made: Comparison, text: str) -> None:
    made.notes.append(text)
    print(f"bench: {text}", flush=True)


def _probe(chosen: Sequence[Trial], trees: Sequence[Tree], cores: Cores, made: Comparison) -> None:
    """Start every kind of server once, on both sides.

    The apps of the working tree drive both sides. Where they do not run on the other commit, since
    the library's surface was another, that side is given its own app. The first start also
    compiles the modules, which would otherwise be part of the first pair.
    """
    for handlers in sorted({trial.handlers for trial in chosen}):
        for tree in trees:
            fault = _probe_one(tree, handlers, cores)
            if fault and tree.name == OLD and (tree.root / app_path(handlers)).is_file():
                tree.own_apps.add(handlers)
                again = _probe_one(tree, handlers, cores)
                if not again:
                    _note(made, f"old runs its own app for {handlers} handlers, since {fault}")
                    continue
                tree.own_apps.discard(handlers)
            if fault:
                _note(made, f"{tree.name} does not run with {handlers} handlers: {fault}")


def _probe_one(tree: Tree, handlers: str, cores: Cores) -> str:
    try:
        with run_server("trio", cores, handlers=handlers, tree=tree) as server:
            load = ("--connections", 10, "--seconds", PROBE_S, "--warmup", 0)
            found, fault = measure("echo", server, cores, *load)
    except ServerFailedError as error:
        return str(error)
    return fault if fault or not found else ""


def _measure(
    chosen: Sequence[Trial],
    trees: tuple[Tree, Tree],
    cores: Cores,
    pairs: int,
    made: Comparison,
) -> None:
    """All rows once, then all again: pairs of a row are minutes apart, its two sides seconds.

    So a slow minute of the machine spoils one pair of a few rows, and never all pairs of one. The
    order within a pair alternates, old new new old, so that a steady drift falls on both sides.
    """
    total_s = 2 * pairs * sum(trial.estimate_s for trial in chosen)
    rows = sum(len(trial.quantities) for trial in chosen)
    print(f"bench: {rows} rows, {pairs} pairs: about {told_duration(total_s)}", flush=True)
    watch, started = Watch(), time.monotonic()
    for number in range(pairs):
        for trial in chosen:
            for tree in trees if number % 2 == 0 else reversed(trees):
                _run_trial(trial, tree, cores, watch, made)
        took = time.monotonic() - started
        left = told_duration(took / (number + 1) * (pairs - number - 1))
        load = os.getloadavg()[0]
        print(
            f"bench: pair {number + 1} of {pairs} done, {left} left (load {load:.1f})",
            flush=True,
        )


def _run_trial(trial: Trial, tree: Tree, cores: Cores, watch: Watch, made: Comparison) -> None:
    before = watch.before()
    found: dict[str, Reading] = {}
    fault = ""
    try:
        with run_server(
            "trio",
            cores,
            handlers=trial.handlers,
            tls=trial.tls,
            tree=tree,
            options=trial.options,
        ) as server:
            found = trial.run(server, cores)
    except Faults as error:
        fault = str(error)
        print(f"bench: {trial.name}: {tree.name}: {fault}", flush=True)
    sides = made.conditions.setdefault(trial.name, {})
    sides.setdefault(tree.name, []).append(watch.after(before))
    for quantity in trial.quantities:
        if quantity.key in found:
            made.add(quantity, tree.name, found[quantity.key])
        else:
            made.miss(quantity, tree.name, fault or "no figure")


def _report(made: Comparison, old: Tree, pairs: int, results: Path, took_s: float) -> int:
    verdicts = comparison.judge(made)
    machine = describe()
    machine["against"] = old.commit
    machine["pairs"] = str(pairs)
    machine["took"] = f"{took_s / 60:.1f} minutes"
    steal = [
        each.steal
        for by_side in made.conditions.values()
        for found in by_side.values()
        for each in found
    ]
    if steal:
        machine["worst steal"] = f"{max(steal):.1%}"
    lines = [
        f"# {machine['commit']} against {old.commit}",
        "",
        comparison.summary(verdicts),
        "",
        *comparison.comparison_table(verdicts),
        "",
        *(f"- {line}" for line in [*comparison.reasons(verdicts), *made.notes]),
    ]
    results.mkdir(parents=True, exist_ok=True)
    (results / "against.md").write_text("\n".join([*lines, ""]))
    text = json.dumps(comparison.as_json(made, verdicts, machine), indent=1)
    (results / "against.json").write_text(text + "\n")
    print("\n".join(["", *lines[2:], f"took {machine['took']}; see {results}"]))
    return comparison.exit_code(verdicts)
