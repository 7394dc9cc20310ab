"""A client's membership of one namespace, as the client sees it.

::

                +------------------- LEAVE (from any) -------------------+
                v                                                        |
    NEW       LEFT --ASK--> WAITING --CONNECT_SENT--> JOINING --ACCEPTED--> JOINED
     |          ^           ^    ^                      |   |                |   |
     +---ASK----|-----------+    +-------- LOST --------+   |                |   |
                |                +-------- LOST ------------|----------------+   |
                +------------------ REFUSED, PUT_OUT -------+--------------------+

In NEW the program has not asked for the namespace yet. WAITING sends a CONNECT as soon as there is
a connection; NEW and LEFT do not. Events that the program emits in NEW, WAITING or JOINING wait.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError


class State(Enum):
    """The states of a membership."""

    NEW = auto()
    LEFT = auto()  # the client left, was refused, or was put out by the server
    WAITING = auto()
    JOINING = auto()
    JOINED = auto()


class Input(Enum):
    """The events of a membership."""

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
    # A client that left and asked again at once gets the answers to both of its CONNECTs.
    (State.JOINED, Input.ACCEPTED): State.JOINED,
    (State.JOINED, Input.REFUSED): State.LEFT,
    (State.JOINED, Input.PUT_OUT): State.LEFT,
    (State.JOINED, Input.LOST): State.WAITING,
    (State.JOINED, Input.LEAVE): State.LEFT,
}


@dataclass(slots=True)
class Membership:
    """Whether the client is in a namespace, under which id, and what it needs to recover.

    Args:
        state: see the diagram above.
        socket_id: the public id that the server gave; empty while not joined.
        pid: the private id by which the server restores the session; None if it does not.
        offset: the mark of the last packet received that counts for recovery; None before one.
        recovered: whether the server restored the session with its last CONNECT.

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
        if state is State.LEFT:  # a client that has left does not get the same session back: CLI-31
            self.pid = self.offset = None

    def connect_payload(self, auth: dict[str, Any]) -> dict[str, Any] | None:
        """The payload of a CONNECT: the application's auth, and the session to restore if any."""
        if self.pid is None:
            return auth or None
        recovery = {"pid": self.pid}
        if self.offset is not None:
            recovery["offset"] = self.offset
        return auth | recovery  # CLI-30

    def receive_connect(self, data: Any) -> None:
        """Take the payload of the server's CONNECT, which lets the client in.

        Raises:
            RemoteProtocolError: it has no sid, or a pid that is not text.
        """
        socket_id = data.get("sid") if type(data) is dict else None
        pid = data.get("pid") if type(data) is dict else None
        if type(socket_id) is not str or not socket_id:  # CLI-08
            # Servers of Socket.IO 1.x and 2.x answer in this way.
            raise RemoteProtocolError("a CONNECT without a sid: is the server older than 3.0?")
        if pid is not None and type(pid) is not str:
            raise RemoteProtocolError("the pid of a CONNECT is not a string")
        self.receive(Input.ACCEPTED)
        self.socket_id = socket_id
        self.recovered = pid is not None and pid == self.pid  # CLI-30
        if not self.recovered:
            self.offset = None  # it marks a packet of another session: CLI-31
        self.pid = pid

    def receive_event(self, arguments: list[Any], ack_id: int | None) -> bool:
        """Keep the offset of a received event, if it has one.

        A server that restores sessions adds an offset as the last argument of each packet that it
        stores. It never stores an event that asks for an acknowledgement (CLI-32).

        Args:
            arguments: the event's name, then its arguments.
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
