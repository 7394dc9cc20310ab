from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.codec.strategies import json_values

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError
from trio_socketio.protocol.membership import TRANSITIONS, Input, Membership, State

DIAGRAM: Final = {
    ("NEW", "ASK"): "WAITING",
    ("NEW", "LOST"): "NEW",
    ("LEFT", "ASK"): "WAITING",
    ("WAITING", "CONNECT_SENT"): "JOINING",
    ("JOINING", "ACCEPTED"): "JOINED",
    ("JOINING", "REFUSED"): "LEFT",
    ("JOINED", "ACCEPTED"): "JOINED",
    ("JOINED", "REFUSED"): "LEFT",
    ("JOINED", "PUT_OUT"): "LEFT",
    ("LEFT", "LOST"): "LEFT",
    ("WAITING", "LOST"): "WAITING",
    ("JOINING", "LOST"): "WAITING",
    ("JOINED", "LOST"): "WAITING",
} | {(state.name, "LEAVE"): "LEFT" for state in State}


def test_the_table_is_the_diagram() -> None:
    assert {(a.name, i.name): b.name for (a, i), b in TRANSITIONS.items()} == DIAGRAM


@pytest.mark.parametrize(("state", "event"), list(product(State, Input)))
def test_every_input_in_every_state(state: State, event: Input) -> None:
    membership = Membership(state, "id")
    expected = DIAGRAM.get((state.name, event.name))
    if expected is None:
        with pytest.raises(LocalProtocolError, match=f"{event.name} .* {state.name}"):
            membership.receive(event)
        assert membership == Membership(state, "id")
    else:
        membership.receive(event)
        assert membership == Membership(
            State[expected], "id" if membership.state is State.JOINED else ""
        )


@pytest.mark.req("CLI-08")
@pytest.mark.parametrize(
    "data", [None, {}, {"sid": ""}, {"sid": 1}, [], {"sid": "a", "pid": 1}, {"pid": "p"}]
)
def test_a_connect_without_a_valid_id_is_an_error(data: Any) -> None:
    membership = Membership(State.JOINING)
    with pytest.raises(RemoteProtocolError):
        membership.receive_connect(data)
    assert membership == Membership(State.JOINING)


@given(json_values())
def test_no_payload_raises_anything_else(data: Any) -> None:
    membership = Membership(State.JOINING)
    try:
        membership.receive_connect(data)
    except RemoteProtocolError:
        return
    assert membership.socket_id == data["sid"]


def joined(pid: str | None = "p1", offset: str | None = None) -> Membership:
    membership = Membership(State.JOINING)
    membership.receive_connect({"sid": "s1"} if pid is None else {"sid": "s1", "pid": pid})
    membership.offset = offset
    return membership


def rejoin(membership: Membership, data: dict[str, str]) -> dict[str, Any] | None:
    membership.receive(Input.LOST)
    payload = membership.connect_payload({"token": 1})
    membership.receive(Input.CONNECT_SENT)
    membership.receive_connect(data)
    return payload


@pytest.mark.req("CLI-30")
def test_pid_and_offset_are_sent_when_it_joins_again() -> None:
    membership = joined(offset="o1")
    payload = rejoin(membership, {"sid": "s1", "pid": "p1"})
    assert payload == {"token": 1, "pid": "p1", "offset": "o1"}
    assert (membership.recovered, membership.offset) == (True, "o1")


@pytest.mark.req("CLI-30")
def test_without_an_offset_the_pid_is_sent_alone_and_without_a_pid_nothing() -> None:
    assert rejoin(joined(), {"sid": "s"}) == {"token": 1, "pid": "p1"}
    assert rejoin(joined(None), {"sid": "s"}) == {"token": 1}
    assert Membership().connect_payload({}) is None


@pytest.mark.req("CLI-31")
def test_a_new_session_makes_the_old_offset_meaningless() -> None:
    membership = joined(offset="o1")
    rejoin(membership, {"sid": "s2", "pid": "p2"})
    assert not membership.recovered
    assert membership.offset is None
    assert membership.connect_payload({}) == {"pid": "p2"}


