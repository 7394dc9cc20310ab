from itertools import product
from math import inf
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.upgrade import TRANSITIONS, Input, State, UpgradeMachine

TIMEOUT: Final = 10

DIAGRAM: Final = {
    ("POLLING", "CANDIDATE_OPENED"): "CANDIDATE",
    ("CANDIDATE", "PROBE_RECEIVED"): "PROBED",
    ("CANDIDATE", "UPGRADE_RECEIVED"): "UPGRADED",
    ("CANDIDATE", "PROBE_FAILED"): "POLLING",
    ("PROBED", "PROBE_RECEIVED"): "PROBED",
    ("PROBED", "UPGRADE_RECEIVED"): "UPGRADED",
    ("PROBED", "PROBE_FAILED"): "POLLING",
}


@pytest.mark.req("EIO4-48", "EIO4-52", "EIO4-53")
@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_every_input_in_every_state(state: State, event: Input) -> None:
    machine = UpgradeMachine(TIMEOUT, state, expires_at=17.0)
    expected = DIAGRAM.get((state.name, event.name))
    if expected is None:
        with pytest.raises(RemoteProtocolError, match=f"{event.name} .* {state.name}"):
            machine.receive(event, 20.0)
        assert machine == UpgradeMachine(TIMEOUT, state, 17.0)
    else:
        machine.receive(event, 20.0)
        expires_at = {"CANDIDATE": 30.0, "PROBED": 17.0}.get(expected, inf)
        assert machine == UpgradeMachine(TIMEOUT, State[expected], expires_at)


def test_the_table_is_the_diagram() -> None:
    assert {(state.name, event.name): to.name for (state, event), to in TRANSITIONS.items()} == (
        DIAGRAM
    )
    assert [state.name for state in State] == ["POLLING", "CANDIDATE", "PROBED", "UPGRADED"]


def test_a_session_starts_on_polling() -> None:
    machine = UpgradeMachine(TIMEOUT)
    assert machine.state is State.POLLING
    assert machine.expires_at == inf


@pytest.mark.req("EIO4-52")
def test_the_timeout_counts_from_the_opening_of_the_candidate() -> None:
    machine = UpgradeMachine(TIMEOUT)
    machine.receive(Input.CANDIDATE_OPENED, 100)
    machine.receive(Input.PROBE_RECEIVED, 105)
    machine.receive(Input.PROBE_RECEIVED, 109)
    assert machine.expires_at == 110


@pytest.mark.req("EIO4-52")
def test_a_new_candidate_may_try_after_a_failure() -> None:
    machine = UpgradeMachine(TIMEOUT)
    for start in (100, 200):
        machine.receive(Input.CANDIDATE_OPENED, start)
        machine.receive(Input.PROBE_RECEIVED, start)
        machine.receive(Input.PROBE_FAILED, start + 1)
        assert machine.expires_at == inf
    machine.receive(Input.CANDIDATE_OPENED, 300)
    machine.receive(Input.UPGRADE_RECEIVED, 301)
    assert machine.state is State.UPGRADED
    assert machine.expires_at == inf


def test_it_is_small() -> None:
    assert not hasattr(UpgradeMachine(TIMEOUT), "__dict__")


class UpgradeAgainstAModel(RuleBasedStateMachine):
    """The model: when the candidate opened, if there is one, and two facts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.opened_at: int | None = None
        self.probed = False
        self.upgraded = False
        self.machine = UpgradeMachine(TIMEOUT)

    def receive(self, event: Input, *, allowed: bool) -> bool:
        if allowed:
            self.machine.receive(event, self.now)
        else:
            with pytest.raises(RemoteProtocolError):
                self.machine.receive(event, self.now)
        return allowed

    @rule(step=st.integers(0, 12))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def candidate_opens(self) -> None:
        free = self.opened_at is None and not self.upgraded
        if self.receive(Input.CANDIDATE_OPENED, allowed=free):
            self.opened_at = self.now

    @rule()
    def candidate_probes(self) -> None:
        if self.receive(Input.PROBE_RECEIVED, allowed=self.opened_at is not None):
            self.probed = True

    @rule()
    def candidate_upgrades(self) -> None:
        if self.receive(Input.UPGRADE_RECEIVED, allowed=self.opened_at is not None):
            self.opened_at, self.upgraded = None, True

    @rule()
    def candidate_fails(self) -> None:
        if self.receive(Input.PROBE_FAILED, allowed=self.opened_at is not None):
            self.opened_at, self.probed = None, False

    @invariant()
    def they_agree(self) -> None:
        due = inf if self.opened_at is None else self.opened_at + TIMEOUT
        assert self.machine.expires_at == due
        if self.upgraded:
            assert self.machine.state is State.UPGRADED
        elif self.opened_at is None:
            assert self.machine.state is State.POLLING
        else:
            assert self.machine.state is (State.PROBED if self.probed else State.CANDIDATE)


@pytest.mark.req("EIO4-52", "EIO4-53")
def test_upgrade_against_a_model() -> None:
    run_state_machine_as_test(UpgradeAgainstAModel)
