"""Lines that come too fast: some are written, and all others counted."""

import logging
from collections import Counter
from math import inf

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, trio_test

from trio_socketio.runtime import sampling
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.sampling import SUM_S, Pace, SampledLog, Sampler

log = logging.getLogger("test.sampled")


class Sums:
    """What a sampler tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, float]] = []
        self.counts = Counter[str]()

    def tell(self, kind: str, number: int, elapsed_s: float) -> None:
        self.told.append((kind, number, elapsed_s))
        self.counts[kind] += number


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_written_then_so_many_a_second() -> None:
    clock, sums = Clock(), Sums()
    sampler = Sampler[str](Pace(3, 2), SUM_S, sums.tell, clock)
    assert [sampler.admit("a") for _ in range(5)] == [3, 2, 1, 0, 0]
    clock.now += 0.5
    assert [sampler.admit("a"), sampler.admit("a")] == [1, 0]
    clock.now += 5
    assert [sampler.admit("a") for _ in range(4)] == [3, 2, 1, 0]
    assert sampler.admit("b") == 3  # another kind
    sampler.flush()
    assert sums.told == [("a", 4, 5.5)]


@pytest.mark.req("LOG-20")
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.1, 0.9, 11.0]))),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_every_line_is_written_or_counted(
    steps: list[tuple[str, float]], burst: int, per_s: int
) -> None:
    clock, sums = Clock(), Sums()
    sampler = Sampler[str](Pace(burst, per_s), SUM_S, sums.tell, clock)
    written = Counter[str]()
    began = clock.now
    for kind, pause_s in steps:
        clock.now += pause_s
        written[kind] += sampler.admit(kind) > 0
        quiet = (clock.now - began) // SUM_S + 1  # each time it was quiet begins anew
        assert written[kind] <= burst * quiet + per_s * (clock.now - began) + 1
    sampler.flush()
    assert written + sums.counts == Counter(kind for kind, _ in steps)
    assert sampler.next_deadline() == inf


def test_a_pace_may_change_at_any_time() -> None:
    clock, sums, pace = Clock(), Sums(), Pace(5, 5)
    sampler = Sampler[str](pace, SUM_S, sums.tell, clock)
    assert sampler.admit("a") == 5
    pace.burst = pace.per_s = 1
    assert [sampler.admit("a") for _ in range(3)] == [1, 0, 0]


def test_what_is_remembered_is_bounded() -> None:
    sums = Sums()
    sampler = Sampler[str](Pace(1, 0), SUM_S, sums.tell, Clock())
    for _ in range(3):
        sampler.admit("first")
    for number in range(sampling.MAX_KINDS + 5):
        sampler.admit(str(number))
    assert len(sampler._kinds) == sampling.MAX_KINDS
    assert sums.told == [("first", 2, 0.0)]


@pytest.mark.req("LOG-20")
@trio_test
async def test_a_sum_comes_although_no_more_lines_do(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "test.sampled")
    deadlines = Deadlines(0.01)
    lines = SampledLog(log, logging.INFO, Pace(2, 2), deadlines)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        for _ in range(1236):
            if lines.admits("storms"):
                log.info("a storm")
        await trio.sleep(SUM_S - 1)
        assert caplog.messages == ["a storm"] * 2
        await trio.sleep(2)
        assert caplog.messages[2:] == ["storms: 1,234 more in 10 s"]
        await trio.sleep(10 * SUM_S)
        assert len(caplog.messages) == 3  # nothing is told of nothing
        assert lines.admits("storms")
        lines.flush()
        assert len(caplog.messages) == 3
        nursery.cancel_scope.cancel()


@trio_test
async def test_without_a_listener_nothing_is_counted(autojump_clock: MockClock) -> None:
    quiet = logging.getLogger("test.sampled.quiet")
    quiet.setLevel(logging.ERROR)
    lines = SampledLog(quiet, logging.INFO, Pace(1, 1))
    assert not lines.admits("x")
    assert not lines._sampler._kinds
