"""The WebSocket transport: carries a session from its start, or takes it over from polling."""

from math import inf
from typing import TYPE_CHECKING, ClassVar

from trio_socketio.net.deflate import DeflateReceiver, Inflater
from trio_socketio.net.driving import READ
from trio_socketio.net.frames import FrameReceiver, encode_frames
from trio_socketio.net.traffic import Traffic
from trio_socketio.protocol.connection import HELD

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
        encode: makes the frames of a packet; None for the frames that all plain receivers share.
            Only it knows of revision and compression, so that both combine with whatever the floor
            above writes (WS-11).

    Attributes:
        connection: see above.
        frames: reads the connection.

    Spec: Engine.IO v4, "WebSocket".
    """

    name: ClassVar = "websocket"

    __slots__ = ("_encode", "_leaving_bytes", "connection", "frames")

    def __init__(
        self,
        connection: "Connection",
        frames: FrameReceiver,
        encode: "Callable[[Outgoing], bytes] | None",
    ) -> None:
        self.connection = connection
        self.frames = frames
        self._encode = encode
        self._leaving_bytes = 0  # unconfirmed by the client, when last counted

    @property
    def direct(self) -> "Connection | None":
        """The connection, if packets go out as the frames that all plain receivers share."""
        return self.connection if self._encode is None else None

    @property
    def is_writable(self) -> bool:
        """Whether the kernel has taken all output so far."""
        return not self.connection.is_blocked

    @property
    def waiting_bytes(self) -> int:
        """The size of the output that the kernel has not taken."""
        return self.connection.waiting_bytes

    @property
    def traffic(self) -> Traffic:
        """The traffic of the connection since its switch, unsent output included."""
        traffic = Traffic(0, 0, *self.connection.unflushed)
        traffic.add(self.connection.traffic)
        return traffic

    def send(self, packet: "Outgoing") -> None:
        """Write the frames of a packet."""
        encode = self._encode
        self.connection.write(
            (packet.frames or encode_frames(packet)) if encode is None else encode(packet)
        )

    def call_when_drained(self, callback: "Callable[[], None]") -> None:
        """Call back once, when the kernel has taken everything."""
        self.connection.on_drained = callback

    def pause(self, user_timeout_s: float) -> None:
        """Stop reading the connection."""
        self.frames.pause(user_timeout_s)

    def hold(self) -> None:
        """Stop handing messages over for the moment."""
        self.frames.hold()

    def resume(self) -> None:
        """Read the connection again."""
        self.frames.resume()

    def note_ping(self) -> None:
        """Remember how much the client has not confirmed, if it is behind."""
        connection = self.connection
        if connection.backlog is not None:  # asking the kernel costs a system call
            self._leaving_bytes = connection.leaving_bytes

    def delays_ping(self) -> bool:
        """Whether the client has confirmed output since it was last asked for."""
        connection = self.connection
        if connection.backlog is None:
            return False
        before, self._leaving_bytes = self._leaving_bytes, connection.leaving_bytes
        return self._leaving_bytes < before

    def read_on(self) -> bool:
        """Read the connection, unless it is held."""
        return self.connection.reading is HELD or self.connection.on_ready(READ)

    def next_deadline(self) -> float:
        """Return infinity: the connection has a deadline of its own."""
        return inf

    def expire(self, now: float) -> None:
        """Do nothing: the connection judges its client."""

    def close(self, code: int) -> bool:
        """Send the close frame behind everything else."""
        self.frames.close(code)
        return True

    def abort(self) -> None:
        """Send the close frame too: it is harmless if the client is gone."""
        self.frames.close(1000)

    def sever(self, code: int) -> int:
        """Send the close frame in the place of everything else."""
        return self.frames.sever(code)

    def discard(self) -> int:
        """Return 0: the connection sends what it has, then the close frame."""
        return 0


def read_frames(
    connection: "Connection",
    max_bytes: int,
    on_text: "Callable[[bytes], None]",
    on_binary: "Callable[[bytes], None]",
    on_lost: "Callable[[str], None]",
    agreement: "Agreement | None",
) -> FrameReceiver:
    """Return what reads the messages of a WebSocket.

    Args:
        connection: has switched to WebSocket.
        max_bytes: the longest message that is accepted, after inflating.
        on_text: takes a text message.
        on_binary: takes a binary message.
        on_lost: told the reason when the connection ends.
        agreement: of both sides to compress; None if there is none.
    """
    if agreement is None:
        return FrameReceiver(connection, max_bytes, on_text, on_binary, on_lost)
    inflater = Inflater(agreement.client_bits, max_bytes, takeover=agreement.client_takeover)
    return DeflateReceiver(connection, max_bytes, on_text, on_binary, on_lost, inflater)
