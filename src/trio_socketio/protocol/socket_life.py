"""The life of a socket, which is one client in one namespace.

::

    ASKING --ENTER--> JOINED --LEAVE--> LEFT
      |  |              ^                ^
      |  +--ACCEPT--> ACCEPTED --LEAVE---+
      +-----------------LEAVE------------+

In ASKING the client waits for the answer to its CONNECT. In ACCEPTED it has the answer, but is not
in the namespace until it has authenticated itself: it gets events sent to it, but no broadcasts.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class Life(Name):
    """The states of a socket."""

    ASKING = auto()
    ACCEPTED = auto()
    JOINED = auto()
    LEFT = auto()


class Input(Name):
    """The events in the life of a socket."""

    ACCEPT = auto()  # the CONNECT is answered before the client has authenticated itself
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
    following = TRANSITIONS.get((life, event))  # JOIN-04; nothing leads out of LEFT: JOIN-05
    if following is None:
        raise LocalProtocolError(f"{event.name} of a socket that is {life.name}")
    return following
