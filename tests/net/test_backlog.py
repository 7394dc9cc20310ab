"""What a slow peer is given: time while it makes progress, and a bound on what waits for it."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.net.backlog import HARD_BOUND_FACTOR, Backlog

BOUND = 1000
PATIENCE_S = 10.0


def backlog() -> Backlog:
    return Backlog(BOUND, PATIENCE_S)


def test_what_was_refused_is_taken_once() -> None:
    slow = backlog()
    slow.unsent = memoryview(b"abc")
    assert bytes(slow.take()) == b"abc"
    assert bytes(slow.take()) == b""


@pytest.mark.req("HTTP-40")
def test_the_time_starts_over_the_bound_and_runs_while_nothing_is_taken() -> None:
    slow = backlog()
    slow.judge(BOUND, 100.0, progress=False)
    assert slow.gives_up_at == inf
    slow.judge(BOUND + 1, 101.0, progress=False)
    slow.judge(BOUND + 2, 105.0, progress=False)
    assert slow.gives_up_at == 111.0


@pytest.mark.req("HTTP-40")
@given(st.lists(st.tuples(st.integers(0, 2 * BOUND), st.booleans()), min_size=1))
def test_progress_gives_the_whole_time_anew(steps: list[tuple[int, bool]]) -> None:
    slow, since = backlog(), inf
    for now, (waiting, progress) in enumerate(steps):
        slow.judge(waiting, now, progress=progress)
        if waiting <= BOUND:
            since = inf
        elif progress or since == inf:
            since = now
        assert slow.gives_up_at == since + PATIENCE_S


@pytest.mark.req("HTTP-40")
def test_a_peer_is_taking_if_less_is_unconfirmed_than_before() -> None:
    slow = backlog()
    assert not slow.is_taking(500)
    assert not slow.is_taking(500)
    assert slow.is_taking(499)
    assert not slow.is_taking(499)
    assert not slow.is_taking(600)


@pytest.mark.req("HTTP-41")
def test_the_hard_bound_is_a_multiple_of_the_other() -> None:
    assert not backlog().is_too_long(BOUND * HARD_BOUND_FACTOR)
    assert backlog().is_too_long(BOUND * HARD_BOUND_FACTOR + 1)
