"""Ratios of figures that were measured side by side, and how far they can be trusted."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

WORSE: Final = 0.97  # a smaller loss raises no alarm
UNSTEADY: Final = 1.25  # fastest round of a server to its slowest
FEWEST_PAIRS: Final = 5
RESAMPLES: Final = 10_000
SEED: Final = 20_240_229  # any fixed number: the same figures give the same verdict
OUTSIDE: Final = 0.025  # of the resamples on either side of a 95 % interval


class Change(StrEnum):
    """What became of a row between two commits."""

    REGRESSED = "regressed"
    UNCLEAR = "unclear"  # the interval holds the bound: it may have regressed, or not
    HELD = "held"
    IMPROVED = "improved"
    FAILED = "failed"  # the new side does not do what the old one did
    UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds of its 95 % interval."""

    estimate: float
    low: float
    high: float


def bootstrap_interval(ratios: Sequence[float]) -> Interval:
    """The median of the pairs' ratios, with the percentile bootstrap's 95 % interval.

    The median and not the geometric mean, since the noise of a shared machine comes in bursts. In
    simulations of ten pairs with noise of 3 %, of which one in five is off by another 10 to 60 %,
    the median's interval held the true ratio in 92 % to 94 % of the runs and the mean's in 85 % to
    87 %; the median found a loss of 8 % in 76 % of them, the mean in 46 %. Without bursts the mean
    finds a little more (at 6 %: 82 % against 67 %) and its interval is still too narrow (89 %).
    Logarithms make the interval of old to new the reciprocal one, whatever the number of pairs.

    Args:
        ratios: new to old, one for each pair; all above 0.
    Raises:
        ValueError: there are none.
    """
    if not ratios:
        raise ValueError("an interval needs at least one ratio")
    logs = [math.log(ratio) for ratio in ratios]
    rng = random.Random(SEED)
    found = sorted(statistics.median(rng.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    outside = int(RESAMPLES * OUTSIDE)
    return Interval(
        math.exp(statistics.median(logs)), math.exp(found[outside]), math.exp(found[-1 - outside])
    )


def judge_change(interval: Interval, *, less_is_better: bool) -> Change:
    """A row has regressed when its whole interval lies on the wrong side of the bound.

    Where less is better the bound is mirrored: 1 / 0.97.
    """
    low, high = interval.low, interval.high
    if less_is_better:
        low, high = 1 / high, 1 / low
    if high < WORSE:
        return Change.REGRESSED
    if low < WORSE:
        return Change.UNCLEAR
    return Change.IMPROVED if low > 1 / WORSE else Change.HELD


def round_ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """Ours to theirs in every round in which both were measured."""
    return {
        number: figure / theirs[number] for number, figure in ours.items() if theirs.get(number)
    }


def is_unsteady(figures: Sequence[float]) -> bool:
    """Whether the rounds of one server differ by more than 25 %."""
    return len(figures) > 1 and max(figures) > UNSTEADY * min(figures)
