"""Verdicts of the bench on another commit."""

import json

import pytest
from bench.comparison import (
    NEW,
    OLD,
    Comparison,
    as_json,
    comparison_table,
    exit_code,
    judge,
    reasons,
    summary,
)
from bench.machine import Conditions
from bench.ratios import Change
from bench.trials import Quantity, Reading

ECHO = Quantity("echo/64/1", "echo 64 B")
MEMORY = Quantity("memory", "memory", less_is_better=True, form=".2f")
NOISE = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 1.0)


def compare(quantity: Quantity, new: float, pairs: int = 10) -> Comparison:
    """Old is about 100, new is `new` times that."""
    made = Comparison([quantity])
    for at in range(pairs):
        made.add(quantity, OLD, Reading(100 * NOISE[at], 10))
        made.add(quantity, NEW, Reading(100 * new * NOISE[-1 - at], 11))
    return made


@pytest.mark.parametrize(
    ("quantity", "new", "change", "code"),
    [
        (ECHO, 1.0, Change.HELD, 0),
        (ECHO, 0.9, Change.REGRESSED, 1),
        (ECHO, 1.1, Change.IMPROVED, 0),
        (ECHO, 0.97, Change.UNCLEAR, 0),
        (MEMORY, 1.1, Change.REGRESSED, 1),
        (MEMORY, 0.9, Change.IMPROVED, 0),
    ],
)
def test_the_verdict_and_the_exit_code(
    quantity: Quantity, new: float, change: Change, code: int
) -> None:
    verdicts = judge(compare(quantity, new))
    (verdict,) = verdicts
    assert verdict.change is change
    assert verdict.pairs == 10
    assert verdict.interval is not None
    assert verdict.interval.low <= new <= verdict.interval.high
    assert exit_code(verdicts) == code


def test_few_pairs_give_a_ratio_and_no_verdict() -> None:
    verdicts = judge(compare(ECHO, 0.5, pairs=4))
    assert verdicts[0].interval is not None
    assert verdicts[0].bounds is None
    assert " - |" in comparison_table(verdicts)[-1]
    assert verdicts[0].change is Change.UNMEASURED
    assert reasons(verdicts) == ["not measured: echo/64/1: 4 of the 5 pairs that a verdict needs"]
    assert exit_code(verdicts) == 1  # nothing was found out
    assert judge(compare(ECHO, 0.5, pairs=5))[0].change is Change.REGRESSED


def test_a_new_side_that_fails_once_has_failed() -> None:
    made = compare(ECHO, 1.0, pairs=9)
    made.add(ECHO, OLD, Reading(100))
    made.miss(ECHO, NEW, "3 wrong replies")
    verdicts = judge(made)
    assert (verdicts[0].change, verdicts[0].pairs) == (Change.FAILED, 9)
    assert reasons(verdicts) == ["failed: echo/64/1: new: 3 wrong replies"]
    assert exit_code(verdicts) == 1


def test_an_old_side_that_fails_leaves_the_other_pairs() -> None:
    made = compare(ECHO, 1.0, pairs=9)
    made.miss(ECHO, OLD, "did not start")
    made.add(ECHO, NEW, Reading(100))
    assert judge(made)[0].change is Change.HELD
    made = compare(ECHO, 1.0, pairs=2)
    made.miss(ECHO, OLD, "did not start")
    made.miss(ECHO, NEW, "neither did this")
    assert judge(made)[0].change is Change.UNMEASURED
    assert judge(made)[0].reason == "old: did not start; new: neither did this"


def test_a_failed_side_does_not_shift_the_pairs() -> None:
    made = Comparison([ECHO])
    made.miss(ECHO, OLD, "hung")
    made.add(ECHO, NEW, Reading(1))
    made.add(ECHO, NEW, Reading(20))
    made.add(ECHO, OLD, Reading(10))
    assert made.pairs("echo/64/1") == [(Reading(10), Reading(20))]


def test_sides_that_jump_are_called_unsteady() -> None:
    made = compare(ECHO, 1.0)
    made.add(ECHO, OLD, Reading(60))
    made.add(ECHO, NEW, Reading(100))
    (verdict,) = judge(made)
    assert verdict.unsteady == (OLD,)
    assert "held (unsteady: old)" in comparison_table([verdict])[-1]


def test_the_report() -> None:
    made = Comparison([ECHO, MEMORY])
    for quantity, ratio in ((ECHO, 0.9), (MEMORY, 1.0)):
        made.readings.update(compare(quantity, ratio).readings)
    made.conditions = {"echo/64/1": {OLD: [Conditions(0.512, 0.0, 0.01234)]}}
    verdicts = judge(made)
    assert summary(verdicts) == "2 rows: 1 regressed, 1 held."
    text = "\n".join(comparison_table(verdicts))
    assert "0.900" in text
    assert "memory, less is better" in text
    told = json.loads(json.dumps(as_json(made, verdicts, {"commit": "abc"})))
    first = told["rows"][0]
    assert first["verdict"] == "regressed"
    assert first["interval"][0] < first["ratio"] < first["interval"][1] < 0.97
    assert first["cpu_ratio"] == pytest.approx(1.1)
    assert "1.100" in text
    assert len(first["readings"][OLD]) == 10
    assert first["readings"][OLD][0] == {"value": 100.0, "cpu_us": 10}
    steal = told["conditions"]["echo/64/1"][OLD][0]
    assert steal == {"load": 0.51, "steal_before": 0.0, "steal": 0.0123}
