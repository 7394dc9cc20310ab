"""The other nodes: they come by beats, and go by a goodbye, by another boot, or by silence."""

from math import inf

import pytest
from tests.protocol.test_node_name import facts

from trio_socketio.codec.node_messages import NodeFacts
from trio_socketio.protocol.node_roster import MAX_NODES, Gone, Joined, Roster


def node(name: str, boot: str) -> NodeFacts:
    return facts(boot, name=name)


@pytest.mark.req("NODE-20")
def test_a_silent_node_is_gone_and_may_come_back() -> None:
    roster = Roster(3.0)
    assert roster.next_deadline() == inf
    a = node("a", "a1")
    assert roster.receive_beat(a, 0.0) == [Joined(a)]
    assert roster.receive_beat(a, 1.0) == []
    assert roster.next_deadline() == 4.0
    assert roster.advance(3.9) == []
    assert roster.advance(4.0) == [Gone(a, "is silent")]
    assert roster.peers == {}
    assert roster.receive_beat(a, 9.0) == [Joined(a)]


@pytest.mark.req("NODE-21")
def test_a_node_that_says_goodbye_is_gone_at_once_and_for_good() -> None:
    roster = Roster(3.0)
    a = node("a", "a1")
    roster.receive_beat(a, 0.0)
    assert roster.receive_bye("a", "a0") == []
    assert roster.receive_bye("a", "a1") == [Gone(a, "has left")]
    assert roster.receive_bye("a", "a1") == []
    assert roster.receive_beat(a, 0.1) == []  # it was under way
    assert roster.peers == {}


@pytest.mark.req("NODE-16")
def test_another_boot_replaces_a_node_for_good() -> None:
    roster = Roster(3.0)
    before, after = node("a", "a1"), node("a", "a2")
    roster.receive_beat(before, 0.0)
    assert roster.receive_beat(after, 1.0) == [Gone(before, "was replaced"), Joined(after)]
    assert roster.receive_beat(before, 1.1) == []
    assert roster.peers["a"].node is after


@pytest.mark.req("NODE-22")
def test_nobody_is_gone_because_this_program_has_not_run() -> None:
    roster = Roster(3.0)
    roster.receive_beat(node("a", "a1"), 0.0)
    roster.pardon(10.0, 11.0)
    assert roster.advance(12.9) == []
    roster.receive_beat(node("a", "a1"), 12.9)
    roster.pardon(10.0, 12.9)  # it was heard after the pause
    assert roster.next_deadline() == pytest.approx(15.9)


@pytest.mark.req("NODE-24")
def test_a_node_without_a_goodbye_may_have_clients_until_its_lease_must_have_ended() -> None:
    roster = Roster(3.0, keeps_s=10.0)
    a, b = node("a", "a1"), node("b", "b1")
    roster.receive_beat(a, 0.0)
    roster.receive_beat(b, 0.0)
    roster.receive_bye("b", "b1")
    roster.advance(3.0)
    assert list(roster.silent) == ["a"]
    roster.pardon(2.0, 5.0)  # it may have been back meanwhile: that was not read
    roster.advance(14.9)
    assert list(roster.silent) == ["a"]
    roster.advance(15.0)
    assert roster.silent == {}
    roster.receive_beat(a, 16.0)
    roster.advance(19.0)
    assert list(roster.silent) == ["a"]
    roster.receive_beat(a, 20.0)
    assert roster.silent == {}
    roster.advance(23.0)
    assert list(roster.silent) == ["a"]
    assert roster.receive_bye("a", "a0") == []
    assert list(roster.silent) == ["a"]
    assert roster.receive_bye("a", "a1") == []
    assert roster.silent == {}
    assert "a" in roster.departed


def test_the_nodes_are_bounded() -> None:
    roster = Roster(3.0)
    for number in range(MAX_NODES + 1):
        roster.receive_beat(node(f"n{number}", "b"), 0.0)
    assert len(roster.peers) == MAX_NODES
    assert roster.ignored == 1
    for number in range(2 * MAX_NODES):
        roster.receive_bye("x", f"b{number}")
    assert len(roster._ended) == MAX_NODES
