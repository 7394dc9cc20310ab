"""The name of a node: claimed, kept by beats that come back, lost, and claimed again."""

from itertools import count, product
from math import inf

import pytest

from trio_socketio.codec.node_messages import NodeFacts
from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.node_name import (
    TRANSITIONS,
    Count,
    Input,
    NodeName,
    SendBeat,
    SendBye,
    SendClaim,
    Settled,
    State,
)


def facts(boot: str, started_at_s: float = 100.0, name: str = "n") -> NodeFacts:
    return NodeFacts(
        name=name,
        boot=boot,
        host="elsewhere",
        pid=7,
        version="1",
        started_at_s=started_at_s,
        state="serving",
        connections=0,
    )


def claiming(now: float = 0.0) -> NodeName:
    """A node that has sent its claim."""
    node = NodeName("n", 100.0, (f"own{number}" for number in count(1)), 1.0, 3.0)
    assert node.begin(now) == [SendClaim()]
    return node


def member(now: float = 0.0) -> NodeName:
    node = claiming(now)
    actions = node.counted("own1", 1, now)
    assert actions[1:] == [SendBeat(1, asks=True)]
    return node


def states(actions: object) -> list[State]:
    assert isinstance(actions, list)
    return [one.state for one in actions if isinstance(one, Settled)]


@pytest.mark.req("NODE-11")
def test_a_name_that_nobody_listens_to_is_free_at_once() -> None:
    node = claiming()
    assert node.receive_claim(facts("own1"), 0.1) == [Count("own1")]
    assert node.receive_claim(facts("own1"), 0.2) == []  # counted once
    assert node.counted("own1", 2, 0.2) == []
    assert node.counted("another", 1, 0.2) == []
    assert states(node.counted("own1", 1, 0.2)) == [State.MEMBER]
    assert node.counted("own1", 1, 0.3) == []


@pytest.mark.req("NODE-13")
def test_a_name_whose_holder_is_silent_is_taken_over() -> None:
    node = claiming()
    for now in (1.0, 2.0, 3.0, 4.0, 5.0):  # nothing has come back: nobody has heard the claim
        assert node.advance(now) == [SendClaim()]
    node.receive_claim(facts("own1"), 5.5)
    node.counted("own1", 2, 5.6)
    assert node.advance(8.4) == [SendClaim()]
    assert node.next_deadline() == 8.5
    assert states(node.advance(8.5)) == [State.MEMBER]


def test_a_claim_is_not_won_by_a_pause() -> None:
    node = claiming()
    node.pardon(10.0, 0.2)
    node.receive_claim(facts("own1"), 0.5)
    node.pardon(10.0, 11.0)
    assert node.advance(11.0) == [SendClaim()]
    assert states(node.advance(13.5)) == [State.MEMBER]


def test_a_claim_that_comes_back_after_a_pause_is_not_put_off() -> None:
    node = claiming()
    node.receive_claim(facts("own1"), 10.0)
    node.pardon(9.0, 10.0)
    assert states(node.advance(13.0)) == [State.MEMBER]


@pytest.mark.req("NODE-12")
def test_a_name_whose_holder_lives_is_refused() -> None:
    node = claiming()
    (settled,) = node.receive_beat(facts("other", 500.0), 9, 0.2)
    assert settled == Settled(State.REFUSED, "another node has it", facts("other", 500.0))
    assert node.advance(3.1) == []
    assert node.receive_beat(facts("other"), 10, 3.1) == []  # it lives on
    assert node.advance(6.0) == []
    assert node.receive_claim(facts("third"), 6.0) == []
    assert node.advance(6.1) == [SendClaim()]
    assert node.state is State.CLAIMING
    assert node.boot == "own2"


def test_a_refused_node_claims_at_once_when_the_other_leaves() -> None:
    node = claiming()
    node.receive_beat(facts("other"), 9, 0.2)
    assert node.receive_bye("other", 1.0) == []
    assert node.advance(1.0) == [SendClaim()]
    assert node.receive_bye("other", 1.0) == []


