"""The life of a channel or pattern of Redis that somebody is subscribed to.

::

    IDLE --ASK--> ASKED --CONFIRM--> CONFIRMED
     ^              |                    |
     |           REFUSE --> REFUSED      |
     +--DISCONNECT--+-----------+--------+    from each of these, LEAVE goes to LEFT

It begins anew with each connection. In LEFT the last subscription was closed, and answers to what
was asked before change nothing: whoever subscribes again begins another life.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a channel."""

    IDLE = auto()  # there is no connection, or its queue is full
    ASKED = auto()
    CONFIRMED = auto()
    REFUSED = auto()
    LEFT = auto()


class Input(Name):
    """The inputs to the life of a channel."""

    ASK = auto()
    CONFIRM = auto()
    REFUSE = auto()
    DISCONNECT = auto()
    LEAVE = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.IDLE, Input.ASK): State.ASKED,
    (State.ASKED, Input.CONFIRM): State.CONFIRMED,
    (State.ASKED, Input.REFUSE): State.REFUSED,
    **{(state, Input.DISCONNECT): State.IDLE for state in State if state is not State.LEFT},
    **{(state, Input.LEAVE): State.LEFT for state in State if state is not State.LEFT},
    (State.LEFT, Input.CONFIRM): State.LEFT,
    (State.LEFT, Input.REFUSE): State.LEFT,
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((state, event))
    if following is None:
        raise LocalProtocolError(f"{event.name} of a channel that is {state.name}")
    return following
