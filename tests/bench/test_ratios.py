"""The statistics of the bench."""

import random

import pytest
from bench.ratios import (
    Change,
    Interval,
    bootstrap_interval,
    is_unsteady,
    judge_change,
    round_ratios,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties import examples

STEADY = [0.99, 1.0, 1.01, 0.98, 1.02, 1.0, 0.99, 1.01, 1.0, 1.0]


def test_equal_pairs_have_an_interval_without_width() -> None:
    assert bootstrap_interval([1.0] * 10) == Interval(1.0, 1.0, 1.0)


def test_no_pairs_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])


def test_the_same_figures_have_the_same_interval() -> None:
    assert bootstrap_interval(STEADY) == bootstrap_interval(STEADY)


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=20))
def test_the_interval_holds_its_estimate_and_mirrors(found: list[float]) -> None:
    interval = bootstrap_interval(found)
    slack = 1 + 1e-9
    assert min(found) <= interval.low * slack
    assert interval.low <= interval.estimate * slack
    assert interval.estimate <= interval.high * slack
    assert interval.high <= max(found) * slack
    mirrored = bootstrap_interval([1 / ratio for ratio in found])
    assert mirrored.estimate == pytest.approx(1 / interval.estimate)
    assert mirrored.low == pytest.approx(1 / interval.high)
    assert mirrored.high == pytest.approx(1 / interval.low)


@pytest.mark.parametrize(
    ("low", "high", "more", "less"),
    [
        (0.90, 0.96, Change.REGRESSED, Change.IMPROVED),
        (0.90, 0.97, Change.UNCLEAR, Change.HELD),  # the bound itself is no regression
        (0.96, 1.20, Change.UNCLEAR, Change.UNCLEAR),
        (0.98, 1.02, Change.HELD, Change.HELD),
        (0.98, 1.04, Change.HELD, Change.UNCLEAR),
        (1.04, 1.10, Change.IMPROVED, Change.REGRESSED),
        (0.80, 1.30, Change.UNCLEAR, Change.UNCLEAR),
    ],
)
def test_a_verdict_asks_for_the_whole_interval(
    low: float, high: float, more: Change, less: Change
) -> None:
    interval = Interval((low + high) / 2, low, high)
    assert judge_change(interval, less_is_better=False) is more
    assert judge_change(interval, less_is_better=True) is less


def test_a_loss_is_found_and_one_bad_minute_is_not() -> None:
    slower = bootstrap_interval([ratio * 0.9 for ratio in STEADY])
    assert judge_change(slower, less_is_better=False) is Change.REGRESSED
    one = bootstrap_interval([*STEADY[:9], 0.4])
    assert judge_change(one, less_is_better=False) is Change.HELD
    two = bootstrap_interval([*STEADY[:8], 0.4, 0.5])
    assert judge_change(two, less_is_better=False) is Change.UNCLEAR


def test_noise_alone_is_seldom_a_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ratios.RESAMPLES", 400)
    rng = random.Random(7)

    def pair(true: float) -> float:
        burst = rng.choice((0.6, 1.6)) if rng.random() < 0.2 else 1.0
        return true * burst * rng.lognormvariate(0, 0.04)

    def regressed(true: float) -> int:
        found = [bootstrap_interval([pair(true) for _ in range(10)]) for _ in range(100)]
        return sum(judge_change(one, less_is_better=False) is Change.REGRESSED for one in found)

    assert regressed(1.0) <= 2
    assert regressed(0.85) >= 70


def test_a_ratio_needs_both_servers_in_the_round() -> None:
    assert round_ratios({1: 10, 2: 30, 4: 8}, {1: 5, 3: 7, 4: 0}) == {1: 2}


def test_rounds_are_unsteady_above_a_quarter() -> None:
    assert not is_unsteady([])
    assert not is_unsteady([100])
    assert not is_unsteady([100, 125, 110])
    assert is_unsteady([100, 126, 110])
