"""The life of an Engine.IO session, as the server sees it.

::

    OPEN --CLOSE_REQUESTED--> CLOSING --FLUSHED | EXPIRED--> CLOSED
      |                          |
      +------- PEER_LOST --------+-------------------------> CLOSED

CLOSING is the state of a polling session whose client has yet to fetch the close packet.
"""

from dataclasses import dataclass
from enum import auto
from math import inf
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name

CLOSE_WAIT_S: Final = 30.0
"""How long a closed polling session waits for the GET that fetches its close packet (EIO4-56)."""


class State(Name):
    """The states of a session. Packets pass only in OPEN."""

    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


# Names of the module, because looking up a member in its class costs as much as a call.
OPEN: Final = State.OPEN
CLOSED: Final = State.CLOSED


class Input(Name):
    """The events of a session."""

    CLOSE_REQUESTED = auto()
    FLUSHED = auto()
    EXPIRED = auto()
    PEER_LOST = auto()  # the peer is gone or silent, or broke the protocol


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.OPEN, Input.CLOSE_REQUESTED): State.CLOSING,
    (State.OPEN, Input.PEER_LOST): State.CLOSED,
    (State.CLOSING, Input.FLUSHED): State.CLOSED,
    (State.CLOSING, Input.EXPIRED): State.CLOSED,
    (State.CLOSING, Input.PEER_LOST): State.CLOSED,
}


@dataclass(slots=True)
class SessionMachine:
    """The life of one session. Spec: Engine.IO v4, "Protocol"."""

    state: State = State.OPEN
    expires_at: float = inf

    def receive(self, event: Input, now: float) -> None:
        """Apply one input.

        Raises:
            LocalProtocolError: it cannot happen in this state; the caller should have checked.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise LocalProtocolError(f"{event.name} on a session that is {self.state.name}")
        self.state = state
        self.expires_at = now + CLOSE_WAIT_S if state is State.CLOSING else inf
