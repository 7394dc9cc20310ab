"""A client's way into a namespace, as the server sees it.

::

    SEARCHING > RESTORING > AUTHENTICATING (> ACCEPTED) > MIDDLEWARE > SEAT > JOINED
        |           |             |            |              |         |
        +-----------+-------------+------------+--------------+---------+--> REFUSED
                                                                        +--> ABANDONED

A stage that has nothing to do is skipped (JOIN-01). Every stage may end in REFUSED, and then the
client is told why, or in ABANDONED, because the client has left or the server stops (JOIN-02).
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The stages of a joining, and its ends."""

    SEARCHING = auto()  # the namespace does not exist, and parent namespaces may make it
    RESTORING = auto()  # the client wants back a session that it lost
    AUTHENTICATING = auto()  # finds out who the client is
    ACCEPTED = auto()  # the CONNECT was answered, and the client sends its credentials as an event
    MIDDLEWARE = auto()  # the program's middleware decides
    SEAT = (
        auto()
    )  # the last step that can refuse; after it, only a client that leaves does not join
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
"""The states in which something is still to be decided, in their order."""

ENDS: Final = frozenset((State.JOINED, State.REFUSED, State.ABANDONED))
"""The states that a joining never leaves (JOIN-03)."""

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    stage: frozenset((*STAGES[number + 1 :], *ENDS)) for number, stage in enumerate(STAGES)
} | {end: frozenset() for end in ENDS}
"""The states that may follow each state."""


def advance(state: State, to: State) -> State:
    """Go from one state to another.

    Returns:
        The new state.
    Raises:
        LocalProtocolError: the new state cannot follow; nothing follows the end of a joining.
    """
    if to not in TRANSITIONS[state]:  # JOIN-01, JOIN-02, JOIN-03
        raise LocalProtocolError(f"a joining that is {state.name} cannot become {to.name}")
    return to
