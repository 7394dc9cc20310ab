"""A client's membership of one namespace, as the client sees it.

::

                +------------------- LEAVE (from any) -------------------+
                v                                                        |
    NEW       LEFT --ASK--> WAITING --CONNECT_SENT--> JOINING --ACCEPTED--> JOINED
     |          ^           ^    ^                      |   |                |   |
     +---ASK----|-----------+    +-------- LOST --------+   |                |   |
                |                +-------- LOST ------------|----------------+   |
                +------------------ REFUSED, PUT_OUT -------+--------------------+

NEW was never asked for; what the program emits waits, as in every state but LEFT. WAITING wants to
be in as soon as there is a connection; NEW and LEFT do not.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError


class State(Enum):
    """How far the client is."""

    NEW = auto()
    LEFT = auto()  # left, refused or put out
    WAITING = auto()
    JOINING = auto()
    JOINED = auto()


class Input(Enum):
    """What can happen to a membership."""

    ASK = auto()
    CONNECT_SENT = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    PUT_OUT = auto()
    LOST = auto()
    LEAVE = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.NEW, Input.ASK): State.WAITING,
    (State.NEW, Input.LOST): State.NEW,
    (State.NEW, Input.LEAVE): State.LEFT,
    (State.LEFT, Input.ASK): State.WAITING,
    (State.LEFT, Input.LOST): State.LEFT,
    (State.LEFT, Input.LEAVE): State.LEFT,
    (State.WAITING, Input.CONNECT_SENT): State.JOINING,
    (State.WAITING, Input.LOST): State.WAITING,
    (State.WAITING, Input.LEAVE): State.LEFT,
    (State.JOINING, Input.ACCEPTED): State.JOINED,
    (State.JOINING, Input.REFUSED): State.LEFT,
    (State.JOINING, Input.LOST): State.WAITING,
    (State.JOINING, Input.LEAVE): State.LEFT,
    # Left and asked again in a hurry: the answer to the first CONNECT is followed by another.
    (State.JOINED, Input.ACCEPTED): State.JOINED,
    (State.JOINED, Input.REFUSED): State.LEFT,
    (State.JOINED, Input.PUT_OUT): State.LEFT,
    (State.JOINED, Input.LOST): State.WAITING,
    (State.JOINED, Input.LEAVE): State.LEFT,
}


@dataclass(slots=True)
class Membership:
    """One namespace: whether the client is in it, as whom, and what it needs to recover.

    Args:
        state: see above.
        socket_id: the public name that the server gave; empty while not joined.
        pid: the private name of a session that the server may restore; None where it does not.
        offset: what the last packet that counts for recovery was marked with.
        recovered: whether the server restored the session the last time.

    Spec: Socket.IO v5, "Connection to a namespace"; "Connection state recovery".
    """

    state: State = State.NEW
    socket_id: str = ""
    pid: str | None = None
    offset: str | None = None
    recovered: bool = False

    def receive(self, event: Input) -> None:
        """Apply one input.

        Raises:
            LocalProtocolError: it cannot happen in this state.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise LocalProtocolError(f"{event.name} while the client is {self.state.name}")
        self.state = state
        if state is not State.JOINED:
            self.socket_id = ""
        if state is State.LEFT:  # who goes, or is sent away, does not come back to the same session
            self.pid = self.offset = None

    def connect_payload(self, auth: dict[str, Any]) -> dict[str, Any] | None:
        """What a CONNECT carries: the application's auth, and what names a session to restore."""
        if self.pid is None:
            return auth or None
        recovery = {"pid": self.pid}
        if self.offset is not None:
            recovery["offset"] = self.offset
        return auth | recovery

    def receive_connect(self, data: Any) -> None:
        """The server let us in.

        Raises:
            RemoteProtocolError: it does not say as whom.
        """
        socket_id = data.get("sid") if type(data) is dict else None
        pid = data.get("pid") if type(data) is dict else None
        if type(socket_id) is not str or not socket_id:
            # What servers for clients 1.x and 2.x send.
            raise RemoteProtocolError("a CONNECT without a sid: is the server older than 3.0?")
        if pid is not None and type(pid) is not str:
            raise RemoteProtocolError("the pid of a CONNECT is not a string")
        self.receive(Input.ACCEPTED)
        self.socket_id = socket_id
        self.recovered = pid is not None and pid == self.pid
        if not self.recovered:
            self.offset = None  # it was of another session, and means nothing in this one
        self.pid = pid

    def receive_event(self, arguments: list[Any], ack_id: int | None) -> bool:
        """An event came: keep its offset, if it has one.

        A server that restores sessions adds an offset to what it stores, which is never an event
        that asks for an acknowledgement.

        Args:
            arguments: name first.
            ack_id: of the event.
        Returns:
            Whether the last argument was taken for an offset.
        """
        if self.pid is None or ack_id is not None or len(arguments) < 2:
            return False
        if type(arguments[-1]) is not str:
            return False
        self.offset = arguments[-1]
        return True
