"""What carries a session: the interface of polling and WebSocket, and what is left at the end.

The implementations are in `engine/polling.py`, `engine/websocket.py` and `engine/upgrade.py`.
"""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.net.connection import Connection


class Transport(Protocol):
    """Carries the packets of one session until another transport replaces it."""

    @property
    def name(self) -> str:
        """How handshakes call it: "polling" or "websocket"."""

    @property
    def direct(self) -> "Connection | None":
        """Where packets can be written without asking the transport.

        None unless they leave at once, as the frames that all plain receivers of a packet share.
        """

    @property
    def is_writable(self) -> bool:
        """Whether a packet would leave at once."""

    @property
    def waiting_bytes(self) -> int:
        """Output that was accepted and has not left."""

    def send(self, packet: "Outgoing", /) -> None:
        """Take a packet. Never blocks, and calls nothing back."""

    def call_when_drained(self, callback: Callable[[], None]) -> None:
        """Call back once, when no output waits any more."""

    def pause(self, user_timeout_s: float) -> None:
        """Hand nothing more over; only a reset is noticed, or a peer dead for user_timeout_s."""

    def hold(self) -> None:
        """Hand nothing more over for the moment; a hang-up waits until resume."""

    def resume(self) -> None:
        """Hand over again, in the next turn."""

    def note_ping(self) -> None:
        """A ping was sent: remember how much lies before it."""

    def delays_ping(self) -> bool:
        """Whether the last ping lies behind output that the client is still taking (EIO4-84)."""

    def read_on(self) -> bool:
        """Read what has arrived; whether there is anything that was not handed over before."""

    def next_deadline(self) -> float:
        """When expire is due."""

    def expire(self, now: float) -> None:
        """Judge a client that does not take what waits for it."""

    def close(self, code: int) -> bool:
        """End in order.

        Args:
            code: of the WebSocket close frame.
        Returns:
            Whether all has been sent; otherwise the session is told later.
        """

    def abort(self) -> None:
        """End at once: the client is gone or broke the protocol."""

    def discard(self) -> int:
        """Drop what waits, now that the session has ended; how many packets those were."""


class Upgrade(Protocol):
    """A WebSocket that is to replace the transport of a session, or has just done so."""

    @property
    def is_probed(self) -> bool:
        """Whether the client is on its way to the WebSocket: a GET is to be answered."""

    def next_deadline(self) -> float:
        """When the client has had time enough."""

    def fail(self) -> None:
        """The WebSocket will not take over."""

    def resume(self) -> None:
        """The session is read again: go on with what the old transport has held back."""

    def close(self, code: int) -> None:
        """The session ends: close the WebSocket."""

    def discard(self) -> None:
        """The session has ended: refuse what the old transport was still receiving."""


class Ended:
    """Stands in for the transport of a session that has ended: it takes nothing.

    Args:
        name: of the transport that carried the session last.
    """

    __slots__ = ("name",)

    direct = None
    is_writable = False
    waiting_bytes = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, packet: "Outgoing") -> None:
        """Never called: the session drops the packet, and counts it."""

    def call_when_drained(self, callback: Callable[[], None]) -> None:
        """Never: who waits for a session that has ended is told so by the session."""

    def pause(self, user_timeout_s: float) -> None:
        """Nothing arrives."""

    def hold(self) -> None:
        """Nothing arrives."""

    def resume(self) -> None:
        """Nothing arrives."""

    def note_ping(self) -> None:
        """No ping was sent."""

    def delays_ping(self) -> bool:
        """Nothing lies before a ping."""
        return False

    def read_on(self) -> bool:
        """Nothing arrives."""
        return False

    def next_deadline(self) -> float:
        """Never."""
        return inf

    def expire(self, now: float) -> None:
        """Nothing waits."""

    def close(self, code: int) -> bool:
        """It is over."""
        return True

    def abort(self) -> None:
        """It is over."""

    def discard(self) -> int:
        """Nothing waits."""
        return 0
