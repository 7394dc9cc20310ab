"""The life of a worker, over all its processes, and how many deaths are too many."""

from collections.abc import Iterable
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.worker_life import (
    LONGEST_WAIT_S,
    LOOK_S,
    MAX_DEATHS,
    NOTICE_S,
    STEADY_S,
    TRANSITIONS,
    WINDOW_S,
    Deaths,
    Input,
    Silence,
    State,
    Verdict,
    WorkerLife,
    advance,
)


@pytest.mark.req("WORK-01")
@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Input.READY], State.SERVING),
        ([Input.READY, Input.DRAIN, Input.ENDED], State.DEAD),
        ([Input.DRAIN, Input.READY, Input.ENDED], State.DEAD),
        ([Input.ENDED], State.WAITING),
        ([Input.ENDED, Input.TIME_CAME, Input.READY, Input.ENDED], State.WAITING),
        ([Input.ENDED, Input.DRAIN], State.DEAD),
        ([Input.READY, Input.SILENT], State.BLOCKED),
        ([Input.READY, Input.SILENT, Input.ANSWERED], State.SERVING),
        ([Input.READY, Input.SILENT, Input.ENDED], State.WAITING),
        ([Input.READY, Input.SILENT, Input.DRAIN, Input.ANSWERED], State.DRAINING),
        ([Input.ENDED, Input.DRAIN, Input.DRAIN, Input.START], State.STARTING),
    ],
)
def test_a_worker_comes_this_far(events: list[Input], state: State) -> None:
    at = State.STARTING
    for event in events:
        at = advance(at, event)
    assert at is state


@pytest.mark.req("WORK-01")
@given(st.lists(st.sampled_from(Input)))
def test_what_cannot_happen_is_an_error_and_what_was_drained_comes_back_only_if_wanted(
    events: list[Input],
) -> None:
    state = State.STARTING
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(LocalProtocolError, match=f"{event.name} of a worker that is"):
                advance(state, event)
            continue
        before, state = state, advance(state, event)
        if before in (State.DEAD, State.DRAINING):
            assert state in (State.DEAD, State.DRAINING) or event is Input.START


def died(lives: Iterable[float], *, serves: bool) -> list[float]:
    """How long a worker that lives for these times waits each time that it has died."""
    now, waits = 1000.0, []
    life = WorkerLife(now)
    for lived_s in lives:
        if serves:
            life.ready(now)
        now += lived_s
        life.ended(now)
        waits.append(life.start_at - now)
        assert not life.look(life.start_at - 0.01)
        now = life.start_at
        assert life.look(now)
        assert not life.look(now)
        assert life.start_at == inf
    assert life.restarts == len(waits)
    return waits


@pytest.mark.req("WORK-02")
@pytest.mark.parametrize("serves", [True, False])
def test_it_is_started_again_at_once_and_then_after_longer_and_longer(serves: bool) -> None:
    assert died([5.0] * 7, serves=serves) == [0, 1, 2, 4, 8, LONGEST_WAIT_S, LONGEST_WAIT_S]


@pytest.mark.req("WORK-02")
def test_one_that_has_served_for_a_minute_is_started_again_at_once() -> None:
    assert died([1, 1, 1, STEADY_S, 1, 1], serves=True) == [0, 1, 2, 0, 1, 2]
    assert died([1, 1, STEADY_S], serves=False) == [0, 1, 2], "it has never served"


@pytest.mark.req("WORK-02")
def test_one_that_cannot_use_its_configuration_waits_long() -> None:
    life = WorkerLife(0)
    life.ended(1, refused=True)
    assert life.start_at == 1 + LONGEST_WAIT_S


def test_it_says_since_when_it_is_what_it_is() -> None:
    life = WorkerLife(1)
    life.ready(3)
    assert (life.state, life.since) == (State.SERVING, 3)
    life.drain(5)
    life.drain(6)
    assert (life.state, life.since) == (State.DRAINING, 5)
    life.ended(7)
    assert (life.state, life.since, life.start_at) == (State.DEAD, 7, inf)
    life.start(8)
    assert (life.state, life.since, life.restarts) == (State.STARTING, 8, 1)


