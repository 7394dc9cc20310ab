"""The life of a socket: one client in one namespace.

::

    ASKING --ENTER--> JOINED --LEAVE--> LEFT
      |  |              ^                ^
      |  +--ACCEPT--> ACCEPTED --LEAVE---+
      +-----------------LEAVE------------+

ASKING is a client that waits for the answer to its CONNECT. ACCEPTED has got the answer, but is not
in the namespace before it has authenticated itself: events reach it, broadcasts do not.
"""

from enum import Enum, auto
from typing import Final

from trio_socketio.errors import LocalProtocolError


class Life(Enum):
    """Where a socket stands."""

    ASKING = auto()
    ACCEPTED = auto()
    JOINED = auto()
    LEFT = auto()


class Input(Enum):
    """What can happen to a socket."""

    ACCEPT = auto()  # its CONNECT is answered before it is known who it is
    ENTER = auto()
    LEAVE = auto()


TRANSITIONS: Final[dict[tuple[Life, Input], Life]] = {
    (Life.ASKING, Input.ACCEPT): Life.ACCEPTED,
    (Life.ASKING, Input.ENTER): Life.JOINED,
    (Life.ASKING, Input.LEAVE): Life.LEFT,
    (Life.ACCEPTED, Input.ENTER): Life.JOINED,
    (Life.ACCEPTED, Input.LEAVE): Life.LEFT,
    (Life.JOINED, Input.LEAVE): Life.LEFT,
}


def advance(life: Life, event: Input) -> Life:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((life, event))
    if following is None:
        raise LocalProtocolError(f"{event.name} of a socket that is {life.name}")
    return following
