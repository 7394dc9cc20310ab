"""The table of a node's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.incarnation import TRANSITIONS, Input, State, advance

BEGIN = [Input.STARTED, Input.ENROLLED, Input.SETTLED]


@pytest.mark.req("LEASE-22")
@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], State.LEASED),
        ([Input.LOST], State.SETTLING),
        ([Input.LOST, Input.LOST, Input.SETTLED], State.LEASED),
        ([Input.PASSED], State.ADRIFT),
        ([Input.PASSED, Input.RENEWED, Input.LOST, Input.SETTLED], State.LEASED),
        ([Input.PASSED, Input.ENDED], State.ENROLLING),
        ([Input.ENDED, Input.ENROLLED], State.SETTLING),
        ([Input.ENDED, Input.ENROLLED, Input.ENDED], State.ENROLLING),
        ([Input.LOST, Input.PASSED], State.ADRIFT),
        ([Input.STOPPED], State.OUT),
    ],
)
def test_a_node_comes_this_far(events: list[Input], state: State) -> None:
    at = State.OUT
    for event in BEGIN + events:
        at = advance(at, event)
    assert at is state


@pytest.mark.req("LEASE-22")
@given(st.lists(st.sampled_from(Input), max_size=30))
def test_seats_are_given_only_with_a_lease_that_was_not_doubted_since(events: list[Input]) -> None:
    state, has_lease = State.OUT, False
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(LocalProtocolError):
                advance(state, event)
            continue
        state = advance(state, event)
        if event in (Input.ENROLLED, Input.RENEWED):
            has_lease = True
        elif event in (Input.PASSED, Input.ENDED, Input.STOPPED):
            has_lease = False
        assert has_lease == (state in (State.SETTLING, State.LEASED))
        if state is State.LEASED:
            assert event is Input.SETTLED
