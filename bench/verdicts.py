"""Holds the figures against what the issue asks: must, goal, or neither."""

import statistics
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bench.generator import Measurement
from bench.growth import Curve
from bench.lateness import Lateness
from bench.loading import BESIDE, OURS, UWS, Answer
from bench.operating import Operating
from bench.questions import QUESTIONS
from bench.resting import IDLE_CONNECTIONS, Resting
from bench.rows import GROUPS, Row, all_rows
from bench.servers import LIMIT, NODE_PEERS
from bench.throughput import BUSY, Figures

UVICORN_RATIO = 5.0
MEMORY_AT = 10_000
TIMES = ("p50_us", "p99_us")


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
        theirs: the same of the reference: Node on ws, or ours without something.
        uws: the same of Node on uWebSockets.js.
        ratio: what must and goal speak of, in words: to the better of Node's two, where there are
            two.
        reached: of all that is asked of the row.
        to_ws: the ratio to Node on ws.
        must_ws, goal_ws: of that ratio.
        of_limit: which share of what the machine can do at all.
        latency: ours, p50 and p99 in microseconds.
        beside_latency: the same of the better reference.
        over_uvicorn: throughput by that of python-socketio under uvicorn.
        rounds: the ratio of every round, by its number.
        rounds_to_ws: the ratio to Node on ws likewise, where it is another one.
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
    uws: str = "-"
    to_ws: str = "-"
    must_ws: str = "-"
    goal_ws: str = "-"
    of_limit: str = "-"
    latency: str = "-"
    beside_latency: str = "-"
    over_uvicorn: float | None = None
    has_uvicorn: bool = False
    rounds: dict[int, float] = field(default_factory=dict)
    rounds_to_ws: dict[int, float] = field(default_factory=dict)
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


def _all_of(to_ws: Reached, to_best: Reached) -> Reached:
    """What is reached of a row that is held against Node on ws and against the better of both."""
    for one in (Reached.NO, Reached.UNMEASURED):
        if one in (to_ws, to_best):
            return one
    if to_ws is Reached.UNASKED and to_best is not Reached.UNASKED:
        return Reached.MUST  # there is no goal
    return to_ws


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
        to_ws = figures.ratios(row.key, row.reference, "node")
        to_best = figures.ratios_to_best(row.key, row.reference)
        uvicorn = figures.ratios(row.key, row.key, "uvicorn")
        if not uvicorn and not figures.missing.get(row.key, {}).get("uvicorn"):
            uvicorn = figures.ratios(row.key, row.reference, "uvicorn")
        uws = figures.median(row.reference, "uws")
        ratio, ratio_to_ws = _median(to_best.values()), _median(to_ws.values())
        reached = _all_of(
            _at_least(ratio_to_ws, row.must, row.goal),
            # One of them alone is not the better of two.
            _at_least(None if None in (theirs, uws) else ratio, row.best, row.best),
        )
        if ours is None:
            reached = Reached.UNMEASURED
        unsteady = figures.unsteady_servers(row.key)
        if row.reference != row.key:
            others = figures.unsteady_servers(row.reference)
            unsteady += [f"{one} in {row.reference}" for one in NODE_PEERS if one in others]
        better = "uws" if (uws or 0) > (theirs or 0) else "node"
        found.append(
            Verdict(
                row.key,
                row.title,
                _show(ours, ",.0f"),
                _show(theirs, ",.0f"),
                _show(ratio, ".2f"),
                _told(row.best),
                "-",
                reached,
                uws=_show(uws, ",.0f"),
                to_ws=_show(ratio_to_ws, ".2f"),
                must_ws=_told(row.must),
                goal_ws=_told(row.goal),
                of_limit=_of_limit(figures, row),
                latency=_latency(figures, row.key, "trio"),
                beside_latency=_latency(figures, row.reference, better),
                over_uvicorn=_median(uvicorn.values()),
                has_uvicorn=True,
                rounds=to_best,
                rounds_to_ws=to_ws,
                unsteady=tuple(unsteady),
            )
        )
    return found


def _told(target: float) -> str:
    return f"{target:g}" if target else "-"


