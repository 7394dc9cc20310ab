"""The table of a connection's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.connection import TRANSITIONS, Input, Life, advance


def live(*events: Input) -> Life:
    """The state after these inputs."""
    life = Life.OPEN
    for event in events:
        life = advance(life, event)
    return life


@pytest.mark.req("HTTP-19")
def test_a_finished_connection_is_drained_when_its_output_is_sent() -> None:
    assert live(Input.FINISH) is Life.FINISHING
    assert live(Input.FINISH, Input.SENT) is Life.DRAINING
    assert live(Input.FINISH, Input.SENT, Input.ABORT) is Life.CLOSED


def test_nothing_is_drained_of_a_peer_that_has_said_all() -> None:
    assert live(Input.PART) is Life.PARTING
    assert live(Input.PART, Input.SENT) is Life.CLOSED


@pytest.mark.parametrize("life", [life for life in Life if life is not Life.CLOSED])
def test_every_connection_can_be_aborted(life: Life) -> None:
    assert advance(life, Input.ABORT) is Life.CLOSED


@pytest.mark.parametrize("life", [life for life in Life if life is not Life.OPEN])
@pytest.mark.parametrize("event", [Input.FINISH, Input.PART])
def test_a_connection_is_finished_once(life: Life, event: Input) -> None:
    with pytest.raises(LocalProtocolError, match=f"{event.name} of a connection that is"):
        advance(life, event)


@pytest.mark.parametrize("life", [Life.OPEN, Life.DRAINING])
def test_only_what_was_finished_waits_for_its_output(life: Life) -> None:
    with pytest.raises(LocalProtocolError):
        advance(life, Input.SENT)


@pytest.mark.parametrize("event", Input)
def test_nothing_follows_the_end(event: Input) -> None:
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        advance(Life.CLOSED, event)


@given(st.lists(st.sampled_from(Input)))
def test_a_life_is_lived_once(events: list[Input]) -> None:
    life, lived = Life.OPEN, [Life.OPEN]
    for event in events:
        if (life, event) in TRANSITIONS:
            life = advance(life, event)
            lived.append(life)
        else:
            with pytest.raises(LocalProtocolError):
                advance(life, event)
    assert len(set(lived)) == len(lived)
    assert lived == sorted(lived, key=lambda one: one.value)
