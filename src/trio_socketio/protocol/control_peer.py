"""The life of a peer on the control socket.

::

    GREETED --IDENTIFY--> KNOWN --IDENTIFY--> KNOWN
       |                    |
       +--------END---------+-----> ENDING
       |                    |          |
       +-------LEAVE--------+--LEAVE---+--> GONE

In GREETED the peer has not said who it is. In ENDING its lines are not read any more, because it
has said that it sends none, or because it has sent too much that is wrong; calls that were read
before are still made and answered, and then it leaves. In GONE nothing can be sent to it.

Calls that were read are made in GONE, too, but none binds anything to the peer (CONTROL-24): only
one that is KNOWN can be registered as a backend, and be asked something.
"""

from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class Life(Name):
    """The states of a peer."""

    GREETED = auto()
    KNOWN = auto()
    ENDING = auto()
    GONE = auto()


class Input(Name):
    """The inputs to the life of a peer."""

    IDENTIFY = auto()  # it has given a valid token, or needs none
    END = auto()
    LEAVE = auto()  # its connection has ended, or is to be closed once its output is sent


TRANSITIONS: Final[dict[tuple[Life, Input], Life]] = {
    (Life.GREETED, Input.IDENTIFY): Life.KNOWN,
    (Life.GREETED, Input.END): Life.ENDING,
    (Life.GREETED, Input.LEAVE): Life.GONE,
    (Life.KNOWN, Input.IDENTIFY): Life.KNOWN,
    (Life.KNOWN, Input.END): Life.ENDING,
    (Life.KNOWN, Input.LEAVE): Life.GONE,
    # A call of auth that was read before the end says for the calls behind it who makes them.
    (Life.ENDING, Input.IDENTIFY): Life.ENDING,
    (Life.ENDING, Input.LEAVE): Life.GONE,
}

READING: Final = frozenset((Life.GREETED, Life.KNOWN))
"""The states in which lines of the peer are read."""


def advance(life: Life, event: Input) -> Life:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state; nothing can happen in GONE.
    """
    following = TRANSITIONS.get((life, event))
    if following is None:
        raise LocalProtocolError(f"{event.name} of a peer that is {life.name}")
    return following
