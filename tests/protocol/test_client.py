from itertools import product
from math import inf
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.codec.strategies import json_values

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError
from trio_socketio.protocol.client import TRANSITIONS, ClientMachine, Input, State

HANDSHAKE: Final[dict[str, Any]] = {
    "sid": "lv_VI97HAXpY6yYWAAAC",
    "upgrades": ["websocket"],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 1000000,
}

DIAGRAM: Final = {
    ("CONNECTING", "OPENED"): "OPEN",
    ("OPEN", "PROBE_SENT"): "PROBING",
    ("PROBING", "PROBE_ANSWERED"): "PAUSING",
    ("PROBING", "PROBE_FAILED"): "OPEN",
    ("PAUSING", "POLLING_PAUSED"): "PAUSED",
    ("PAUSING", "PROBE_FAILED"): "OPEN",
    ("PAUSED", "UPGRADE_SENT"): "OPEN",
    ("PAUSED", "PROBE_FAILED"): "OPEN",
} | {
    (state, "CLOSED"): "CLOSED" for state in ("CONNECTING", "OPEN", "PROBING", "PAUSING", "PAUSED")
}


@pytest.mark.req("EIO4-59")
@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_every_input_in_every_state(state: State, event: Input) -> None:
    machine = ClientMachine(state=state, dead_at=17.0)
    expected = DIAGRAM.get((state.name, event.name))
    if expected is None:
        with pytest.raises(LocalProtocolError, match=f"{event.name} .* {state.name}"):
            machine.receive(event)
        assert machine == ClientMachine(state=state, dead_at=17.0)
    else:
        machine.receive(event)
        assert machine == ClientMachine(
            transport="websocket" if event is Input.UPGRADE_SENT else "polling",
            state=State[expected],
            dead_at=inf if expected == "CLOSED" else 17.0,
        )


def test_the_table_is_the_diagram() -> None:
    assert {(state.name, event.name): to.name for (state, event), to in TRANSITIONS.items()} == (
        DIAGRAM
    )
    assert [state.name for state in State] == [
        "CONNECTING", "OPEN", "PROBING", "PAUSING", "PAUSED", "CLOSED"
    ]  # fmt: skip


def test_a_client_starts_connecting_and_knows_nothing() -> None:
    machine = ClientMachine()
    assert machine == ClientMachine("polling", State.CONNECTING, "", (), 0.0, 0.0, 0, inf)
    assert machine.dead_at == inf
    assert machine.may_poll() is False


# --- handshake -----------------------------------------------------------------------------------


@pytest.mark.req("EIO4-58")
def test_the_handshake_is_taken() -> None:
    machine = ClientMachine()
    machine.receive_handshake(HANDSHAKE, 100.0)
    assert machine == ClientMachine(
        "polling", State.OPEN, HANDSHAKE["sid"], ("websocket",), 25.0, 20.0, 1000000, 145.0
    )


@pytest.mark.req("EIO4-58")
def test_fields_that_nobody_knows_are_ignored() -> None:
    machine = ClientMachine("websocket")
    machine.receive_handshake(HANDSHAKE | {"upgrades": [], "more": {"a": 1}}, 100.0)
    assert machine.upgrades == ()
    assert machine.transport == "websocket"
    assert machine.may_poll() is False


def test_max_payload_may_be_missing() -> None:
    machine = ClientMachine()
    machine.receive_handshake(
        {key: value for key, value in HANDSHAKE.items() if key != "maxPayload"}, 100.0
    )
    assert machine.max_payload_bytes == 0


@pytest.mark.req("EIO4-58")
@pytest.mark.parametrize("field", ["sid", "upgrades", "pingInterval", "pingTimeout"])
def test_a_field_that_is_missing_is_a_protocol_error(field: str) -> None:
    machine = ClientMachine()
    with pytest.raises(RemoteProtocolError):
        machine.receive_handshake({k: v for k, v in HANDSHAKE.items() if k != field}, 100.0)
    assert machine == ClientMachine()


@pytest.mark.req("EIO4-58")
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sid", ["", None, 1, True, ["a"], {}]),
        ("upgrades", [None, "websocket", {}, 1, [1], ["websocket", None], [["websocket"]]]),
        ("pingInterval", [-1, 1.5, "25000", None, True, [], float("inf")]),
        ("pingTimeout", [-1, 1.5, "20000", None, False, {}]),
        ("maxPayload", [-1, 1.5, "1", None, True, []]),
    ],
)
def test_a_field_of_the_wrong_type_is_a_protocol_error(field: str, values: list[Any]) -> None:
    for value in values:
        machine = ClientMachine()
        with pytest.raises(RemoteProtocolError):
            machine.receive_handshake(HANDSHAKE | {field: value}, 100.0)
        assert machine == ClientMachine()


