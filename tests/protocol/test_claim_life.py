"""The table of a claim's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.claim_life import TRANSITIONS, Input, State, advance


@pytest.mark.req("PRES-50")
@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Input.CLAIMED, Input.ENTERED, Input.LEFT, Input.SETTLED], State.OVER),
        ([Input.CLAIMED, Input.ENTERED, Input.LOST, Input.LEFT, Input.SETTLED], State.OVER),
        ([Input.CLAIMED, Input.LOST, Input.EVICTED], State.OVER),
        ([Input.CLAIMED, Input.LEFT], State.RELEASING),
        ([Input.LEFT, Input.EVICTED], State.RELEASING),
        ([Input.REFUSED, Input.LEFT], State.OVER),
        ([Input.EVICTED, Input.CLAIMED, Input.LEFT], State.OVER),
        ([Input.CLAIMED, Input.EVICTED, Input.LEFT], State.OVER),
        ([Input.CLAIMED, Input.ENTERED, Input.EVICTED, Input.LOST], State.OVER),
        ([Input.CLAIMED, Input.ENTERED, Input.LOST], State.LINGERING),
        ([Input.FENCED, Input.CLAIMED, Input.LEFT], State.OVER),
        ([Input.FENCED, Input.REFUSED, Input.LEFT], State.OVER),
    ],
)
def test_a_claim_comes_this_far(events: list[Input], state: State) -> None:
    at = State.ASKING
    for event in events:
        at = advance(at, event)
    assert at is state


@pytest.mark.req("PRES-50")
@given(st.lists(st.sampled_from(Input)))
def test_a_claim_is_released_at_most_once_and_its_end_is_for_good(events: list[Input]) -> None:
    state, releases = State.ASKING, 0
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(LocalProtocolError, match=f"{event.name} of a claim that is"):
                advance(state, event)
            continue
        before, state = state, advance(state, event)
        releases += state is State.RELEASING and before is not State.RELEASING
        assert before is not State.OVER or state is State.OVER
    assert releases <= 1


@pytest.mark.parametrize("state", [one for one in State if one is not State.RELEASING])
def test_others_may_end_a_claim_in_any_state(state: State) -> None:
    assert advance(state, Input.EVICTED) is State.OVER


@pytest.mark.parametrize("state", State)
def test_the_end_of_a_lease_ends_a_claim_in_any_state(state: State) -> None:
    assert advance(state, Input.FENCED) is State.OVER
