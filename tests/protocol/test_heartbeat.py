from math import inf

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trio_socketio.protocol.heartbeat import Beat, ClientHeartbeat, Heartbeat

INTERVAL, TIMEOUT = 25, 20


def heartbeat() -> Heartbeat:
    """One whose handshake was at 100."""
    return Heartbeat(INTERVAL, TIMEOUT, ping_at=100 + INTERVAL)


@pytest.mark.req("EIO4-35")
def test_a_ping_is_due_an_interval_after_the_handshake() -> None:
    beat = heartbeat()
    assert beat.next_deadline() == 125
    assert beat.tick(124.999) is Beat.NOTHING
    assert beat.tick(125) is Beat.PING


@pytest.mark.req("EIO4-35")
def test_the_next_ping_is_due_an_interval_after_the_pong() -> None:
    beat = heartbeat()
    assert beat.tick(125) is Beat.PING
    beat.receive_pong(131)
    assert beat.next_deadline() == 156
    assert beat.tick(155.999) is Beat.NOTHING
    assert beat.tick(156) is Beat.PING


@pytest.mark.req("BND-09")
def test_reading_that_stops_again_and_again_does_not_put_off_the_next_ping() -> None:
    beat = heartbeat()
    for now in range(101, 125, 3):
        beat.excuse(now)
    assert beat.next_deadline() == 125
    assert beat.tick(125) is Beat.PING
    for now in range(126, 150, 3):  # the pong stands behind what is not read
        beat.excuse(now)
        assert beat.tick(now) is Beat.NOTHING
    assert beat.next_deadline() == 150
    assert not beat.is_dead(169.9)
    assert beat.tick(150) is Beat.PING


def test_a_ping_is_asked_for_once() -> None:
    beat = heartbeat()
    assert [beat.tick(now) for now in (125, 125, 130, 144)] == [Beat.PING, *[Beat.NOTHING] * 3]


@pytest.mark.req("EIO4-17")
def test_a_peer_without_pong_is_dead_after_the_timeout() -> None:
    beat = heartbeat()
    assert beat.tick(125) is Beat.PING
    assert beat.next_deadline() == 145
    assert beat.tick(144.999) is Beat.NOTHING
    assert beat.is_dead(144.999) is False
    assert beat.is_dead(145) is True
    assert beat.tick(145) is Beat.DEAD
    assert beat.tick(10_000) is Beat.DEAD


def test_a_late_clock_gives_the_peer_no_more_time() -> None:
    beat = heartbeat()
    assert beat.tick(140) is Beat.PING
    assert beat.next_deadline() == 145
    assert beat.tick(145) is Beat.DEAD


def test_a_ping_that_could_not_be_sent_in_time_is_a_death() -> None:
    beat = heartbeat()
    assert beat.is_dead(144.999) is False
    assert beat.is_dead(145) is True
    assert beat.tick(145) is Beat.DEAD


def test_a_pong_that_nobody_asked_for_counts() -> None:
    beat = heartbeat()
    beat.receive_pong(120)
    assert beat.next_deadline() == 145
    assert beat.dead_at == inf
    assert beat.tick(144) is Beat.NOTHING


def test_it_is_small() -> None:
    assert not hasattr(heartbeat(), "__dict__")


class HeartbeatAgainstAModel(RuleBasedStateMachine):
    """The model: when the current ping is due, and whether it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.due = 125.0
        self.sent = False
        self.machine = heartbeat()

    @rule(step=st.sampled_from([0, 1, 5, 19, 20, 24, 25, 44, 45]))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def tick(self) -> None:
        expected = Beat.NOTHING
        if self.now - self.due >= TIMEOUT:
            expected = Beat.DEAD
        elif self.now >= self.due and not self.sent:
            expected, self.sent = Beat.PING, True
        assert self.machine.tick(self.now) is expected

    @rule()
    def pong(self) -> None:
        self.machine.receive_pong(self.now)
        self.due, self.sent = self.now + INTERVAL, False

    @invariant()
    def deadlines_agree(self) -> None:
        assert self.machine.next_deadline() == self.due + (TIMEOUT if self.sent else 0)
        assert self.machine.is_dead(self.now) is (self.now - self.due >= TIMEOUT)


@pytest.mark.req("EIO4-17", "EIO4-35")
def test_heartbeat_against_a_model() -> None:
    run_state_machine_as_test(HeartbeatAgainstAModel)


# --- revision 3: the client pings


def client_heartbeat() -> ClientHeartbeat:
    """One that was heard at 100."""
    beat = ClientHeartbeat(INTERVAL, TIMEOUT)
    beat.receive_pong(100)
    return beat


@pytest.mark.req("EIO3-06", "EIO3-07")
def test_a_client_that_pings_is_asked_for_nothing_and_dead_in_time() -> None:
    beat = client_heartbeat()
    assert beat.next_deadline() == 145
    assert [beat.tick(now) for now in (100, 125, 144.999)] == [Beat.NOTHING] * 3
    assert not beat.is_dead(144.999)
    assert beat.is_dead(145)
    assert beat.tick(145) is Beat.DEAD


@pytest.mark.req("EIO3-08")
def test_whatever_a_client_sends_moves_its_death() -> None:
    beat = client_heartbeat()
    beat.receive_pong(144)
    assert beat.next_deadline() == 189


@pytest.mark.req("EIO3-29")
def test_a_client_that_is_not_read_must_hear_something_before_it_gives_up() -> None:
    beat = client_heartbeat()
    beat.pause(140)
    assert beat.next_deadline() == 150
    assert not beat.is_dead(150)
    beat.receive_pong(155)
    assert beat.next_deadline() == 200
