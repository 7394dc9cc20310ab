"""The table of a client's way into a namespace, and that of a socket's life."""

from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.joining import ENDS, STAGES, TRANSITIONS, State, advance

DECLINED = (State.REFUSED, State.ABANDONED)


@pytest.mark.req("JOIN-01")
def test_the_stages_come_in_this_order() -> None:
    state = STAGES[0]
    for following in (*STAGES[1:], State.JOINED):
        state = advance(state, following)
    assert [stage.name for stage in STAGES] == [
        "SEARCHING",
        "RESTORING",
        "AUTHENTICATING",
        "ACCEPTED",
        "MIDDLEWARE",
        "SEAT",
    ]


@pytest.mark.req("JOIN-01")
@given(st.sampled_from(STAGES), st.sampled_from(STAGES))
def test_stages_may_be_skipped_but_not_repeated(stage: State, following: State) -> None:
    if STAGES.index(following) > STAGES.index(stage):
        assert advance(stage, following) is following
    else:
        with pytest.raises(LocalProtocolError, match=f"{stage.name} cannot become"):
            advance(stage, following)


@pytest.mark.req("JOIN-02")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("end", DECLINED)
def test_every_stage_may_be_declined(stage: State, end: State) -> None:
    assert advance(stage, end) is end


@pytest.mark.req("JOIN-03")
@pytest.mark.parametrize("end", sorted(ENDS, key=attrgetter("name")))
@pytest.mark.parametrize("following", State)
def test_nothing_follows_an_end(end: State, following: State) -> None:
    with pytest.raises(LocalProtocolError, match=f"{end.name} cannot become {following.name}"):
        advance(end, following)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State) == {*STAGES, *ENDS}


class JoiningMachine(RuleBasedStateMachine):
    """Any sequence of wishes, against the position in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.state = STAGES[0]
        self.position = 0

    @rule(to=st.sampled_from(State))
    def move(self, to: State) -> None:
        over = self.state in ENDS
        backward = to in STAGES and STAGES.index(to) <= self.position
        if over or backward:
            with pytest.raises(LocalProtocolError):
                advance(self.state, to)
            return
        self.state = advance(self.state, to)
        if to in STAGES:
            self.position = STAGES.index(to)

    @invariant()
    def agrees(self) -> None:
        assert self.state in ENDS or STAGES[self.position] is self.state


TestJoiningMachine = JoiningMachine.TestCase
