"""The table of a subscription's life."""

from itertools import product

import pytest

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.subscription_life import TRANSITIONS, Input, State, advance


@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_the_life_of_a_subscription_follows_its_table(state: State, event: Input) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=f"{event.name} of a subscription"):
            advance(state, event)


def test_it_can_end_everywhere_and_goes_on_nowhere_then() -> None:
    assert {state for state, event in TRANSITIONS if event is Input.END} == {
        *State,
    } - {State.OVER}
    assert not any(state is State.OVER for state, _ in TRANSITIONS)


def test_whoever_loses_its_turn_waits_for_the_next_one() -> None:
    state = State.RUNNING
    for event, following in ((Input.SUSPEND, State.WAITING), (Input.START, State.RUNNING)):
        state = advance(state, event)
        assert state is following
