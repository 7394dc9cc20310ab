"""Which results of probes end a connection to Redis."""

import pytest

from trio_socketio.protocol.redis_liveness import MAX_BEHIND, Liveness, Verdict


@pytest.mark.req("REDIS-31")
def test_messages_that_come_back_keep_the_connection() -> None:
    liveness = Liveness()
    for number in range(1, 10):
        assert liveness.next_probe(number) == number
        liveness.answered()
        liveness.came_back()
        assert liveness.judge(number) is Verdict.BACK
        assert not liveness.is_dead


@pytest.mark.req("REDIS-31")
@pytest.mark.parametrize("is_answered", [True, False])
def test_the_second_miss_in_a_row_ends_the_connection(is_answered: bool) -> None:
    """Whether the subscriber is starved or everything stands still."""
    liveness = Liveness()
    for is_last in (False, True):
        liveness.next_probe(100)
        if is_answered:
            liveness.answered()
        assert liveness.judge(200 if is_answered else 100) is Verdict.MISSED
        assert liveness.is_dead is is_last


@pytest.mark.req("REDIS-31")
def test_misses_that_are_not_in_a_row_do_not_count() -> None:
    liveness = Liveness()
    for _ in range(5):
        liveness.next_probe(1)
        assert liveness.judge(1) is Verdict.MISSED
        liveness.next_probe(1)
        liveness.came_back()
        assert liveness.judge(2) is Verdict.BACK
    assert not liveness.is_dead


@pytest.mark.req("REDIS-32")
def test_an_answer_behind_other_input_is_waited_for() -> None:
    liveness = Liveness()
    liveness.next_probe(0)
    for read in range(MAX_BEHIND):
        assert liveness.judge(read + 1) is Verdict.BEHIND
    liveness.came_back()
    assert liveness.judge(MAX_BEHIND + 1) is Verdict.BACK


@pytest.mark.req("REDIS-31")
def test_the_wait_has_a_bound() -> None:
    """A server that sends on and on, and never answers, is found as well."""
    liveness = Liveness()
    read = 0
    while not liveness.is_dead:
        liveness.next_probe(read)
        verdict = Verdict.BEHIND
        while verdict is Verdict.BEHIND:
            read += 1
            verdict = liveness.judge(read)
    assert read == 2 * (MAX_BEHIND + 1) == 14


@pytest.mark.req("REDIS-32")
def test_input_that_stops_is_no_excuse() -> None:
    liveness = Liveness()
    liveness.next_probe(0)
    assert liveness.judge(5) is Verdict.BEHIND
    assert liveness.judge(5) is Verdict.MISSED