def test_one_that_waits_is_not_started_any_more_once_it_was_told_to_drain() -> None:
    life = WorkerLife(0)
    life.ended(1)
    life.drain(1)
    assert life.state is State.DEAD
    assert not life.look(100)


def test_one_that_does_not_answer_is_blocked_until_it_does() -> None:
    life = WorkerLife(0)
    life.ready(1)
    life.silent(7)
    assert (life.state, life.since) == (State.BLOCKED, 7)
    life.answered(9)
    assert (life.state, life.since) == (State.SERVING, 9)


@pytest.mark.req("WORK-60", "WORK-61")
@pytest.mark.parametrize("most_s", [2.0, NOTICE_S, 30.0, 0.0])
def test_silence_is_noticed_once_and_later_it_is_too_long(most_s: float) -> None:
    silence = Silence(most_s)
    assert silence.look(50) is Verdict.NOTHING, "it has never said anything"
    assert silence.heard(100) == 0
    found = [silence.look(100 + second) for second in range(1, 61)]
    notice = int(min(NOTICE_S, most_s or NOTICE_S))
    assert found.index(Verdict.NOTICED) == notice - 1
    assert found.count(Verdict.NOTICED) == 1
    assert silence.is_noticed
    late = [at for at, one in enumerate(found, 1) if one is Verdict.TOO_LONG]
    assert late == ([int(max(most_s, notice + 1))] if most_s else [])
    assert silence.is_over is bool(most_s)


def test_an_answer_begins_anew_and_tells_how_long_it_was_awaited() -> None:
    silence = Silence(30.0)
    silence.heard(0)
    silence.is_asked = True
    for now in range(1, 5):
        assert silence.look(now) is Verdict.NOTHING
    assert silence.heard(4.5) == 0
    assert not silence.is_asked
    for now in range(5, 20):
        silence.look(now)
    assert silence.heard(20.5) == 16
    assert not silence.is_noticed
    assert silence.look(21.5) is Verdict.NOTHING


@pytest.mark.req("WORK-62")
@given(st.lists(st.floats(0, 1000), max_size=40))
def test_each_look_counts_for_a_second_at_most(steps: list[float]) -> None:
    silence, now, counted = Silence(30.0), 0.0, 0.0
    silence.heard(now)
    for step in steps:
        now += step
        counted += min(step, LOOK_S)
        verdict = silence.look(now)
        if counted < NOTICE_S - 0.01:
            assert verdict is Verdict.NOTHING
        if counted < 29.99:
            assert verdict is not Verdict.TOO_LONG
        if counted > NOTICE_S + 0.01:
            assert silence.is_noticed


@pytest.mark.req("WORK-63")
def test_a_process_that_was_stopped_is_noticed_but_its_time_does_not_run() -> None:
    silence = Silence(30.0)
    silence.heard(0)
    found = [silence.look(now, is_stopped=True) for now in range(1, 1000)]
    assert found.count(Verdict.NOTICED) == 1
    assert Verdict.TOO_LONG not in found
    assert [silence.look(1000 + now) for now in range(26)].index(Verdict.TOO_LONG) == 24


@pytest.mark.req("WORK-03")
@given(st.lists(st.floats(0.1, 40), max_size=30))
def test_more_than_five_deaths_in_a_minute_are_too_many(gaps: list[float]) -> None:
    deaths, times = Deaths(), [100.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    for number, now in enumerate(times, 1):
        recent = [one for one in times[:number] if now - one < WINDOW_S]
        assert deaths.note(now) == (len(recent) > MAX_DEATHS)


@pytest.mark.req("WORK-03")
def test_one_worker_alone_does_not_die_too_often_while_it_cannot_use_its_configuration() -> None:
    times = [number * LONGEST_WAIT_S for number in range(20)]
    assert all(later - earlier == LONGEST_WAIT_S for earlier, later in pairwise(times))
    deaths = Deaths()
    assert not any(map(deaths.note, times))