def _of_limit(figures: Figures, row: Row) -> str:
    """Which share of the limit is reached; "at most" where the load generator kept it lower."""
    share = _median(figures.ratios(row.key, row.reference, LIMIT).values())
    if share is None:
        return "-"
    busiest = max(figures.by_round(row.reference, LIMIT, "generator_cpu").values())
    return f"{'at most ' if busiest > BUSY else ''}{share:.0%}"


def _latency(figures: Figures, row: str, server: str) -> str:
    p50, p99 = (figures.median(row, server, name) for name in ("p50_us", "p99_us"))
    return "-" if p50 is None else f"{p50:,.0f}, {p99:,.0f}"


def latency_of(loads: Collection[Measurement]) -> str:
    """Medians of p50 and p99 of the rounds, in microseconds."""
    if not loads:
        return "-"
    p50, p99 = (statistics.median(getattr(one, name) for one in loads) for name in TIMES)
    return f"{p50:,.0f}, {p99:,.0f}"


def _cluster_rows() -> Iterator[tuple[str, str]]:
    for group in GROUPS:
        for job in group.jobs if group.is_cluster else ():
            yield from ((row.key, row.title) for row in job.rows.values())


def _judge_p99(figures: Figures, row: str, field_name: str, title: str) -> Verdict:
    ours = figures.median(row, "trio", field_name)
    theirs = figures.median(row, "node", field_name)
    uws = figures.median(row, "uws", field_name)
    to_ws = figures.ratios(row, row, "node", field_name)
    to_best = figures.ratios_to_best(row, row, field_name, is_least=True)
    ratio = _median(to_ws.values())
    return Verdict(
        "p99" if row == "echo/64/1" else f"p99/{row}",
        title,
        _show(ours, ",.0f"),
        _show(theirs, ",.0f"),
        _show(_median(to_best.values()), ".2f"),
        "-",
        "-",
        _at_most(ratio, 1.0, 0.75),
        uws=_show(uws, ",.0f"),
        to_ws=_show(ratio, ".2f"),
        must_ws="1",
        goal_ws="0.75",
        rounds=to_best,
        rounds_to_ws=to_ws,
    )


def _judge_memory(resting: Resting) -> Verdict:
    def at_most(server: str) -> float | None:
        size = resting.memory.get(server, {}).get(MEMORY_AT)
        return None if size is None else size / 1024

    ours = at_most("trio")
    shown, theirs, uws = (
        "-" if size is None else f"{size:.2f} KiB" for size in (ours, *map(at_most, NODE_PEERS))
    )
    return Verdict(
        "memory",
        f"memory per idle connection at {MEMORY_AT:,}",
        shown,
        theirs,
        shown,
        "2.5 KiB",
        "2 KiB",
        _at_most(ours, 2.5, 2),
        uws=uws,
    )


def _judge_idle(resting: Resting) -> Verdict:
    ours = resting.idle_cpu.get("trio")
    shown, theirs, uws = (
        "-" if share is None else f"{share:.2%}"
        for share in (ours, *map(resting.idle_cpu.get, NODE_PEERS))
    )
    return Verdict(
        "idle",
        f"idle CPU, {IDLE_CONNECTIONS:,} connections",
        shown,
        theirs,
        shown,
        "0.6 %",
        "0.35 %",
        _at_most(ours, 0.006, 0.0035),
        uws=uws,
    )


def _beside(answers: dict[int, Answer]) -> float | None:
    return _median([answer.beside for answer in answers.values()])


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
        beside = _beside(answers)
        uws = [answer.uws for answer in answers.values() if answer.uws is not None]
        loads = {
            side: [one.loads[side] for one in answers.values() if side in one.loads]
            for side in (OURS, BESIDE, UWS)
        }
        better = UWS if uws and statistics.median(uws) > (beside or 0) else BESIDE
        yield Verdict(
            question.key,
            question.title,
            _show(_median([answer.figure for answer in answers.values()]), ",.0f"),
            f"{_show(beside, ',.0f')}, {question.beside}",
            _show(ratio, ".2f"),
            f"{question.must:g}" if question.must else "-",
            f"{question.goal:g}" if question.goal else "-",
            reached,
            uws=_show(_median(uws), ",.0f"),
            latency=latency_of(loads[OURS]),
            beside_latency=latency_of(loads[better]),
            rounds=ratios,
        )
