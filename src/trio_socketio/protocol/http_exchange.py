"""The requests of one HTTP/1.1 connection, one after the other, as the server sees them.

::

    FRESH ---BYTES---> HEAD <---BYTES--- RESTING <-----------+
      |                  |                  |                |
      +-----REQUEST------+-----REQUEST------+                |
                         |                                   |
                         v                                   |
                     ANSWERING -----------ANSWER-------------+
                      |  |                                   |
                      | READ---> BODY ----ANSWER-------------+
                      |           |                          |
                      |         WHOLE---> COMPLETE ---ANSWER-+
                      |                      |
                      +-------SWITCH---------+---> SWITCHED

In FRESH and RESTING nothing of the next request has come. REQUEST skips HEAD if the head comes at
once and as a whole. BYTES happens only at the first bytes of a head, however many pieces it comes
in. ANSWER is an answer after which the connection is kept; any other is an END.

Not drawn are the ways to ENDED: REFUSE from the states in which an answer is due, HEAD to COMPLETE,
and END from every state. Nothing leads out of ENDED.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of the server on one connection."""

    FRESH = auto()  # the first request has the time that the connection was given when it opened
    RESTING = auto()  # the next request has as long as the connection is kept
    HEAD = auto()  # a part of a head has come
    ANSWERING = auto()  # a handler has the request, and has not asked for its body
    BODY = auto()  # the handler has asked for the body, and does not have it yet
    COMPLETE = auto()  # the handler has the body too
    SWITCHED = auto()  # the connection speaks another protocol
    ENDED = auto()


class Input(Name):
    """The events of an exchange."""

    BYTES = auto()  # the first bytes of a head have come, but not all of it
    REQUEST = auto()  # a head is complete, and the request is handed over
    READ = auto()  # the handler asks for the body
    WHOLE = auto()  # the body is complete, and is handed over
    ANSWER = auto()  # the request is answered, and the next one may come
    REFUSE = auto()  # what came is answered with an error, after which nothing is read
    SWITCH = auto()
    END = auto()  # the peer has gone, or the last answer was given


class Row(dict[State, State]):
    """The state that follows each state in which one input can happen."""

    __slots__ = ("_event",)

    def __init__(self, event: Input, following: dict[State, State]) -> None:
        super().__init__(following)
        self._event = event

    def __missing__(self, state: State) -> State:
        """Refuse an input that cannot happen in the state, which is a bug on this side.

        Raises:
            LocalProtocolError: in any case.
        """
        raise LocalProtocolError(f"{self._event.name} of an HTTP exchange that is {state.name}")


_FOLLOWING: Final[dict[Input, dict[State, State]]] = {
    Input.BYTES: {State.FRESH: State.HEAD, State.RESTING: State.HEAD},
    Input.REQUEST: {
        State.FRESH: State.ANSWERING,
        State.RESTING: State.ANSWERING,
        State.HEAD: State.ANSWERING,
    },
    Input.READ: {State.ANSWERING: State.BODY},
    Input.WHOLE: {State.BODY: State.COMPLETE},
    Input.ANSWER: {
        State.ANSWERING: State.RESTING,
        State.BODY: State.RESTING,
        State.COMPLETE: State.RESTING,
    },
    Input.REFUSE: {
        State.HEAD: State.ENDED,
        State.ANSWERING: State.ENDED,
        State.BODY: State.ENDED,
        State.COMPLETE: State.ENDED,
    },
    Input.SWITCH: {State.ANSWERING: State.SWITCHED, State.COMPLETE: State.SWITCHED},
    Input.END: {state: State.ENDED for state in State if state is not State.ENDED},
}

TRANSITIONS: Final = {event: Row(event, following) for event, following in _FOLLOWING.items()}
"""The rows of the table. A short POST goes through four of them, so a caller in a hurry keeps the
rows and indexes them, which takes a fraction of a call of `advance`."""

AT_REST: Final = frozenset((State.FRESH, State.RESTING))
"""The states in which nothing of the next request has come."""


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    return TRANSITIONS[event][state]