@pytest.mark.req("NODE-12")
def test_a_member_answers_a_claim_to_its_name() -> None:
    node = member()
    assert node.receive_claim(facts("other"), 0.5) == [SendBeat(1, "n")]
    assert node.receive_claim(facts("own1"), 0.5) == []
    assert node.state is State.MEMBER


@pytest.mark.req("NODE-14")
@pytest.mark.parametrize("other", [facts("z", 99.0), facts("a", 100.0)])
def test_of_two_claims_the_older_one_wins(other: NodeFacts) -> None:
    node = claiming()
    assert states(node.receive_claim(other, 0.1)) == [State.REFUSED]
    node = claiming()
    assert node.receive_claim(facts("z", 100.0), 0.1) == [SendClaim()]
    assert node.state is State.CLAIMING


@pytest.mark.req("NODE-10")
def test_a_member_beats_once_a_second() -> None:
    node = member()
    assert node.advance(0.9) == []
    assert node.advance(1.0) == [SendBeat(2)]
    assert node.receive_beat(facts("own1"), 2, 1.25) == []
    assert node.lag_s == 0.25
    assert node.receive_beat(facts("own1"), 1, 1.5) == []  # an older one says nothing of the lag
    assert node.lag_s == 0.25
    assert node.announce(1.5) == [SendBeat(3)]
    assert node.answer("b") == [SendBeat(3, "b")]
    assert node.next_deadline() == 2.5


@pytest.mark.req("NODE-15")
def test_a_member_that_does_not_hear_itself_claims_anew() -> None:
    node = member()
    for now in (1.0, 2.0):
        assert node.advance(now) == [SendBeat(int(now) + 1)]
    lost, claim = node.advance(3.0)
    assert isinstance(lost, Settled)
    assert (lost.state, claim) == (State.CLAIMING, SendClaim())
    assert node.boot == "own2"
    assert node.receive_beat(facts("own2"), 3, 3.1) == []  # claims only are of use now
    assert node.announce(3.1) == node.answer("b") == []
    assert node.reconnected(3.1) == [SendClaim()]


@pytest.mark.req("NODE-18")
def test_a_member_whose_connection_was_lost_claims_anew() -> None:
    node = member()
    lost, claim = node.reconnected(0.5)
    assert isinstance(lost, Settled)
    assert (lost.state, claim) == (State.CLAIMING, SendClaim())
    assert node.boot == "own2"
    node.receive_beat(facts("other"), 1, 0.6)
    assert node.reconnected(0.7) == []


def test_two_members_of_one_name_claim_anew() -> None:
    node = member()
    assert states(node.receive_beat(facts("other"), 1, 0.5)) == [State.CLAIMING]


@pytest.mark.req("NODE-21")
def test_a_member_says_goodbye() -> None:
    node = member()
    assert node.end() == [SendBye()]
    assert node.end() == []
    assert node.next_deadline() == inf
    assert node.advance(100.0) == []
    assert node.receive_beat(facts("other"), 1, 100.0) == []


def test_a_node_that_is_no_member_leaves_without_a_word() -> None:
    assert claiming().end() == []
    node = NodeName("n", 1.0, iter(["b"]), 1.0, 3.0)
    assert node.receive_claim(facts("b"), 0.0) == []
    assert node.end() == []


def test_the_table_is_whole() -> None:
    for state, occurrence in product(State, Input):
        node = NodeName("n", 1.0, (str(number) for number in count()), 1.0, 3.0)
        node.state = state
        if (state, occurrence) in TRANSITIONS:
            node._move(occurrence)
            assert node.state is TRANSITIONS[state, occurrence]
        else:
            with pytest.raises(LocalProtocolError, match=occurrence.name):
                node._move(occurrence)
