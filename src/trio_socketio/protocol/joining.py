"""A client's way into a namespace, as the server sees it.

::

    SEARCHING > RESTORING > AUTHENTICATING (> ACCEPTED) > MIDDLEWARE > SEAT > JOINED
        |           |             |            |              |         |
        +-----------+-------------+------------+--------------+---------+--> REFUSED
                                                                        +--> ABANDONED

A stage that has nothing to do is skipped. Every stage but JOINED may end in REFUSED, and the client
is told why; or in ABANDONED, because the client has left or the server stops.
"""

from enum import Enum, auto
from typing import Final

from trio_socketio.errors import LocalProtocolError


class State(Enum):
    """How far a client has come."""

    SEARCHING = auto()  # its namespace does not exist yet: the parents are asked
    RESTORING = auto()  # it names a session that it lost
    AUTHENTICATING = auto()  # who it is
    ACCEPTED = auto()  # its CONNECT was answered; its credentials come as an event
    MIDDLEWARE = auto()  # the program is asked
    SEAT = auto()  # the last word: after it, only a client that leaves does not join
    JOINED = auto()
    REFUSED = auto()
    ABANDONED = auto()


STAGES: Final = (
    State.SEARCHING,
    State.RESTORING,
    State.AUTHENTICATING,
    State.ACCEPTED,
    State.MIDDLEWARE,
    State.SEAT,
)
"""The states in which something is still to be decided, in order."""

ENDS: Final = frozenset((State.JOINED, State.REFUSED, State.ABANDONED))

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    stage: frozenset((*STAGES[number + 1 :], *ENDS)) for number, stage in enumerate(STAGES)
} | {end: frozenset() for end in ENDS}
"""What may follow each state."""


def advance(state: State, to: State) -> State:
    """Go from one state to another.

    Raises:
        LocalProtocolError: it does not follow; a joining that has ended stays as it ended.
    """
    if to not in TRANSITIONS[state]:
        raise LocalProtocolError(f"a joining that is {state.name} cannot become {to.name}")
    return to
