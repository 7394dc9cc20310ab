"""The states of an accepted connection: its life, which follows a table, its reading, its output.

::

    OPEN --FINISH--> FINISHING --SENT--> DRAINING --ABORT--+
      |                                                    v
      +--PART--> PARTING --SENT------------------------> CLOSED

ABORT leads to CLOSED from OPEN, FINISHING and PARTING as well.

In FINISHING and PARTING the rest of the output is sent. Then our direction is closed, and in
DRAINING what the peer still sends is thrown away. A peer that is PARTING has said that it sends
nothing more, so that nothing has to be drained.
"""

from enum import Enum, auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class Life(Name):
    """The states of a connection. What is read is handed over only in OPEN."""

    OPEN = auto()
    FINISHING = auto()
    PARTING = auto()
    DRAINING = auto()
    CLOSED = auto()


class Input(Name):
    """The events of a connection."""

    FINISH = auto()  # we have nothing more to say once our output is sent
    PART = auto()  # the same, and the peer has nothing more to say either
    SENT = auto()  # the kernel has taken all output
    ABORT = auto()  # we give the connection up, or the peer is gone


TRANSITIONS: Final[dict[tuple[Life, Input], Life]] = {
    (Life.OPEN, Input.FINISH): Life.FINISHING,
    (Life.OPEN, Input.PART): Life.PARTING,
    (Life.OPEN, Input.ABORT): Life.CLOSED,
    (Life.FINISHING, Input.SENT): Life.DRAINING,  # HTTP-19
    (Life.FINISHING, Input.ABORT): Life.CLOSED,
    (Life.PARTING, Input.SENT): Life.CLOSED,
    (Life.PARTING, Input.ABORT): Life.CLOSED,
    (Life.DRAINING, Input.ABORT): Life.CLOSED,
}


class Reading(Enum):
    """Whether a connection is read. Nothing follows OFF; else each state may follow any other."""

    ON = auto()
    HELD = auto()  # what was read is still being handled
    PAUSED = auto()
    OFF = auto()  # the connection is closed


class Output(Enum):
    """What is to become of the output.

    ::

        IDLE --write--> QUEUED --flush--> IDLE, if the kernel takes all of it
         ^                           +--> BLOCKED, if it refuses some
         |                                   |  |
         +--------- the kernel takes it -----+  +--write over the hard bound--> OVER

    From IDLE and QUEUED, a broadcast leads to SHARED. Another write leads back to QUEUED, and a
    flush does the same as in QUEUED. Each of them becomes SHUT when our direction is closed.
    """

    IDLE = auto()
    QUEUED = auto()  # to be flushed at the end of the turn
    SHARED = auto()  # likewise, and its end is shared with other connections
    BLOCKED = auto()  # waits until the kernel takes more
    OVER = auto()  # the connection is lost at the end of the turn
    SHUT = auto()


# Names of the module, because to look a member up in its class takes longer than a write may.
OPEN: Final = Life.OPEN
FINISHING: Final = Life.FINISHING
PARTING: Final = Life.PARTING
CLOSED: Final = Life.CLOSED
FINISH: Final = Input.FINISH
PART: Final = Input.PART
SENT: Final = Input.SENT
ABORT: Final = Input.ABORT
ON: Final = Reading.ON
HELD: Final = Reading.HELD
PAUSED: Final = Reading.PAUSED
OFF: Final = Reading.OFF
IDLE: Final = Output.IDLE
QUEUED: Final = Output.QUEUED
SHARED: Final = Output.SHARED
BLOCKED: Final = Output.BLOCKED
OVER: Final = Output.OVER
SHUT: Final = Output.SHUT


def advance(life: Life, event: Input) -> Life:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state; nothing can happen in CLOSED.
    """
    following = TRANSITIONS.get((life, event))
    if following is None:
        raise LocalProtocolError(f"{event.name} of a connection that is {life.name}")
    return following
