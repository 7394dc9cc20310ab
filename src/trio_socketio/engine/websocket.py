"""WebSocket: carries a session from its start, or takes it over from polling."""

from math import inf
from typing import TYPE_CHECKING, ClassVar

from trio_socketio.net.deflate import DeflateReceiver, Inflater
from trio_socketio.net.frames import FrameReceiver, encode_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.net.connection import Connection
    from trio_socketio.net.deflate import Agreement


class WebSocketTransport:
    """A WebSocket connection; each packet is one message of it (EIO4-27, EIO4-41).

    Args:
        connection: has switched to WebSocket.
        frames: reads it.
        encode: makes the frames of a packet; None for those that all plain receivers share. It is
            all that knows of revision and compression, so that either combines with what the
            floor above writes (WS-11).

    Spec: Engine.IO v4, "WebSocket".
    """

    name: ClassVar = "websocket"

    __slots__ = ("_connection", "_encode", "_leaving_bytes", "frames")

    def __init__(
        self,
        connection: "Connection",
        frames: FrameReceiver,
        encode: "Callable[[Outgoing], bytes] | None",
    ) -> None:
        self._connection = connection
        self.frames = frames
        self._encode = encode
        self._leaving_bytes = 0  # what the client had not confirmed when it was last looked at

    @property
    def direct(self) -> "Connection | None":
        """See Transport."""
        return self._connection if self._encode is None else None

    @property
    def is_writable(self) -> bool:
        """See Transport."""
        return not self._connection.is_blocked

    @property
    def waiting_bytes(self) -> int:
        """See Transport."""
        return self._connection.waiting_bytes

    def send(self, packet: "Outgoing") -> None:
        """See Transport."""
        encode = self._encode
        self._connection.write(
            (packet.frames or encode_frames(packet)) if encode is None else encode(packet)
        )

    def call_when_drained(self, callback: "Callable[[], None]") -> None:
        """See Transport."""
        self._connection.on_drained = callback

    def pause(self, user_timeout_s: float) -> None:
        """See Transport."""
        self.frames.pause(user_timeout_s)

    def hold(self) -> None:
        """See Transport."""
        self.frames.hold()

    def resume(self) -> None:
        """See Transport."""
        self.frames.resume()

    def note_ping(self) -> None:
        """See Transport."""
        connection = self._connection
        if connection.was_behind:  # asking the system costs a call
            self._leaving_bytes = connection.leaving_bytes

    def delays_ping(self) -> bool:
        """See Transport."""
        connection = self._connection
        if not connection.was_behind:
            return False
        before, self._leaving_bytes = self._leaving_bytes, connection.leaving_bytes
        return self._leaving_bytes < before

    def read_on(self) -> bool:
        """See Transport."""
        return self._connection.is_held or self._connection.on_readable()

    def next_deadline(self) -> float:
        """Never: the connection has its own."""
        return inf

    def expire(self, now: float) -> None:
        """The connection judges its client."""

    def close(self, code: int) -> bool:
        """See Transport."""
        self.frames.close(code)
        return True

    def abort(self) -> None:
        """See Transport."""
        self.frames.close(1000)

    def discard(self) -> int:
        """Nothing: the connection sends what it has, then the close frame."""
        return 0


def read_frames(
    connection: "Connection",
    max_bytes: int,
    on_text: "Callable[[bytes], None]",
    on_binary: "Callable[[bytes], None]",
    on_lost: "Callable[[str], None]",
    agreement: "Agreement | None",
) -> FrameReceiver:
    """Read the messages of a WebSocket, compressed ones too if that was agreed on."""
    if agreement is None:
        return FrameReceiver(connection, max_bytes, on_text, on_binary, on_lost)
    inflater = Inflater(agreement.client_bits, max_bytes, takeover=agreement.client_takeover)
    return DeflateReceiver(connection, max_bytes, on_text, on_binary, on_lost, inflater)
