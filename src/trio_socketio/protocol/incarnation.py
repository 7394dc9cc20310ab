"""The life of a node in presence: from one lease to the next.

::

    OUT --STARTED--> ENROLLING --ENROLLED--> SETTLING --SETTLED--> LEASED
                       ^                      | ^  ^                | |
                       |                      | |  +------LOST------+ |
                       |                      | +--RENEWED-- ADRIFT <-+-- PASSED
                       +----------ENDED-------+----------------+------+

    SETTLING --PASSED--> ADRIFT, too. OUT is where STOPPED leads from everywhere.

The store gives each incarnation, which is named by its boot, a lease. Clients get seats in LEASED
alone. In SETTLING the node takes its claims anew, because the store has lost them or the lease is a
new one. ADRIFT is known in the outage mode "available" alone: it is uncertain whether the lease
still holds, but the clients of the node stay. In "strict" a lease that is uncertain has ENDED.
"""

from enum import auto
from typing import Final, Literal

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name

Outage = Literal["strict", "available"]
"""Whether clients with seats are put out when their node cannot renew its lease, or stay."""


class State(Name):
    """The states of a node."""

    OUT = auto()
    ENROLLING = auto()
    SETTLING = auto()
    LEASED = auto()
    ADRIFT = auto()


class Input(Name):
    """The inputs to the life of a node."""

    STARTED = auto()
    ENROLLED = auto()
    SETTLED = auto()
    LOST = auto()  # the store has lost claims
    PASSED = auto()  # the time for which the lease is certain
    RENEWED = auto()
    ENDED = auto()
    STOPPED = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.OUT, Input.STARTED): State.ENROLLING,
    (State.ENROLLING, Input.ENROLLED): State.SETTLING,
    (State.SETTLING, Input.SETTLED): State.LEASED,
    (State.SETTLING, Input.LOST): State.SETTLING,
    (State.SETTLING, Input.PASSED): State.ADRIFT,
    (State.SETTLING, Input.ENDED): State.ENROLLING,
    (State.LEASED, Input.LOST): State.SETTLING,
    (State.LEASED, Input.PASSED): State.ADRIFT,
    (State.LEASED, Input.ENDED): State.ENROLLING,
    (State.ADRIFT, Input.RENEWED): State.SETTLING,
    (State.ADRIFT, Input.ENDED): State.ENROLLING,
    **{(state, Input.STOPPED): State.OUT for state in State},
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((state, event))
    if following is None:  # LEASE-22
        raise LocalProtocolError(f"{event.name} of a node that is {state.name}")
    return following
