"""The table of a socket's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.socket_life import TRANSITIONS, Input, Life, advance


@pytest.mark.req("JOIN-04")
@pytest.mark.parametrize("path", [[Input.ENTER], [Input.ACCEPT, Input.ENTER]])
def test_a_socket_joins_at_once_or_after_it_was_accepted(path: list[Input]) -> None:
    life = Life.ASKING
    for event in path:
        life = advance(life, event)
    assert life is Life.JOINED
    assert advance(life, Input.LEAVE) is Life.LEFT


@pytest.mark.req("JOIN-04")
@given(st.lists(st.sampled_from(Input)))
def test_a_life_is_lived_once(events: list[Input]) -> None:
    life, lived = Life.ASKING, [Life.ASKING]
    for event in events:
        if (life, event) in TRANSITIONS:
            life = advance(life, event)
            lived.append(life)
        else:
            with pytest.raises(LocalProtocolError, match=f"{event.name} of a socket"):
                advance(life, event)
    assert len(set(lived)) == len(lived)
    assert lived == sorted(lived, key=lambda one: one.value)


@pytest.mark.req("JOIN-05")
@pytest.mark.parametrize("event", Input)
def test_nothing_follows_the_end(event: Input) -> None:
    with pytest.raises(LocalProtocolError):
        advance(Life.LEFT, event)
