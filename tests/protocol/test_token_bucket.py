"""Token buckets: how often something may happen, and how much is remembered of it."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.protocol.token_bucket import (
    ENOUGH,
    SLACK_S,
    TokenBuckets,
    draw_of,
    token_rate,
)

gaps = st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 100))
rates = st.tuples(st.floats(0.01, 1000), st.integers(1, 50))
starts = st.sampled_from((0.0, 1.0, 123456.789, 1e6))


@given(rates, starts, st.lists(gaps, max_size=200))
def test_never_more_is_taken_than_has_come(
    rate: tuple[float, int], now: float, waits: list[float]
) -> None:
    """A bucket that is filled step by step says the same."""
    per_s, burst = rate
    buckets, tokens = TokenBuckets[str](10), float(burst)
    for gap in waits:
        now += gap
        tokens = min(burst, tokens + gap * per_s)
        wait_s = buckets.take("one", token_rate(per_s, burst), now)
        margin = (SLACK_S + 1e-8) * per_s + 1e-6
        if wait_s:
            assert tokens < 1 + margin
            assert abs(wait_s - (1 - tokens) / per_s) <= 2 * margin / per_s
        else:
            assert tokens >= 1 - margin
            tokens = max(tokens - 1, 0)


@given(rates, starts)
def test_a_full_bucket_gives_its_burst_and_then_says_when_to_come_back(
    rate: tuple[float, int], now: float
) -> None:
    per_s, burst = rate
    buckets = TokenBuckets[str](10)
    taken = [buckets.take("one", token_rate(per_s, burst), now) for _ in range(burst)]
    assert taken == [0.0] * burst
    wait_s = buckets.take("one", token_rate(per_s, burst), now)
    assert 0 < wait_s <= 1 / per_s + SLACK_S
    assert buckets.take("one", token_rate(per_s, burst), now) == wait_s  # a refusal takes nothing
    assert buckets.take("one", token_rate(per_s, burst), now + wait_s) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), gaps), max_size=100))
def test_buckets_know_nothing_of_each_other(events: list[tuple[int, float]]) -> None:
    rate, now = token_rate(1, 3), 0.0
    together = TokenBuckets[int](10)
    alone = {key: TokenBuckets[int](10) for key in range(6)}
    for key, gap in events:
        now += gap
        assert together.take(key, rate, now) == alone[key].take(key, rate, now)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 2)), max_size=150),
)
def test_full_buckets_are_forgotten_first_and_then_the_least_recently_used(
    most: int, events: list[tuple[int, float]]
) -> None:
    rate, now = token_rate(1, 3), 0.0
    buckets = TokenBuckets[int](most)
    full_at: dict[int, float] = {}  # least recently used first
    evicted = 0
    for key, gap in events:
        now += gap
        at = max(full_at.pop(key, now), now)
        wait_s = buckets.take(key, rate, now)
        if at + 1 - now <= 3 + SLACK_S:
            assert wait_s == 0.0
            at += 1
            if len(full_at) >= most:
                full_at = {one: when for one, when in full_at.items() if when > now}
            while len(full_at) >= most:
                full_at.pop(next(iter(full_at)))
                evicted += 1
        else:
            assert wait_s > 0
        full_at[key] = at
        assert len(buckets) <= most
    assert buckets.evicted == evicted


draws = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from((0.5, 1.0, 4.0)), st.integers(1, 3)),
    min_size=1, max_size=4, unique_by=lambda one: one[0],
)  # fmt: skip
"""Keys, each with the rate of its bucket, which changes from time to time."""


@given(st.lists(st.tuples(draws, st.integers(0, 8)), max_size=80))
def test_a_token_is_drawn_from_each_bucket_or_from_none(turns: list[tuple[Any, int]]) -> None:
    """It is the same as to take them one by one, and to give them back if one is missing."""
    together, singly, now = TokenBuckets[int](100), TokenBuckets[int](100), 0.0
    for keys, quarters in turns:
        now += quarters / 4  # without a rounding error that would add up
        rates = {key: token_rate(per_s, burst) for key, per_s, burst in keys}
        taken = list[int]()
        for key, rate in rates.items():
            if singly.take(key, rate, now):
                break
            taken.append(key)
        drawn = together.draw([draw_of(key, rate) for key, rate in rates.items()], now)
        assert drawn is (len(taken) == len(rates))
        if not drawn:
            for key in taken:
                singly.give_back(key, rates[key])
        for key in range(9):
            for rate in (token_rate(1, 3), token_rate(100, 300)):
                assert together.wait(key, rate, now, 2) == singly.wait(key, rate, now, 2)
    assert list(together._full_at) == list(singly._full_at)


@given(st.integers(1, 5), st.lists(st.tuples(draws, st.integers(0, 8)), max_size=80))
def test_draws_forget_full_buckets_first_and_then_the_least_recently_used(
    most: int, turns: list[tuple[Any, int]]
) -> None:
    buckets, now = TokenBuckets[int](most), 0.0
    full_at: dict[int, float] = {}  # least recently used first
    evicted = 0
    for keys, quarters in turns:
        now += quarters / 4
        missing = False
        for key, per_s, burst in keys:
            at = min(max(full_at.pop(key, now), now), now + burst / per_s)
            missing = at + 1 / per_s > now + burst / per_s
            full_at[key] = at
            if missing:
                break
        for key, per_s, _ in keys:
            if missing:
                break
            full_at[key] += 1 / per_s
        if len(full_at) > most:
            full_at = {one: at for one, at in full_at.items() if at > now}
        while len(full_at) > most:
            evicted += 1
            del full_at[next(iter(full_at))]
        drawn = buckets.draw([draw_of(key, token_rate(*rate)) for key, *rate in keys], now)
        assert drawn is not missing
        assert buckets._full_at == full_at
        assert list(buckets._full_at) == list(full_at)
        assert buckets.evicted == evicted
        assert len(buckets) <= most


def test_a_bucket_that_was_forgotten_is_full_whoever_has_kept_its_key() -> None:
    buckets, rate = TokenBuckets[str](2), token_rate(0.5, 1)
    ann, bob, carl = (draw_of(name, rate) for name in ("ann", "bob", "carl"))
    assert buckets.draw([ann], 0.0)
    assert not buckets.draw([ann], 0.0)
    assert buckets.draw([bob], 0.0)
    assert buckets.draw([carl], 0.0)
    assert buckets.evicted == 1
    assert buckets.draw([ann], 0.0)
    assert buckets.evicted == 2
    assert not buckets.draw([ann], 0.0)


class Key(int):
    """A key that counts how often buckets are looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        Key.looked_up += 1
        return int(self)


