"""The upgrade of a session from polling to WebSocket, as the server sees it.

::

                +---------- ProbeFailed -----------+
                v                                  |
    POLLING --CandidateOpened--> CANDIDATE --ProbeReceived--> PROBED --UpgradeReceived--> UPGRADED
                ^                    |                          |
                +--- ProbeFailed ----+           (a second probe is answered again)

A candidate is a WebSocket that names the session and has not taken over yet.
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final

from trio_socketio.errors import RemoteProtocolError


class State(Enum):
    """What carries the session."""

    POLLING = auto()
    CANDIDATE = auto()  # a WebSocket is open and has not probed
    PROBED = auto()  # probe answered, polling not yet retired
    UPGRADED = auto()


class Input(Enum):
    """What can happen to an upgrade."""

    CANDIDATE_OPENED = auto()
    PROBE_RECEIVED = auto()
    UPGRADE_RECEIVED = auto()
    PROBE_FAILED = auto()  # the candidate closed, sent something else, or took too long


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.POLLING, Input.CANDIDATE_OPENED): State.CANDIDATE,
    (State.CANDIDATE, Input.PROBE_RECEIVED): State.PROBED,  # EIO4-48
    (State.CANDIDATE, Input.PROBE_FAILED): State.POLLING,  # EIO4-52
    # EIO4-53: the reference completes an upgrade whose probe was left out; so do we.
    (State.CANDIDATE, Input.UPGRADE_RECEIVED): State.UPGRADED,
    (State.PROBED, Input.PROBE_RECEIVED): State.PROBED,
    (State.PROBED, Input.UPGRADE_RECEIVED): State.UPGRADED,
    (State.PROBED, Input.PROBE_FAILED): State.POLLING,
}


@dataclass(slots=True)
class UpgradeMachine:
    """One session's upgrade. Spec: Engine.IO v4, "Upgrade".

    Args:
        timeout_s: from the candidate's opening to the upgrade packet.
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
            self.expires_at = now + self.timeout_s
        elif state in (State.POLLING, State.UPGRADED):
            self.expires_at = inf

    def is_expired(self, now: float) -> bool:
        """Whether the candidate took too long."""
        return now >= self.expires_at