@pytest.mark.parametrize("zero", ["pingInterval", "pingTimeout", "maxPayload"])
def test_zero_is_a_count(zero: str) -> None:
    machine = ClientMachine()
    machine.receive_handshake(HANDSHAKE | {zero: 0}, 100.0)
    assert machine.state is State.OPEN


@given(json_values() | st.dictionaries(st.sampled_from(sorted(HANDSHAKE)), json_values()))
def test_garbage_raises_nothing_undocumented(handshake: Any) -> None:
    machine = ClientMachine()
    try:
        machine.receive_handshake(handshake, 0.0)
    except RemoteProtocolError:
        assert machine == ClientMachine()
    else:
        assert machine.sid


@pytest.mark.parametrize("state", [state for state in State if state is not State.CONNECTING])
def test_a_second_handshake_changes_nothing(state: State) -> None:
    machine = ClientMachine(state=state, sid="first")
    with pytest.raises(LocalProtocolError, match="OPENED while"):
        machine.receive_handshake(HANDSHAKE, 100.0)
    assert machine == ClientMachine(state=state, sid="first")


# --- heartbeat and upgrade -----------------------------------------------------------------------


@pytest.mark.req("EIO4-38")
def test_the_server_is_dead_after_interval_and_timeout_without_a_ping() -> None:
    machine = ClientMachine()
    machine.receive_handshake(HANDSHAKE, 100.0)
    assert machine.dead_at == 145.0
    machine.receive_ping(130.0)
    assert machine.dead_at == 175.0


@pytest.mark.req("EIO4-59")
@pytest.mark.parametrize("state", State)
def test_polls_start_only_while_polling_carries_the_session(state: State) -> None:
    assert ClientMachine("websocket", state).may_poll() is False
    assert ClientMachine("polling", state).may_poll() is (state.name in ("OPEN", "PROBING"))


def test_it_is_small() -> None:
    assert not hasattr(ClientMachine(), "__dict__")


class ClientAgainstAModel(RuleBasedStateMachine):
    """The model: which facts hold, each set and cleared by its own event."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.machine = ClientMachine()
        self.open = False
        self.closed = False
        self.upgraded = False
        self.probe: str | None = None  # "sent", "answered", "paused"
        self.heard_at: int | None = None

    def receive(self, event: Input, *, allowed: bool) -> bool:
        if allowed:
            self.machine.receive(event)
        else:
            with pytest.raises(LocalProtocolError):
                self.machine.receive(event)
        return allowed

    @property
    def alive(self) -> bool:
        return self.open and not self.closed

    @rule(step=st.integers(0, 50))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def handshake(self) -> None:
        if self.open or self.closed:
            with pytest.raises(LocalProtocolError):
                self.machine.receive_handshake(HANDSHAKE, self.now)
        else:
            self.machine.receive_handshake(HANDSHAKE, self.now)
            self.open, self.heard_at = True, self.now

    @precondition(lambda self: self.alive)
    @rule()
    def ping(self) -> None:
        self.machine.receive_ping(self.now)
        self.heard_at = self.now

    @rule()
    def send_probe(self) -> None:
        if self.receive(Input.PROBE_SENT, allowed=self.alive and self.probe is None):
            self.probe = "sent"

    @rule()
    def probe_answered(self) -> None:
        if self.receive(Input.PROBE_ANSWERED, allowed=self.alive and self.probe == "sent"):
            self.probe = "answered"

    @rule()
    def probe_failed(self) -> None:
        if self.receive(Input.PROBE_FAILED, allowed=self.alive and self.probe is not None):
            self.probe = None

    @rule()
    def last_poll_returned(self) -> None:
        if self.receive(Input.POLLING_PAUSED, allowed=self.alive and self.probe == "answered"):
            self.probe = "paused"

    @rule()
    def send_upgrade(self) -> None:
        if self.receive(Input.UPGRADE_SENT, allowed=self.alive and self.probe == "paused"):
            self.probe, self.upgraded = None, True

    @precondition(lambda self: self.now > 60)
    @rule()
    def close(self) -> None:
        if self.receive(Input.CLOSED, allowed=not self.closed):
            self.closed, self.heard_at = True, None

    @invariant()
    def they_agree(self) -> None:
        polling = self.alive and not self.upgraded and self.probe in (None, "sent")
        assert self.machine.may_poll() is polling
        assert self.machine.transport == ("websocket" if self.upgraded else "polling")
        assert self.machine.dead_at == (inf if self.heard_at is None else self.heard_at + 45)
        assert (self.machine.state is State.CLOSED) is self.closed
        assert (self.machine.sid == HANDSHAKE["sid"]) is self.open


@pytest.mark.req("EIO4-38", "EIO4-59")
def test_client_against_a_model() -> None:
    run_state_machine_as_test(ClientAgainstAModel)
