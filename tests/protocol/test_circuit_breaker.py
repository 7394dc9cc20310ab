"""The table of the circuit breaker, and every order in which answers may come."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.circuit_breaker import TRANSITIONS, CircuitBreaker, Input, State

OPEN_S = 10.0
MAX = 3


def tripped() -> CircuitBreaker:
    breaker = CircuitBreaker(MAX, OPEN_S)
    for _ in range(MAX):
        turn = breaker.ask(0)
        assert turn is not None
        breaker.failed(turn, 0)
    return breaker


@pytest.mark.req("IDENT-20")
def test_it_opens_after_failures_in_a_row() -> None:
    breaker = tripped()
    assert breaker.state is State.OPEN
    assert breaker.ask(OPEN_S - 0.1) is None
    breaker = CircuitBreaker(MAX, OPEN_S)
    for _ in range(10):  # never as many in a row
        for _ in range(MAX - 1):
            breaker.failed(breaker.turn, 0)
        breaker.succeeded(breaker.turn)
    assert breaker.state is State.CLOSED


@pytest.mark.req("IDENT-21")
def test_one_question_decides_whether_it_closes_again() -> None:
    breaker = tripped()
    turn = breaker.ask(OPEN_S)
    assert turn is not None
    assert breaker.ask(OPEN_S) is None
    breaker.failed(turn, OPEN_S)
    assert breaker.ask(2 * OPEN_S - 0.1) is None
    turn = breaker.ask(2 * OPEN_S)
    assert turn is not None
    breaker.succeeded(turn)
    assert breaker.state is State.CLOSED
    breaker.failed(breaker.turn, 2 * OPEN_S)
    assert breaker.ask(2 * OPEN_S) is not None


@pytest.mark.req("IDENT-22")
def test_clients_that_leave_do_not_open_it() -> None:
    breaker = CircuitBreaker(MAX, OPEN_S)
    for _ in range(2 * MAX):
        turn = breaker.ask(0)
        assert turn is not None
        breaker.abandoned(turn)
    assert breaker.state is State.CLOSED
    breaker = tripped()
    turn = breaker.ask(OPEN_S)
    assert turn is not None
    breaker.abandoned(turn)
    assert breaker.ask(OPEN_S) is not None, "the next question decides instead"


def test_answers_to_earlier_questions_change_nothing() -> None:
    breaker = tripped()
    breaker.succeeded(0)
    breaker.failed(0, 0)
    breaker.abandoned(0)
    assert (breaker.state, breaker.cools_at) == (State.OPEN, OPEN_S)


def test_what_cannot_happen_is_an_error() -> None:
    breaker = tripped()
    with pytest.raises(LocalProtocolError, match="SUCCEEDED cannot happen to a breaker that is OP"):
        breaker.succeeded(breaker.turn)


def test_every_state_can_be_left() -> None:
    for state in State:
        assert any(before is state is not after for (before, _), after in TRANSITIONS.items())
    assert {occurrence for _, occurrence in TRANSITIONS} == set(Input)


class Questions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(MAX, OPEN_S)
        self.now = 0.0
        self.waiting: list[int] = []

    @rule(seconds=st.floats(0, 2 * OPEN_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        state = self.breaker.state
        turn = self.breaker.ask(self.now)
        assert (turn is None) == (
            state is State.HALF_OPEN or (state is State.OPEN and self.now < self.breaker.cools_at)
        )
        if turn is not None:
            self.waiting.append(turn)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), end=st.sampled_from(("succeeded", "failed", "abandoned")))
    def answer(self, data: st.DataObject, end: str) -> None:
        turn = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        if end == "failed":
            self.breaker.failed(turn, self.now)
        else:
            getattr(self.breaker, end)(turn)

    @invariant()
    def half_open_waits_for_one(self) -> None:
        if self.breaker.state is State.HALF_OPEN:
            assert self.waiting.count(self.breaker.turn) == 1

    @invariant()
    def open_ends(self) -> None:
        if self.breaker.state is State.OPEN:
            assert self.breaker.cools_at <= self.now + OPEN_S


TestQuestions = Questions.TestCase
