"""The upgrade of a session from polling to WebSocket, as the server sees it.

::

       +----------------------- PROBE_FAILED ----------------------+
       v                                                           |
    POLLING --CANDIDATE_OPENED--> CANDIDATE --PROBE_RECEIVED--> PROBED
       ^                            |   |                          |
       +------- PROBE_FAILED -------+   +---- UPGRADE_RECEIVED ----+--> UPGRADED

A second probe is answered again: PROBE_RECEIVED leads from PROBED to PROBED.

A candidate is a WebSocket that was opened for the session and has not taken it over yet.
"""

from dataclasses import dataclass
from enum import auto
from math import inf
from typing import Final

from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of an upgrade."""

    POLLING = auto()
    CANDIDATE = auto()  # a WebSocket is open and has sent no probe yet
    PROBED = auto()  # the probe was answered; polling still carries the session
    UPGRADED = auto()


class Input(Name):
    """The events of an upgrade."""

    CANDIDATE_OPENED = auto()
    PROBE_RECEIVED = auto()
    UPGRADE_RECEIVED = auto()
    PROBE_FAILED = auto()  # the candidate closed, sent something else, or took too long


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.POLLING, Input.CANDIDATE_OPENED): State.CANDIDATE,
    (State.CANDIDATE, Input.PROBE_RECEIVED): State.PROBED,  # EIO4-48
    (State.CANDIDATE, Input.PROBE_FAILED): State.POLLING,  # EIO4-52, EIO4-122
    # EIO4-53: like the reference, we complete an upgrade whose probe was left out.
    (State.CANDIDATE, Input.UPGRADE_RECEIVED): State.UPGRADED,
    (State.PROBED, Input.PROBE_RECEIVED): State.PROBED,
    (State.PROBED, Input.UPGRADE_RECEIVED): State.UPGRADED,
    (State.PROBED, Input.PROBE_FAILED): State.POLLING,  # EIO4-52, EIO4-122
}


@dataclass(slots=True)
class UpgradeMachine:
    """The upgrade of one session. Spec: Engine.IO v4, "Upgrade".

    Args:
        timeout_s: how long a candidate may take from its opening to its upgrade packet.
    """

    timeout_s: float
    state: State = State.POLLING
    expires_at: float = inf

    def receive(self, event: Input, now: float) -> None:
        """Apply one input.

        Raises:
            RemoteProtocolError: it cannot happen in this state; the state stays as it is.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise RemoteProtocolError(f"{event.name} while the upgrade is {self.state.name}")
        self.state = state
        if event is Input.CANDIDATE_OPENED:
            self.expires_at = now + self.timeout_s  # EIO4-121
        elif state in (State.POLLING, State.UPGRADED):
            self.expires_at = inf