@pytest.mark.req("CLI-31")
@pytest.mark.parametrize("event", [Input.LEAVE, Input.PUT_OUT])
def test_who_leaves_or_is_put_out_does_not_come_back_as_the_same(event: Input) -> None:
    membership = joined(offset="o1")
    membership.receive(event)
    assert membership.connect_payload({}) is None


@pytest.mark.req("CLI-32")
@pytest.mark.parametrize(
    ("pid", "arguments", "ack_id", "offset"),
    [
        ("p", ["news", "text", "o2"], None, "o2"),
        ("p", ["news", "o2"], None, "o2"),
        ("p", ["news", "o2"], 0, None),  # asks for an answer: the server stores no such event
        ("p", ["news"], None, None),  # the name is no offset
        ("p", ["news", 1], None, None),
        (None, ["news", "o2"], None, None),
    ],
)
def test_which_events_carry_an_offset(
    pid: str | None, arguments: list[Any], ack_id: int | None, offset: str | None
) -> None:
    membership = joined(pid)
    assert membership.receive_event(arguments, ack_id) is (offset is not None)
    assert membership.offset == offset


class Recovery(RuleBasedStateMachine):
    """A client against a server that restores sessions, restarts and forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Membership()
        self.sessions: dict[str, list[str]] = {}  # of the server: offsets that it sent
        self.now: str | None = None
        self.number = 0
        self.asked: dict[str, Any] = {}

    def _next(self, letter: str) -> str:
        self.number += 1
        return f"{letter}{self.number}"

    @precondition(lambda self: self.client.state in (State.NEW, State.LEFT))
    @rule()
    def ask(self) -> None:
        self.client.receive(Input.ASK)

    @precondition(lambda self: self.client.state is State.WAITING)
    @rule()
    def connect(self) -> None:
        self.asked = self.client.connect_payload({"token": 1}) or {}
        self.client.receive(Input.CONNECT_SENT)

    @precondition(lambda self: self.client.state is State.JOINING)
    @rule(restores=st.booleans())
    def accept(self, restores: bool) -> None:
        pid = self.asked.get("pid")
        known = self.sessions.get(pid) if pid is not None else None
        if restores and known is not None and pid is not None:
            offset = self.asked.get("offset")
            assert offset is None or offset in known, "an offset of another session"
            assert offset == (known[-1] if known else None)
            self.now = pid
        else:
            self.now = self._next("p")
            self.sessions[self.now] = []
        self.client.receive_connect({"sid": self._next("s"), "pid": self.now})
        assert self.client.recovered is (self.now == pid)

    @precondition(lambda self: self.client.state is State.JOINING)
    @rule()
    def refuse(self) -> None:
        self.client.receive(Input.REFUSED)

    @precondition(lambda self: self.client.state is State.JOINED)
    @rule(asks=st.booleans(), last=st.sampled_from(["text", 1]))
    def event(self, asks: bool, last: str | int) -> None:
        assert self.now is not None
        if asks:
            self.client.receive_event(["event", last], 1)
            return
        offset = self._next("o")
        self.sessions[self.now].append(offset)
        self.client.receive_event(["event", last, offset], None)

    @precondition(lambda self: self.client.state is State.JOINED)
    @rule()
    def put_out(self) -> None:
        self.client.receive(Input.PUT_OUT)

    @rule()
    def lose(self) -> None:
        self.client.receive(Input.LOST)

    @rule()
    def leave(self) -> None:
        self.client.receive(Input.LEAVE)

    @rule()
    def server_forgets(self) -> None:
        if self.client.state is not State.JOINED:
            self.sessions.clear()

    @invariant()
    def it_has_an_id_exactly_while_it_is_in(self) -> None:
        assert bool(self.client.socket_id) is (self.client.state is State.JOINED)


TestRecovery: Any = Recovery.TestCase
TestRecovery.pytestmark = [pytest.mark.req("CLI-30", "CLI-31")]
