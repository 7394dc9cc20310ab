"""What carries a session: the interface of all transports, and the one of a session that has ended.

Transports are in `engine/polling.py` and `engine/websocket.py`, the upgrade in `engine/upgrade.py`.
"""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol

from trio_socketio.net.traffic import Traffic

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.net.connection import Connection


class Transport(Protocol):
    """Carries the packets of one session until another transport replaces it."""

    @property
    def name(self) -> str:
        """The name of the transport in handshakes: "polling" or "websocket"."""

    @property
    def connection(self) -> "Connection | None":
        """The connection that is its own; None while each request may come over another one."""

    @property
    def direct(self) -> "Connection | None":
        """The connection to which packets can be written without asking the transport.

        None unless packets leave at once as the frames that all their plain receivers share.
        """

    @property
    def is_writable(self) -> bool:
        """Whether a packet would leave at once."""

    @property
    def waiting_bytes(self) -> int:
        """The size of the output that was accepted and has not left."""

    @property
    def traffic(self) -> Traffic:
        """The packets and bytes that it has received and sent."""

    def send(self, packet: "Outgoing", /) -> None:
        """Send a packet. Never blocks, and calls nothing back."""

    def call_when_drained(self, callback: Callable[[], None]) -> None:
        """Call back once, when no output waits any more."""

    def pause(self, user_timeout_s: float) -> None:
        """Hand nothing more over until `resume`.

        Args:
            user_timeout_s: the connection is not read meanwhile, so a hang-up shows only as a
                reset, or when the client has confirmed nothing for so long.
        """

    def hold(self) -> None:
        """Hand nothing more over for the moment. A hang-up is noticed after `resume`."""

    def resume(self) -> None:
        """Hand over what was held back and go on, in the next turn."""

    def note_ping(self) -> None:
        """Remember how much output lies before the ping that was just sent."""

    def delays_ping(self) -> bool:
        """Whether the last ping lies behind output that the client is still taking (EIO4-84)."""

    def read_on(self) -> bool:
        """Read what has arrived. Returns whether anything has not been handed over before."""

    def next_deadline(self) -> float:
        """When `expire` is due, on trio's clock."""

    def expire(self, now: float) -> None:
        """Judge a client that does not take what waits for it."""

    def close(self, code: int) -> bool:
        """End in order: what was sent arrives, then the close.

        Args:
            code: of the WebSocket close frame.
        Returns:
            Whether everything has been sent. If not, the transport tells the session when it has.
        """

    def abort(self) -> None:
        """End at once: the client is gone or broke the protocol."""

    def sever(self, code: int) -> int:
        """End at once, and send nothing of what waits: the client has to come back.

        Args:
            code: of the WebSocket close frame.
        Returns:
            How many packets were dropped, without those that `discard` is going to drop.
        """

    def discard(self) -> int:
        """Drop what waits, since the session has ended. Returns how many packets those were."""


class Upgrade(Protocol):
    """A WebSocket that is to replace the transport of a session, or has just replaced it."""

    @property
    def is_probed(self) -> bool:
        """Whether the probe was answered: a GET is to be answered so that the client can leave."""

    @property
    def connection(self) -> "Connection":
        """The connection of the WebSocket."""

    def next_deadline(self) -> float:
        """When the upgrade has to be complete, on trio's clock."""

    def fail(self) -> None:
        """Give the upgrade up: polling goes on."""

    def resume(self) -> None:
        """Go on with what the old transport has held back: the session is read again."""

    def close(self, code: int) -> None:
        """Close the WebSocket, now or when it has taken over, since the session is to end.

        Args:
            code: of the close frame.
        """

    def sever(self, code: int) -> None:
        """Close the WebSocket once its client would take that for the end: the session is cut off.

        Args:
            code: of the close frame.
        """

    def discard(self) -> None:
        """Close the WebSocket if it has not taken over, since the session has ended.

        What the old transport was still receiving is refused.
        """


class Ended:
    """Stands in for the transport of a session that has ended: nothing arrives, nothing is sent.

    It lets a session drop its transport, whose references would be a cycle for the garbage
    collector.

    Args:
        name: of the transport that carried the session last.
    """

    __slots__ = ("name",)

    connection = None
    direct = None
    is_writable = False
    waiting_bytes = 0

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def traffic(self) -> Traffic:
        """Return nothing, because the session has already logged its counts."""
        return Traffic()

    def send(self, packet: "Outgoing") -> None:
        """Do nothing; never called, because the session drops the packet and counts it."""

    def call_when_drained(self, callback: Callable[[], None]) -> None:
        """Do nothing: the session itself wakes those who wait when it ends."""

    def pause(self, user_timeout_s: float) -> None:
        """Do nothing."""

    def hold(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""

    def note_ping(self) -> None:
        """Do nothing."""

    def delays_ping(self) -> bool:
        """Return False: no ping was sent."""
        return False

    def read_on(self) -> bool:
        """Return False: nothing arrives."""
        return False

    def next_deadline(self) -> float:
        """Return infinity."""
        return inf

    def expire(self, now: float) -> None:
        """Do nothing."""

    def close(self, code: int) -> bool:
        """Return True: nothing is left to send."""
        return True

    def abort(self) -> None:
        """Do nothing."""

    def sever(self, code: int) -> int:
        """Return 0: nothing waits."""
        return 0

    def discard(self) -> int:
        """Return 0: nothing waits."""
        return 0
