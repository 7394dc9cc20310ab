"""An Engine.IO v4 connection, as the client sees it.

::

    CONNECTING --OPENED--> OPEN --PROBE_SENT--> PROBING --PROBE_ANSWERED--> PAUSING
                            ^                      |                           |
                            +---- PROBE_FAILED ----+                  POLLING_PAUSED
                            |                                                  v
                            +------------------- UPGRADE_SENT ------------ PAUSED

    any but CLOSED --CLOSED--> CLOSED

From PAUSING until the upgrade packet is sent no poll may be started (EIO4-59), so that no packet is
fetched by a transport that is about to be left.
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Any, Final

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError


class State(Enum):
    """The states of the connection."""

    CONNECTING = auto()
    OPEN = auto()
    PROBING = auto()
    PAUSING = auto()  # the probe was answered; the last poll has not returned yet
    PAUSED = auto()
    CLOSED = auto()


class Input(Enum):
    """The events of the connection."""

    OPENED = auto()
    PROBE_SENT = auto()
    PROBE_ANSWERED = auto()
    PROBE_FAILED = auto()
    POLLING_PAUSED = auto()
    UPGRADE_SENT = auto()
    CLOSED = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.CONNECTING, Input.OPENED): State.OPEN,
    (State.CONNECTING, Input.CLOSED): State.CLOSED,
    (State.OPEN, Input.PROBE_SENT): State.PROBING,
    (State.OPEN, Input.CLOSED): State.CLOSED,
    (State.PROBING, Input.PROBE_ANSWERED): State.PAUSING,
    (State.PROBING, Input.PROBE_FAILED): State.OPEN,
    (State.PROBING, Input.CLOSED): State.CLOSED,
    (State.PAUSING, Input.POLLING_PAUSED): State.PAUSED,
    (State.PAUSING, Input.PROBE_FAILED): State.OPEN,
    (State.PAUSING, Input.CLOSED): State.CLOSED,
    (State.PAUSED, Input.UPGRADE_SENT): State.OPEN,
    (State.PAUSED, Input.PROBE_FAILED): State.OPEN,
    (State.PAUSED, Input.CLOSED): State.CLOSED,
}


@dataclass(slots=True)
class ClientMachine:
    """The handshake, heartbeat and upgrade of a client's connection.

    The handshake's values are zero or empty until it arrives. Times are in seconds on the caller's
    clock.

    Spec: Engine.IO v4, "Handshake", "Heartbeat" and "Upgrade".
    """

    transport: str = "polling"
    state: State = State.CONNECTING
    sid: str = ""
    upgrades: tuple[str, ...] = ()
    ping_interval_s: float = 0.0
    ping_timeout_s: float = 0.0
    max_payload_bytes: int = 0
    dead_at: float = inf

    def receive(self, event: Input) -> None:
        """Apply one input.

        Raises:
            LocalProtocolError: it cannot happen in this state.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise LocalProtocolError(f"{event.name} while the client is {self.state.name}")
        self.state = state
        if event is Input.UPGRADE_SENT:
            self.transport = "websocket"
        elif event is Input.CLOSED:
            self.dead_at = inf

    def receive_handshake(self, handshake: Any, now: float) -> None:
        """Take the handshake, which is the JSON of the open packet (EIO4-58).

        Args:
            handshake: the decoded JSON, of any type.
            now: when it arrived.
        Raises:
            RemoteProtocolError: a field is missing or has another type than the specification says.
            LocalProtocolError: the connection is open already.
        """
        if type(handshake) is not dict:
            raise RemoteProtocolError("the handshake is not an object")
        sid = handshake.get("sid")
        upgrades = handshake.get("upgrades")
        interval: Any = handshake.get("pingInterval")
        timeout: Any = handshake.get("pingTimeout")
        max_payload = handshake.get("maxPayload", 0)  # servers before Engine.IO 6.2 send none
        if type(sid) is not str or not sid:
            raise RemoteProtocolError("the handshake has no sid")
        if type(upgrades) is not list or any(type(name) is not str for name in upgrades):
            raise RemoteProtocolError("the handshake's upgrades are not a list of names")
        if not (_is_count(interval) and _is_count(timeout) and _is_count(max_payload)):
            raise RemoteProtocolError(
                "a number in the handshake is not an integer from 0 to 2**53 - 1"
            )
        self.receive(Input.OPENED)
        self.sid, self.upgrades = sid, tuple(upgrades)
        self.ping_interval_s, self.ping_timeout_s = interval / 1000, timeout / 1000
        self.max_payload_bytes = max_payload
        self._expect_ping(now)

    def receive_ping(self, now: float) -> None:
        """Note that the server is alive. The caller answers it with a pong."""
        self._expect_ping(now)

    def may_poll(self) -> bool:
        """Whether a poll may be started now."""
        # EIO4-59: not in PAUSING and PAUSED.
        return self.transport == "polling" and self.state in (State.OPEN, State.PROBING)

    def _expect_ping(self, now: float) -> None:
        self.dead_at = now + self.ping_interval_s + self.ping_timeout_s  # EIO4-38


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53  # beyond, JavaScript's numbers are not exact
