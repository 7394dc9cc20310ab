"""What the soak calls growth."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

import pytest

from tests.endurance.places import Sample
from tests.endurance.verdict import MIB, fit, judge_growth, judge_rest

SAMPLE: Final = Sample(
    at_s=0.0,
    rss_bytes=70 * MIB,
    descriptors=100,
    tasks=40,
    deadlines=300,
    sessions=200,
    sockets=150,
    saved=40,
    online=150,
    opened=0,
    log_bytes=0,
    state_bytes=4 * MIB,
)
PER_S: Final = 100
"""How many clients come in a second."""


def watch(
    seconds: int = 200, change: Callable[[Sample], Sample] = lambda sample: sample
) -> list[Sample]:
    """Return samples with noise, each of them changed by a function."""
    dice = Random(1)
    samples = []
    for at in range(0, seconds, max(seconds // 60, 1)):
        noisy = replace(
            SAMPLE,
            at_s=float(at),
            opened=at * PER_S,
            rss_bytes=SAMPLE.rss_bytes + dice.randrange(MIB // 4),
            descriptors=SAMPLE.descriptors + dice.randrange(-30, 30),
            sessions=SAMPLE.sessions + dice.randrange(-60, 60),
            log_bytes=at * 30_000,
        )
        samples.append(change(noisy))
    return samples


def leak(bytes_of_each: float) -> Callable[[Sample], Sample]:
    """Have something left behind of each client."""
    return lambda one: replace(one, rss_bytes=one.rss_bytes + int(bytes_of_each * one.opened))


def test_noise_is_no_growth() -> None:
    told, faults = judge_growth("a", watch())
    assert faults == []
    assert "the memory grows by" in told[0]
    assert judge_growth("a", watch(1200)) == (judge_growth("a", watch(1200))[0], [])


@pytest.mark.parametrize(("seconds", "each"), [(200, 128), (1200, 16)])
def test_what_is_left_behind_of_every_client_is_found(seconds: int, each: float) -> None:
    """The longer the soak, the smaller the leak that it finds."""
    _, (fault,) = judge_growth("a", watch(seconds, leak(each)))
    assert fault.startswith("a: the memory grows by +")


def test_a_long_soak_has_a_bound_for_an_hour() -> None:
    """16 bytes of each client are 5.5 MiB in an hour, and would do for a shorter soak."""
    assert judge_growth("a", watch(200, leak(16)))[1] == []
    _, (fault,) = judge_growth("a", watch(3600, leak(16)))
    assert "at most 2.0" in fault  # MiB an hour, of which one is for what fills up once


def test_what_has_not_levelled_off_is_not_judged() -> None:
    assert judge_growth("a", watch(60, leak(1000)))[1] == []
    assert judge_growth("a", watch(60)[:10])[1] == []
    assert judge_growth("a", [])[1] == []


def test_growth_that_stops_is_no_slope() -> None:
    """A step up is as likely as not the end of growth; its margin covers it."""
    at = 100.0

    def step(one: Sample) -> Sample:
        return replace(one, rss_bytes=one.rss_bytes + (MIB // 2 if one.at_s > at else 0))

    assert judge_growth("a", watch(200, step))[1] == []


@pytest.mark.parametrize("what", ["descriptors", "tasks", "deadlines", "sessions", "saved"])
def test_numbers_that_grow_are_found(what: str) -> None:
    def grow(one: Sample) -> Sample:
        return replace(one, **{what: getattr(one, what) + int(one.at_s)})

    _, (fault,) = judge_growth("a", watch(200, grow))
    assert fault.startswith(f"a: {what} grow by")


def test_a_log_that_writes_a_line_for_everything_is_found() -> None:
    _, (fault,) = judge_growth(
        "a", watch(200, lambda one: replace(one, log_bytes=one.opened * 2000))
    )
    assert "the log grows by 200.0 kB a second" in fault


def test_files_of_the_state_that_grow_are_found() -> None:
    def grow(one: Sample) -> Sample:
        return replace(one, state_bytes=one.state_bytes + one.opened * 500)

    _, (fault,) = judge_growth("a", watch(200, grow))
    assert "the folder of [state] grows" in fault


def test_what_is_left_at_rest_is_found() -> None:
    assert judge_rest("a", SAMPLE, SAMPLE) == []
    assert judge_rest("a", SAMPLE, replace(SAMPLE, deadlines=302, rss_bytes=0)) == []
    left = replace(SAMPLE, descriptors=101, tasks=41, deadlines=303, online=151)
    assert [fault.split(": ")[1] for fault in judge_rest("a", SAMPLE, left)] == [
        *("descriptors", "tasks", "deadlines", "online")
    ]


def test_the_slope_of_a_line_is_certain() -> None:
    slope = fit([(float(x), 3.0 * x) for x in range(40)])
    assert slope is not None
    assert slope.per_s == pytest.approx(3)
    assert slope.margin == pytest.approx(0, abs=1e-9)
