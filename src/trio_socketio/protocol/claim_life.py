"""The life of a claim, as the node of its client knows it.

::

    ASKING --CLAIMED--> HELD --ENTERED--> SEATED --LOST--> LINGERING
      | |                | |                |                  |
      | |                | +------LOST------|----> LINGERING   |
      | +------LEFT------+-------LEFT-------+-------LEFT-------+--> RELEASING --SETTLED--> OVER
      +-----REFUSED, EVICTED----+---EVICTED-+------EVICTED-----+-------------------------> OVER

    FENCED leads to OVER from everywhere.

In ASKING the store has not answered; if it never does, the claim may have been made all the same,
so it has to be released. A claim is EVICTED when others have ended it in the store: nothing is left
to be released then. It is FENCED when the lease of its node has ended: the store ends it, and its
client is put out, or was not let in yet. LINGERING holds the seat of a client that was lost and may
come back.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a claim."""

    ASKING = auto()
    HELD = auto()  # its client is on the way in, or its joining is being undone
    SEATED = auto()
    LINGERING = auto()
    RELEASING = auto()  # the release is queued, once
    OVER = auto()


class Input(Name):
    """The inputs to the life of a claim."""

    CLAIMED = auto()
    REFUSED = auto()
    ENTERED = auto()
    LOST = auto()
    LEFT = auto()
    EVICTED = auto()
    SETTLED = auto()
    FENCED = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.ASKING, Input.CLAIMED): State.HELD,
    (State.ASKING, Input.REFUSED): State.OVER,
    (State.ASKING, Input.LEFT): State.RELEASING,
    (State.ASKING, Input.EVICTED): State.OVER,
    (State.HELD, Input.ENTERED): State.SEATED,
    (State.HELD, Input.LOST): State.LINGERING,
    (State.HELD, Input.LEFT): State.RELEASING,
    (State.HELD, Input.EVICTED): State.OVER,
    (State.SEATED, Input.LOST): State.LINGERING,
    (State.SEATED, Input.LEFT): State.RELEASING,
    (State.SEATED, Input.EVICTED): State.OVER,
    (State.LINGERING, Input.LEFT): State.RELEASING,
    (State.LINGERING, Input.EVICTED): State.OVER,
    (State.RELEASING, Input.EVICTED): State.RELEASING,  # the store will say that it is stale
    (State.RELEASING, Input.SETTLED): State.OVER,
    # Others were faster: the answer, or the end of the client, comes too late to change anything.
    (State.OVER, Input.CLAIMED): State.OVER,
    (State.OVER, Input.REFUSED): State.OVER,
    (State.OVER, Input.LOST): State.OVER,
    (State.OVER, Input.LEFT): State.OVER,
    (State.OVER, Input.EVICTED): State.OVER,
    **{(state, Input.FENCED): State.OVER for state in State},
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((state, event))  # PRES-50
    if following is None:
        raise LocalProtocolError(f"{event.name} of a claim that is {state.name}")
    return following
