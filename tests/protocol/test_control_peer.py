"""The table of the life of a peer on the control socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.control_peer import READING, TRANSITIONS, Input, Life, advance


def live(*events: Input) -> Life:
    """The state after these inputs."""
    life = Life.GREETED
    for event in events:
        life = advance(life, event)
    return life


@pytest.mark.req("CONTROL-77")
def test_lines_are_read_until_the_end_has_begun() -> None:
    assert live() in READING
    assert live(Input.IDENTIFY) in READING
    assert live(Input.IDENTIFY, Input.IDENTIFY) is Life.KNOWN
    assert live(Input.END) not in READING
    assert live(Input.IDENTIFY, Input.LEAVE) not in READING


@pytest.mark.req("CONTROL-24")
def test_who_says_who_it_is_when_its_end_has_begun_does_not_become_known() -> None:
    assert live(Input.END, Input.IDENTIFY) is Life.ENDING
    assert live(Input.END, Input.LEAVE) is Life.GONE


@pytest.mark.parametrize("event", Input)
def test_nothing_follows_the_end(event: Input) -> None:
    with pytest.raises(LocalProtocolError, match=f"{event.name} of a peer that is GONE"):
        advance(Life.GONE, event)


@given(st.lists(st.sampled_from(Input)))
def test_a_life_goes_forward(events: list[Input]) -> None:
    life = Life.GREETED
    for event in events:
        if (life, event) in TRANSITIONS:
            following = advance(life, event)
            assert following.value >= life.value
            life = following
        else:
            with pytest.raises(LocalProtocolError):
                advance(life, event)
