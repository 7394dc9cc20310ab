"""Holds two commits against each other, row by row: figures of pairs become verdicts."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.machine import Conditions
from bench.ratios import (
    FEWEST_PAIRS,
    UNSTEADY,
    Change,
    Interval,
    bootstrap_interval,
    judge_change,
)
from bench.tables import table
from bench.trials import Quantity, Reading

OLD, NEW = "old", "new"
BAD = (Change.REGRESSED, Change.FAILED)


@dataclass(slots=True)
class Comparison:
    """What both sides did, pair by pair.

    Args:
        readings: by row and side, one for every pair; None where the side failed.
        conditions: likewise by the first row of a trial.
        faults: what went wrong, by row and side; the first fault of each.
    """

    quantities: list[Quantity]
    readings: dict[str, dict[str, list[Reading | None]]] = field(default_factory=dict)
    conditions: dict[str, dict[str, list[Conditions]]] = field(default_factory=dict)
    faults: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, quantity: Quantity, side: str, reading: Reading | None) -> None:
        self.readings.setdefault(quantity.key, {}).setdefault(side, []).append(reading)

    def miss(self, quantity: Quantity, side: str, reason: str) -> None:
        self.faults.setdefault(quantity.key, {}).setdefault(side, reason)
        self.add(quantity, side, None)

    def pairs(self, key: str) -> list[tuple[Reading, Reading]]:
        """Old and new of every pair in which both were measured."""
        by_side = self.readings.get(key, {})
        return [
            (old, new)
            for old, new in zip(by_side.get(OLD, ()), by_side.get(NEW, ()), strict=False)
            if old and new and old.value and new.value
        ]


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row of the table.

    Args:
        old: median of the pairs, as new is; None when there is none.
        interval: of new to old; None when nothing was measured.
        reason: why it failed, or was not measured.
        cpu_ratio: of the CPU time that the server takes for a message, new to old. It is told,
            not judged: a server that waits more and works as much has regressed too.
        unsteady: sides whose figures differ by more than 25 % from pair to pair.
    """

    quantity: Quantity
    pairs: int
    old: float | None
    new: float | None
    interval: Interval | None
    change: Change
    reason: str = ""
    unsteady: tuple[str, ...] = ()
    cpu_ratio: float | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of the interval; a few pairs give it no meaning, and one pair no width."""
        if self.interval is None or self.pairs < FEWEST_PAIRS:
            return None
        return self.interval.low, self.interval.high


def judge(comparison: Comparison) -> list[ComparedRow]:
    return [_judge(comparison, quantity) for quantity in comparison.quantities]


def _judge(comparison: Comparison, quantity: Quantity) -> ComparedRow:
    pairs = comparison.pairs(quantity.key)
    faults = comparison.faults.get(quantity.key, {})
    old, new = [one.value for one, _ in pairs], [other.value for _, other in pairs]
    ratios = [after / before for before, after in zip(old, new, strict=True)]
    interval = bootstrap_interval(ratios) if pairs else None
    cpu = [other.cpu_us / one.cpu_us for one, other in pairs if one.cpu_us and other.cpu_us]
    unsteady = tuple(
        side
        for side, found in ((OLD, old), (NEW, new))
        if found and max(found) > UNSTEADY * min(found)
    )
    if NEW in faults and OLD not in faults:
        # The old side did it in every pair: once that the new one does not is a fault of its own.
        change, reason = Change.FAILED, f"new: {faults[NEW]}"
    elif interval is None or len(pairs) < FEWEST_PAIRS:
        change = Change.UNMEASURED
        told = "; ".join(f"{side}: {faults[side]}" for side in (OLD, NEW) if side in faults)
        reason = told or f"{len(pairs)} of the {FEWEST_PAIRS} pairs that a verdict needs"
    else:
        change, reason = judge_change(interval, less_is_better=quantity.less_is_better), ""
    return ComparedRow(
        quantity,
        len(pairs),
        statistics.median(old) if old else None,
        statistics.median(new) if new else None,
        interval,
        change,
        reason,
        unsteady,
        statistics.median(cpu) if cpu else None,
    )


def exit_code(verdicts: Sequence[ComparedRow]) -> int:
    """1 when a row has regressed or failed, or when no row has a verdict."""
    if any(one.change in BAD for one in verdicts):
        return 1
    return int(all(one.change is Change.UNMEASURED for one in verdicts))


def comparison_table(verdicts: Iterable[ComparedRow]) -> list[str]:
    head = (
        "row",
        "workload",
        "old",
        "new",
        "new / old",
        "95 % interval",
        "CPU",
        "pairs",
        "verdict",
    )
    lines = []
    for one in verdicts:
        shown = [
            "-" if figure is None else format(figure, one.quantity.form)
            for figure in (one.old, one.new)
        ]
        ratio = between = "-"
        if one.interval is not None:
            ratio = f"{one.interval.estimate:.3f}"
        if one.bounds is not None:
            between = f"{one.bounds[0]:.3f} to {one.bounds[1]:.3f}"
        title = one.quantity.title + (", less is better" if one.quantity.less_is_better else "")
        verdict = one.change.value
        if one.unsteady:
            verdict += f" (unsteady: {', '.join(one.unsteady)})"
        cpu = "-" if one.cpu_ratio is None else f"{one.cpu_ratio:.3f}"
        cells = (one.quantity.key, title, *shown, ratio, between, cpu)
        lines.append((*cells, str(one.pairs), verdict))
    return table(head, lines)


def summary(verdicts: Sequence[ComparedRow]) -> str:
    counts = {kind: sum(one.change is kind for one in verdicts) for kind in Change}
    told = [f"{count} {kind.value}" for kind, count in counts.items() if count]
    return f"{len(verdicts)} rows: {', '.join(told)}."


def reasons(verdicts: Iterable[ComparedRow]) -> list[str]:
    return [
        f"{one.change.value}: {one.quantity.key}: {one.reason}" for one in verdicts if one.reason
    ]


def as_json(
    comparison: Comparison, verdicts: Sequence[ComparedRow], machine: dict[str, str]
) -> dict[str, Any]:
    return {
        "machine": machine,
        "notes": comparison.notes,
        "rows": [
            {
                "key": one.quantity.key,
                "title": one.quantity.title,
                "less_is_better": one.quantity.less_is_better,
                "old": one.old,
                "new": one.new,
                "ratio": one.interval and one.interval.estimate,
                "interval": one.bounds,
                "cpu_ratio": one.cpu_ratio,
                "pairs": one.pairs,
                "verdict": one.change.value,
                "reason": one.reason,
                "unsteady": one.unsteady,
                "readings": {
                    side: [reading and asdict(reading) for reading in found]
                    for side, found in comparison.readings.get(one.quantity.key, {}).items()
                },
            }
            for one in verdicts
        ],
        "conditions": {
            name: {
                side: [
                    {
                        "load": round(each.load, 2),
                        "steal_before": round(each.steal_before, 4),
                        "steal": round(each.steal, 4),
                    }
                    for each in found
                ]
                for side, found in by_side.items()
            }
            for name, by_side in comparison.conditions.items()
        },
    }
