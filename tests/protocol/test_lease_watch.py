"""A watcher judges leases only by its own clock and its own observations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.protocol.lease_watch import LeaseWatch

LEASE_S = 10.0


def note(watch: LeaseWatch, now: float, **leases: str) -> list[tuple[str, str]]:
    return watch.note(leases, 1, now, now)


def follow(watch: LeaseWatch, begin: float, end: float, **leases: str) -> list[tuple[str, str]]:
    ended: list[tuple[str, str]] = []
    now = begin
    while now < end:
        ended = note(watch, now, **leases)
        now += 0.5
    return ended


@pytest.mark.req("RSTORE-30")
def test_a_value_that_stays_for_a_lease_has_ended() -> None:
    watch = LeaseWatch(LEASE_S)
    assert follow(watch, 0, 10, a="1", b="1") == []
    assert note(watch, 10, a="1", b="2") == [("a", "1")]
    assert note(watch, 10.5, a="1", b="2") == [("a", "1")]  # until it is gone
    assert follow(watch, 11, 20, b="2") == []
    assert note(watch, 20, b="2") == [("b", "2")]


@pytest.mark.req("RSTORE-30")
def test_an_answer_counts_from_when_it_came_and_until_when_it_was_asked() -> None:
    watch = LeaseWatch(LEASE_S)
    watch.note({"a": "1"}, 1, 0, 1.0)
    follow(watch, 1.5, 10.5, a="1")
    assert watch.note({"a": "1"}, 1, 10.9, 11.5) == []
    assert watch.note({"a": "1"}, 1, 11.0, 12.0) == [("a", "1")]


@pytest.mark.req("RSTORE-31")
def test_after_a_break_everything_begins_anew() -> None:
    watch = LeaseWatch(LEASE_S)
    follow(watch, 0, 9, a="1")
    assert note(watch, 11.1, a="1") == []
    assert follow(watch, 11.5, 21, a="1") == []
    assert note(watch, 21.2, a="1") == [("a", "1")]


@pytest.mark.req("RSTORE-14")
def test_an_epoch_has_settled_after_a_lease_without_a_break() -> None:
    watch = LeaseWatch(LEASE_S)
    assert not watch.has_settled(1000)
    follow(watch, 0, 9.6)
    assert not watch.has_settled(9.9)
    assert watch.has_settled(10)
    watch.note({}, 2, 10, 10)
    assert not watch.has_settled(10)
    watch.note({}, 2, 13, 13)  # a break
    assert not watch.has_settled(20.5)
    assert watch.has_settled(23)


@given(st.lists(st.tuples(st.floats(0.1, 2.4), st.sampled_from("ab"), st.booleans()), max_size=60))
def test_a_node_that_renews_in_time_is_never_given_up(steps: list[Any]) -> None:
    watch, counters, renewed_at, now = (
        LeaseWatch(LEASE_S),
        {"a": 0, "b": 0},
        {"a": 0.0, "b": 0.0},
        0.0,
    )
    for passed_s, who, is_broken in steps:
        now += 50 if is_broken else passed_s
        for boot in "ab":
            if boot == who or now - renewed_at[boot] > 7:
                counters[boot] += 1
                renewed_at[boot] = now
        values = {boot: str(value) for boot, value in counters.items()}
        assert watch.note(values, 1, now, now) == []
