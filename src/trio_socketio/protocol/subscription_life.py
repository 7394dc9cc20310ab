"""The life of a subscription to a presence log.

::

    BEGINNING --FOUND--> WAITING --START--> RUNNING
        |                   |  ^              |  |
        |                   |  +---SUSPEND----+  |
        +-------END---------+-------END----------+----> OVER

In BEGINNING it is being found out where in the log it begins. In WAITING another member of its
group is sent the entries; one that stands alone only passes through. SUSPEND is that the node has
lost the turn of the group.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a subscription."""

    BEGINNING = auto()
    WAITING = auto()
    RUNNING = auto()
    OVER = auto()


class Input(Name):
    """The inputs to the life of a subscription."""

    FOUND = auto()
    START = auto()
    SUSPEND = auto()
    END = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.BEGINNING, Input.FOUND): State.WAITING,
    (State.WAITING, Input.START): State.RUNNING,
    (State.RUNNING, Input.SUSPEND): State.WAITING,
    (State.BEGINNING, Input.END): State.OVER,
    (State.WAITING, Input.END): State.OVER,
    (State.RUNNING, Input.END): State.OVER,
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state; nothing can happen in OVER.
    """
    following = TRANSITIONS.get((state, event))
    if following is None:
        raise LocalProtocolError(f"{event.name} of a subscription that is {state.name}")
    return following
