"""A node that is not heard fails what may not have reached it, and nothing else."""

from math import inf

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_socketio.protocol.hearing import INTERVAL_S, SILENCE_S, Due, Hearing


def is_silent(hearing: Hearing[str]) -> bool:
    """A call, as mypy does not know that other calls change it."""
    return hearing.is_silent


def test_nothing_is_asked_of_a_node_without_requests() -> None:
    hearing = Hearing[str]()
    assert hearing.next_deadline() == inf
    assert hearing.advance(100.0) == Due()
    assert hearing.add("poll", 100.0)
    assert not hearing.add("post", 100.0)
    assert hearing.next_deadline() == 100.0 + INTERVAL_S
    hearing.remove("poll")
    hearing.remove("post")
    assert hearing.advance(100.0 + INTERVAL_S) == Due()
    assert hearing.next_deadline() == inf


@pytest.mark.req("FWD-20")
def test_a_silent_node_fails_what_was_sent_since_it_was_heard() -> None:
    hearing = Hearing[str]()
    hearing.add("known", 0.0)
    assert hearing.advance(0.5) == Due(pulse=True)
    hearing.heard = True  # it answers, and then stands still
    assert hearing.advance(1.0) == Due(pulse=True)
    hearing.add("later", 1.1)
    assert hearing.advance(1.5) == Due(pulse=True)
    assert hearing.advance(2.0) == Due(pulse=True)
    assert not is_silent(hearing)
    assert hearing.next_deadline() == 1.0 + SILENCE_S
    assert hearing.advance(2.5) == Due(("later",), pulse=True)
    assert is_silent(hearing)
    assert hearing.requests() == ("known",)  # FWD-22
    assert hearing.advance(3.0) == Due(pulse=True)  # it is asked until it is heard again
    hearing.heard = True
    assert hearing.advance(3.5) == Due(pulse=True)
    assert not is_silent(hearing)


@pytest.mark.req("FWD-20")
def test_a_silent_node_is_asked_even_if_nothing_is_under_way() -> None:
    hearing = Hearing[str]()
    hearing.add("post", 0.0)
    assert hearing.advance(SILENCE_S) == Due(("post",), pulse=True)
    for number in range(1, 10):
        assert hearing.advance(SILENCE_S + number * INTERVAL_S) == Due(pulse=True)
    hearing.heard = True
    assert hearing.advance(20.0) == Due()
    assert hearing.next_deadline() == inf


class Hearings(RuleBasedStateMachine):
    """A node that is heard or not, and what it has been sent."""

    def __init__(self) -> None:
        super().__init__()
        self.hearing = Hearing[int]()
        self.now = 0.0
        self.number = 0
        self.sent_at: dict[int, float] = {}
        self.heard_at = -inf

    @rule()
    def send(self) -> None:
        if self.hearing.is_silent:
            return
        self.number += 1
        self.hearing.add(self.number, self.now)
        self.sent_at[self.number] = self.now

    @precondition(lambda self: self.sent_at)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.sent_at)))
        self.hearing.remove(number)
        del self.sent_at[number]
        self.hear()

    @rule()
    def hear(self) -> None:
        self.hearing.heard = True
        self.heard_at = self.now

    @rule(passes_s=st.sampled_from((0.1, 0.3, 0.5, 1.0)))
    def wait(self, passes_s: float) -> None:
        until = self.now + passes_s
        while self.hearing.next_deadline() <= until:
            self.now = max(self.now, self.hearing.next_deadline())
            self.advance()
        self.now = until

    def advance(self) -> None:
        for number in self.hearing.advance(self.now).failed:
            # It was sent after the node was heard, and the node was silent for long enough since.
            assert self.sent_at[number] >= self.heard_at
            assert self.now - self.heard_at >= SILENCE_S - 1e-9
            del self.sent_at[number]

    @invariant()
    def everything_ends_or_was_heard_of(self) -> None:
        assert set(self.hearing.requests()) == set(self.sent_at)
        for at in self.sent_at.values():
            if at > self.heard_at:
                assert self.now < at + SILENCE_S + INTERVAL_S


TestHearings = Hearings.TestCase
