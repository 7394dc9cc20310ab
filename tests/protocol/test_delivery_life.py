from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.delivery_life import TRANSITIONS, DeliveryLife, Input, State, advance

USERS = ("ann", "bob", "eve")
SCHEDULE_S = (5.0, 10.0, 15.0)
ENDS = (State.CONFIRMED, State.EXPIRED)


def new_life(users: tuple[str, ...] = USERS) -> DeliveryLife:
    return DeliveryLife(users, 100.0, SCHEDULE_S, 120.0)


@pytest.mark.req("DELIV-01")
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Input)
def test_only_the_inputs_of_the_table_are_taken(state: State, event: Input) -> None:
    following = TRANSITIONS.get((state, event))
    if following is None:
        with pytest.raises(LocalProtocolError, match=f"{event.name} of a delivery that is"):
            advance(state, event)
    else:
        assert advance(state, event) is following
    assert not (state in ENDS and following)


@pytest.mark.req("DELIV-02")
def test_copies_are_sent_by_the_schedule_to_those_who_have_not_confirmed() -> None:
    life = new_life()
    assert life.look(100.0) == USERS
    assert life.next_at == 105.0
    assert life.look(104.9) == ()
    assert life.confirm("bob")
    assert life.look(105.0) == ("ann", "eve")
    assert life.next_at == 110.0
    assert life.look(110.0) == life.look(115.0) == ("ann", "eve")
    assert life.next_at == 120.0


@pytest.mark.req("DELIV-03")
def test_a_delivery_ends_in_time_with_those_who_have_not_confirmed() -> None:
    life = new_life()
    life.look(100.0)
    life.confirm("ann")
    assert life.look(120.0) == ()
    assert life.state is State.EXPIRED
    assert tuple(life.pending) == ("bob", "eve")
    assert life.look(130.0) == ()


@pytest.mark.req("DELIV-03")
def test_a_delivery_that_nobody_attended_to_in_time_sends_nothing() -> None:
    life = new_life()
    assert life.look(120.0) == ()
    assert life.state is State.EXPIRED


@pytest.mark.req("DELIV-04")
def test_retries_that_were_missed_become_one() -> None:
    life = new_life()
    assert life.look(112.0) == USERS
    assert life.next_at == 115.0
    assert life.look(112.1) == ()


@pytest.mark.req("DELIV-05")
def test_a_confirmation_counts_once_and_not_after_the_end() -> None:
    life = new_life()
    life.look(100.0)
    assert life.confirm("ann")
    assert not life.confirm("ann")
    assert not life.confirm("somebody else")
    life.look(120.0)
    assert not life.confirm("bob")
    assert tuple(life.pending) == ("bob", "eve")


def test_a_delivery_is_over_when_all_have_confirmed() -> None:
    life = new_life()
    for user in USERS:
        assert not life.is_over
        life.confirm(user)  # before the first look as well: another process has sent copies
    assert life.state is State.CONFIRMED
    assert life.is_over
    assert life.look(105.0) == ()
    assert new_life(()).state is State.CONFIRMED


class Deliveries(RuleBasedStateMachine):
    """Compares a life with what its users can say about it."""

    life: DeliveryLife

    @initialize(
        users=st.sets(st.sampled_from(USERS), min_size=1),
        schedule=st.lists(st.floats(0.5, 50), max_size=5, unique=True).map(sorted),
        expires_s=st.floats(1, 60),
    )
    def begin(self, users: set[str], schedule: list[float], expires_s: float) -> None:
        self.now = 1000.0
        self.schedule = [self.now + after_s for after_s in schedule]
        self.expires_at = self.now + expires_s
        self.life = DeliveryLife(sorted(users), self.now, schedule, self.expires_at)
        self.waited_for = set(users)
        self.sent_at: float | None = None
        self.end: tuple[State, set[str]] | None = None

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        sent = self.life.look(self.now)
        is_due = self.sent_at is None or any(self.sent_at < at <= self.now for at in self.schedule)
        if self.end is not None:
            assert sent == ()
        elif self.now >= self.expires_at:
            assert sent == ()
            self.end = State.EXPIRED, set(self.waited_for)
        elif is_due:
            assert set(sent) == self.waited_for
            self.sent_at = self.now
        else:
            assert sent == ()

    @rule(user=st.sampled_from((*USERS, "mallory")))
    def confirm(self, user: str) -> None:
        is_new = self.end is None and user in self.waited_for
        assert self.life.confirm(user) is is_new
        if is_new:
            self.waited_for.remove(user)
            if not self.waited_for:
                self.end = State.CONFIRMED, set()

    @precondition(lambda self: self.end is not None)
    @invariant()
    def the_end_is_final(self) -> None:
        end: Any = self.end
        assert self.life.state is end[0]
        assert set(self.life.pending) == end[1]

    @precondition(lambda self: self.end is None and self.sent_at is not None)
    @invariant()
    def the_next_time_is_that_of_a_retry_or_the_end(self) -> None:
        assert self.sent_at is not None
        later = [at for at in self.schedule if at > self.sent_at]
        assert self.life.next_at == min([*later, self.expires_at][:1])


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
