"""Holds the figures against what the issue asks: must, goal, or neither."""

import statistics
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bench.growth import Curve
from bench.lateness import Lateness
from bench.operating import QUESTIONS, Operating
from bench.resting import IDLE_CONNECTIONS, Resting
from bench.rows import GROUPS, all_rows
from bench.throughput import Figures

UVICORN_RATIO = 5.0
MEMORY_AT = 10_000


class Reached(StrEnum):
    GOAL = "goal"
    MUST = "must"
    NO = "no"
    UNMEASURED = "not measured"
    UNASKED = "-"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the table.

    Args:
        ours: the figure, with its unit.
        theirs: the same of the reference.
        ratio: what must and goal speak of, in words.
        over_uvicorn: throughput by that of python-socketio under uvicorn.
        rounds: the ratio of every round, by its number.
        unsteady: servers whose rounds still differ by more than 25 % after a second run.
    """

    key: str
    title: str
    ours: str
    theirs: str
    ratio: str
    must: str
    goal: str
    reached: Reached
    over_uvicorn: float | None = None
    has_uvicorn: bool = False
    rounds: dict[int, float] = field(default_factory=dict)
    unsteady: tuple[str, ...] = ()

    @property
    def spread(self) -> str:
        """Smallest to largest ratio of a round."""
        if len(self.rounds) < 2:
            return "-"
        ratios = self.rounds.values()
        return f"{min(ratios):.2f} to {max(ratios):.2f}"

    @property
    def misses_uvicorn(self) -> bool:
        return self.over_uvicorn is not None and self.over_uvicorn < UVICORN_RATIO


@dataclass(slots=True)
class Results:
    """Everything of one run."""

    machine: dict[str, str]
    servers: list[str]
    asked_rows: set[str]
    figures: Figures
    resting: Resting
    lateness: dict[str, Lateness]
    curves: list[Curve]
    operating: Operating
    parts: set[str]


def _at_least(value: float | None, must: float, goal: float) -> Reached:
    if not must:
        return Reached.UNASKED
    if value is None:
        return Reached.UNMEASURED
    return Reached.GOAL if value >= goal else Reached.MUST if value >= must else Reached.NO


def _at_most(value: float | None, must: float, goal: float) -> Reached:
    if not must:
        return Reached.UNASKED
    if value is None:
        return Reached.UNMEASURED
    return Reached.GOAL if value <= goal else Reached.MUST if value <= must else Reached.NO


def _show(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _median(ratios: Collection[float]) -> float | None:
    return statistics.median(ratios) if ratios else None


def judge(results: Results) -> list[Verdict]:
    found = _judge_rows(results)
    if "echo/64/1" in results.asked_rows:
        title = "p99 latency, echo 64 B, 1 in flight (us)"
        found.append(_judge_p99(results.figures, "echo/64/1", "p99_us", title))
    found += [
        _judge_p99(results.figures, key, "across_p99_us", f"p99 across nodes, {title} (us)")
        for key, title in _cluster_rows()
        if key in results.asked_rows
    ]
    if "memory" in results.parts:
        found.append(_judge_memory(results.resting))
    if "idle" in results.parts:
        found.append(_judge_idle(results.resting))
    if "lateness" in results.parts:
        worst = max((late.max_ms for late in results.lateness.values()), default=None)
        ours = f"{worst:.1f} ms" if worst is not None else "-"
        title = "lateness of sleep(0.01) under full load"
        reached = _at_most(worst, 15, 4)
        found.append(Verdict("lateness", title, ours, "-", ours, "15 ms", "4 ms", reached))
    return [*found, *_judge_operating(results)]


def _judge_rows(results: Results) -> list[Verdict]:
    figures = results.figures
    found: list[Verdict] = []
    for row in all_rows():
        if row.key not in results.asked_rows:
            continue
        ours = figures.median(row.key, "trio")
        theirs = figures.median(row.reference, "node")
        ratios = figures.ratios(row.key, row.reference, "node")
        uvicorn = figures.ratios(row.key, row.key, "uvicorn")
        if not uvicorn and not figures.missing.get(row.key, {}).get("uvicorn"):
            uvicorn = figures.ratios(row.key, row.reference, "uvicorn")
        ratio = _median(ratios.values())
        reached = _at_least(ratio, row.must, row.goal)
        if ours is None:
            reached = Reached.UNMEASURED
        unsteady = figures.unsteady_servers(row.key)
        if row.reference != row.key and "node" in figures.unsteady_servers(row.reference):
            unsteady.append(f"node in {row.reference}")
        found.append(
            Verdict(
                row.key,
                row.title,
                _show(ours, ",.0f"),
                _show(theirs, ",.0f"),
                _show(ratio, ".2f"),
                f"{row.must:g}" if row.must else "-",
                f"{row.goal:g}" if row.goal else "-",
                reached,
                _median(uvicorn.values()),
                has_uvicorn=True,
                rounds=ratios,
                unsteady=tuple(unsteady),
            )
        )
    return found


def _cluster_rows() -> Iterator[tuple[str, str]]:
    for group in GROUPS:
        for job in group.jobs if group.is_cluster else ():
            yield from ((row.key, row.title) for row in job.rows.values())


def _judge_p99(figures: Figures, row: str, field_name: str, title: str) -> Verdict:
    ours = figures.median(row, "trio", field_name)
    theirs = figures.median(row, "node", field_name)
    ratios = figures.ratios(row, row, "node", field_name)
    ratio = _median(ratios.values())
    return Verdict(
        "p99" if row == "echo/64/1" else f"p99/{row}",
        title,
        _show(ours, ",.0f"),
        _show(theirs, ",.0f"),
        _show(ratio, ".2f"),
        "1",
        "0.75",
        _at_most(ratio, 1.0, 0.75),
        rounds=ratios,
    )


def _judge_memory(resting: Resting) -> Verdict:
    def at_most(server: str) -> float | None:
        size = resting.memory.get(server, {}).get(MEMORY_AT)
        return None if size is None else size / 1024

    ours, theirs = at_most("trio"), at_most("node")
    shown = f"{ours:.2f} KiB" if ours is not None else "-"
    return Verdict(
        "memory",
        f"memory per idle connection at {MEMORY_AT:,}",
        shown,
        f"{theirs:.2f} KiB" if theirs is not None else "-",
        shown,
        "4 KiB",
        "2 KiB",
        _at_most(ours, 4, 2),
    )


def _judge_idle(resting: Resting) -> Verdict:
    ours, theirs = resting.idle_cpu.get("trio"), resting.idle_cpu.get("node")
    shown = f"{ours:.2%}" if ours is not None else "-"
    return Verdict(
        "idle",
        f"idle CPU, {IDLE_CONNECTIONS:,} connections",
        shown,
        f"{theirs:.2%}" if theirs is not None else "-",
        shown,
        "0.7 %",
        "0.35 %",
        _at_most(ours, 0.007, 0.0035),
    )


def _judge_operating(results: Results) -> Iterator[Verdict]:
    """Ours with something to ours without it, in each round."""
    for question in QUESTIONS:
        if question.part not in results.parts:
            continue
        answers = results.operating.answers.get(question.key, {})
        ratios = {number: answer.ratio for number, answer in answers.items()}
        ratio = _median(ratios.values())
        judged = _at_most if question.less_is_better else _at_least
        reached = judged(ratio, question.must, question.goal)
        if ratio is None:
            reached = Reached.UNMEASURED
        beside = _show(_median([answer.beside for answer in answers.values()]), ",.0f")
        yield Verdict(
            question.key,
            question.title,
            _show(_median([answer.figure for answer in answers.values()]), ",.0f"),
            f"{beside}, {question.beside}",
            _show(ratio, ".2f"),
            f"{question.must:g}" if question.must else "-",
            f"{question.goal:g}" if question.goal else "-",
            reached,
            rounds=ratios,
        )
