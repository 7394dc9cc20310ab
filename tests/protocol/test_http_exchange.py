"""The table of the requests of one HTTP/1.1 connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.http_exchange import AT_REST, TRANSITIONS, Input, State, advance

DUE = {State.HEAD, State.ANSWERING, State.BODY, State.COMPLETE}


def follow(*events: Input, state: State = State.FRESH) -> State:
    for event in events:
        state = advance(state, event)
    return state


@pytest.mark.parametrize("first", [[], [Input.BYTES], [Input.REQUEST, Input.ANSWER]])
@pytest.mark.parametrize("head", [[], [Input.BYTES]])
@pytest.mark.parametrize("body", [[], [Input.READ], [Input.READ, Input.WHOLE]])
def test_a_request_is_answered_and_the_next_may_follow(
    first: list[Input], head: list[Input], body: list[Input]
) -> None:
    if first == [Input.BYTES]:
        head = []  # its bytes have come already
    state = follow(*first, *head, Input.REQUEST, *body)
    assert state in DUE
    assert follow(Input.ANSWER, state=state) is State.RESTING


@pytest.mark.req("HTTP-15")
@pytest.mark.parametrize("state", [State.ANSWERING, State.BODY, State.COMPLETE])
@pytest.mark.parametrize("event", [Input.BYTES, Input.REQUEST])
def test_the_next_request_waits_for_the_answer(state: State, event: Input) -> None:
    with pytest.raises(LocalProtocolError, match=f"{event.name} of .* that is {state.name}"):
        follow(event, state=state)


@pytest.mark.req("HTTP-03")
def test_only_the_first_bytes_begin_a_head() -> None:
    with pytest.raises(LocalProtocolError):
        follow(Input.BYTES, Input.BYTES)


@pytest.mark.parametrize("events", [[Input.READ], [Input.READ, Input.WHOLE]])
def test_a_body_is_asked_for_once(events: list[Input]) -> None:
    with pytest.raises(LocalProtocolError, match="READ of"):
        follow(Input.REQUEST, *events, Input.READ)


@pytest.mark.parametrize("state", State)
def test_an_error_is_sent_only_where_an_answer_is_due(state: State) -> None:
    if state in DUE:
        assert follow(Input.REFUSE, state=state) is State.ENDED
    else:
        with pytest.raises(LocalProtocolError, match="REFUSE of"):
            follow(Input.REFUSE, state=state)


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
def test_every_state_can_end(state: State) -> None:
    assert follow(Input.END, state=state) is State.ENDED


@pytest.mark.parametrize("event", Input)
def test_nothing_follows_the_end(event: Input) -> None:
    with pytest.raises(LocalProtocolError, match=f"{event.name} of .* that is ENDED"):
        follow(event, state=State.ENDED)


@given(st.sampled_from(State), st.sampled_from(Input))
def test_what_is_at_rest_has_nothing_of_a_request(state: State, event: Input) -> None:
    if state in TRANSITIONS[event]:
        following = advance(state, event)
        assert (following in AT_REST) == (event is Input.ANSWER)
        assert (event in (Input.BYTES, Input.REQUEST)) <= (state in {*AT_REST, State.HEAD})


class ExchangeMachine(RuleBasedStateMachine):
    """Whatever happens: as many answers as requests, in turn, and at most one is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.FRESH
        self.pending = 0

    @rule(event=st.sampled_from([event for event in Input if event is not Input.END]))
    def happen(self, event: Input) -> None:
        try:
            self.state = advance(self.state, event)
        except LocalProtocolError:
            return
        self.pending += event is Input.REQUEST
        self.pending -= event is Input.ANSWER
        if event in (Input.REFUSE, Input.SWITCH):
            self.pending = 0

    @precondition(lambda self: self.state is not State.ENDED)
    @rule()
    def end(self) -> None:
        self.state = advance(self.state, Input.END)
        self.pending = 0

    @invariant()
    def at_most_one_is_pending(self) -> None:
        waiting = self.state in (State.ANSWERING, State.BODY, State.COMPLETE)
        assert self.pending == (1 if waiting else 0)


TestExchange = ExchangeMachine.TestCase
