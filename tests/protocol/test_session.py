from itertools import product
from math import inf
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.session import CLOSE_WAIT_S, TRANSITIONS, Input, SessionMachine, State

DIAGRAM: Final = {
    ("OPEN", "CLOSE_REQUESTED"): "CLOSING",
    ("OPEN", "PEER_LOST"): "CLOSED",
    ("CLOSING", "FLUSHED"): "CLOSED",
    ("CLOSING", "EXPIRED"): "CLOSED",
    ("CLOSING", "PEER_LOST"): "CLOSED",
}


@pytest.mark.req("EIO4-56")
@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_every_input_in_every_state(state: State, event: Input) -> None:
    machine = SessionMachine(state, expires_at=17.0)
    expected = DIAGRAM.get((state.name, event.name))
    if expected is None:
        with pytest.raises(LocalProtocolError, match=f"{event.name} .* {state.name}"):
            machine.receive(event, 20.0)
        assert machine == SessionMachine(state, 17.0)
    else:
        machine.receive(event, 20.0)
        assert machine == SessionMachine(State[expected], 50.0 if expected == "CLOSING" else inf)


def test_the_table_is_the_diagram() -> None:
    assert {(state.name, event.name): to.name for (state, event), to in TRANSITIONS.items()} == (
        DIAGRAM
    )
    assert [state.name for state in State] == ["OPEN", "CLOSING", "CLOSED"]


def test_a_session_starts_open_and_never_expires_by_itself() -> None:
    assert SessionMachine() == SessionMachine(State.OPEN, inf)


@pytest.mark.req("EIO4-56")
def test_a_closed_polling_session_waits_thirty_seconds() -> None:
    assert CLOSE_WAIT_S == 30
    machine = SessionMachine()
    machine.receive(Input.CLOSE_REQUESTED, 100.0)
    assert machine.expires_at == 130


def test_it_is_small() -> None:
    assert not hasattr(SessionMachine(), "__dict__")


class SessionAgainstAModel(RuleBasedStateMachine):
    """The model: when closing began, and whether it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.closing_at: int | None = None
        self.over = False
        self.machine = SessionMachine()

    def receive(self, event: Input, *, allowed: bool) -> None:
        if allowed:
            self.machine.receive(event, self.now)
        else:
            with pytest.raises(LocalProtocolError):
                self.machine.receive(event, self.now)

    @rule(step=st.integers(0, 40))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def close(self) -> None:
        allowed = self.closing_at is None and not self.over
        self.receive(Input.CLOSE_REQUESTED, allowed=allowed)
        if allowed:
            self.closing_at = self.now

    @rule(event=st.sampled_from([Input.FLUSHED, Input.EXPIRED, Input.PEER_LOST]))
    def end(self, event: Input) -> None:
        closing = self.closing_at is not None
        allowed = not self.over and (closing or event is Input.PEER_LOST)
        self.receive(event, allowed=allowed)
        self.over |= allowed

    @invariant()
    def they_agree(self) -> None:
        if self.over:
            assert self.machine == SessionMachine(State.CLOSED, inf)
        elif self.closing_at is None:
            assert self.machine == SessionMachine(State.OPEN, inf)
        else:
            assert self.machine == SessionMachine(State.CLOSING, self.closing_at + 30)


@pytest.mark.req("EIO4-56")
def test_session_against_a_model() -> None:
    run_state_machine_as_test(SessionAgainstAModel)
