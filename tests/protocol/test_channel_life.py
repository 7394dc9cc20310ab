"""The table of the life of a channel of Redis."""

from itertools import product

import pytest

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.channel_life import TRANSITIONS, Input, State, advance


@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_the_life_of_a_channel_follows_its_table(state: State, event: Input) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=f"{event.name} of a channel"):
            advance(state, event)


@pytest.mark.req("REDIS-29")
def test_every_connection_asks_anew() -> None:
    living = set(State) - {State.LEFT}
    assert {advance(state, Input.DISCONNECT) for state in living} == {State.IDLE}
    assert advance(State.IDLE, Input.ASK) is State.ASKED


@pytest.mark.req("REDIS-30")
def test_what_was_left_stays_left() -> None:
    assert {advance(state, Input.LEAVE) for state in set(State) - {State.LEFT}} == {State.LEFT}
    assert {state for (before, _), state in TRANSITIONS.items() if before is State.LEFT} == {
        State.LEFT
    }