def test_few_buckets_are_looked_at_for_each_that_comes() -> None:
    """Otherwise whoever makes up keys could have all of them looked through each time."""
    rate, buckets = token_rate(0.001, 3), TokenBuckets[int](1000)
    Key.looked_up = 0
    for key in range(5000):
        assert buckets.take(Key(key), rate, 0.0) == 0.0
    assert Key.looked_up < 15 * 5000
    assert len(buckets) == 1000
    assert buckets.evicted == 4000
    assert buckets.take(4999, rate, 0.0) == 0.0  # the latest are the ones that are left
    assert buckets.take(4999, rate, 0.0) == 0.0
    assert buckets.take(4999, rate, 0.0) > 0
    for key in range(300):
        assert buckets.take(key, rate, 5000.0) == 0.0
    assert len(buckets) < 1000  # those that were full by then are gone


def test_many_full_buckets_are_forgotten_a_part_at_a_time() -> None:
    rate, buckets = token_rate(1, 1), TokenBuckets[int](3000)
    for key in range(3000):
        buckets.take(key, rate, 0.0)
    for key in range(3000, 7000):
        buckets.take(key, rate, 5.0)
        assert 3000 - ENOUGH <= len(buckets) <= 3000
    assert buckets.evicted == 1000  # when there were no full ones left


def test_full_buckets_go_before_those_in_use() -> None:
    buckets, slow, quick = TokenBuckets[str](3), token_rate(0.01, 2), token_rate(10, 2)
    buckets.take("slow", slow, 0.0)
    buckets.take("quick", quick, 0.0)
    buckets.take("other", quick, 0.0)
    buckets.take("slow", slow, 1.0)
    buckets.take("new", slow, 1.0)
    assert buckets.evicted == 0
    assert buckets.take("slow", slow, 1.0) > 0


def test_a_bucket_keeps_to_another_rate_from_then_on() -> None:
    buckets = TokenBuckets[str](3)
    assert buckets.take("one", token_rate(0.001, 1), 0.0) == 0.0
    assert buckets.take("one", token_rate(0.001, 1), 0.0) > 900
    assert buckets.take("one", token_rate(10, 1), 0.0) <= 0.1 + SLACK_S
    assert buckets.take("one", token_rate(10, 5), 0.2) == 0.0


def test_a_bucket_keeps_half_of_its_tokens() -> None:
    buckets, rate = TokenBuckets[str](3), token_rate(1, 4)
    assert buckets.wait_for_half("one", rate, 0.0) == 0.0
    for wait_s in (0.0, 1.0, 2.0):
        buckets.take("one", rate, 0.0)
        assert buckets.wait_for_half("one", rate, 0.0) == wait_s
    assert buckets.wait_for_half("one", rate, 2.0) == 0.0
    assert buckets.wait_for_half("one", rate, 2.0, 2) == 1.0
    assert buckets.wait_for_half("one", rate, 200.0, 2) == 0.0
    assert buckets.wait_for_half("one", rate, 200.0, 3) == inf
    assert len(buckets) == 1


@given(rates, starts, st.lists(st.tuples(gaps, st.integers(1, 60)), max_size=50))
def test_so_many_tokens_are_taken_or_none(
    rate: tuple[float, int], now: float, turns: list[tuple[float, int]]
) -> None:
    """It is the same as to take them one by one, if there are enough."""
    bucket, burst = token_rate(*rate), rate[1]
    together, singly = TokenBuckets[str](10), TokenBuckets[str](10)
    for gap, count in turns:
        now += gap
        wait_s = together.wait("one", bucket, now, count)
        assert together.take("one", bucket, now, count) == pytest.approx(wait_s, abs=SLACK_S)
        assert (wait_s == inf) is (count > burst)
        if wait_s == 0.0:
            assert [singly.take("one", bucket, now) for _ in range(count)] == [0.0] * count
        elif wait_s < inf:
            assert together.wait("one", bucket, now + wait_s, count) == 0.0
    assert bucket.capacity == burst


def test_one_bucket_is_kept_even_if_none_may_be() -> None:
    buckets = TokenBuckets[str](0)
    assert buckets.take("one", token_rate(1, 1), 0.0) == 0.0
    assert buckets.take("one", token_rate(1, 1), 0.0) > 0
