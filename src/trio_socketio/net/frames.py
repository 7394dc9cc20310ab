"""WebSocket frames of one connection: a fast path for common frames, wsproto for all others.

A whole, final, masked text or binary frame is decoded here. Any other whole frame is given to
wsproto, which keeps the rules of RFC 6455 for fragments and control frames; its state exists only
while a message is open. The length is checked as soon as a frame's header has arrived, so nothing
too large is ever gathered.
"""

import logging
from collections.abc import Callable
from struct import Struct
from time import perf_counter
from typing import Final

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.net.connection import Connection

try:
    from websockets.speedups import apply_mask as apply_mask
except ImportError:  # no compiled form for this platform
    from websockets.utils import apply_mask as apply_mask

log = logging.getLogger(__name__)

MAX_FRAGMENTS: Final = 1024
"""In one message. Fragments may be empty, so the bound on a message's size does not bound them."""
MESSAGES_PER_TURN: Final = 64

TEXT: Final = 0x81
BINARY: Final = 0x82
_CLOSE: Final = 0x88
_PONG: Final = 0x8A
_UNUSUAL: Final = -1  # stands for the first byte of a frame whose length only wsproto may judge
_USUAL_CLOSES: Final = {
    b"": CloseReason.NORMAL_CLOSURE,  # answers a close without a code: WSP-24
    (1000).to_bytes(2): CloseReason.NORMAL_CLOSURE,
    (1001).to_bytes(2): CloseReason.GOING_AWAY,
}
_SHORT_TEXT: Final = [b"", *(bytes((TEXT, size)) for size in range(1, 126))]  # no text, no frame
_LENGTH_16: Final = Struct("!BBH").pack
_LENGTH_64: Final = Struct("!BBQ").pack


def encode_frame(first_byte: int, payload: bytes) -> bytes:
    """Encode one final, unmasked frame.

    Args:
        first_byte: FIN, the reserved bits and the opcode (WSP-28).
        payload: of any length.

    Spec: RFC 6455, section 5.2.
    """
    size = len(payload)  # written in as few bytes as it can be: WSP-29
    if size < 126:
        return bytes((first_byte, size)) + payload
    if size < 65536:
        return _LENGTH_16(first_byte, 126, size) + payload
    return _LENGTH_64(first_byte, 127, size) + payload


def encode_frames(packet: Outgoing) -> bytes:
    """Encode a packet as frames, once for all its receivers. Spec: Engine.IO v4, "WebSocket"."""
    frames = packet.frames
    if frames is None:
        text = packet.text
        size = len(text)
        frames = _SHORT_TEXT[size] + text if size < 126 else encode_frame(TEXT, text)
        if packet.attachments:
            frames += b"".join([encode_frame(BINARY, data) for data in packet.attachments])
        packet.frames = frames
    return frames


class OpenMessage:
    """A message of which some frames have come, or a control frame that is being read.

    Attributes:
        wsproto: the state of wsproto, which keeps the rules of RFC 6455 for these frames.
        fragments: how many the message has; 0 if it was handed over, or none has come yet.
    """

    __slots__ = ("_bytes", "_parts", "fragments", "wsproto")

    def __init__(self) -> None:
        self.wsproto = FrameProtocol(client=False, extensions=[])
        self.fragments = 0
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, data: bytes) -> int:
        """Add a fragment; return the size of the message in bytes."""
        self.fragments += 1
        self._parts.append(data)
        self._bytes += len(data)
        return self._bytes

    def join(self) -> bytes:
        """Return the whole message, to be handed over now."""
        self.fragments = 0
        return b"".join(self._parts)


class FrameReceiver:
    """Cuts frames out of a connection and hands over whole messages.

    Args:
        connection: a connection that has switched to WebSocket.
        max_bytes: the largest message.
        on_text: called with the UTF-8 bytes of each text message.
        on_binary: called with each binary message.
        on_lost: called once with the disconnect reason, when the peer has closed, is gone, or has
            broken the protocol; not called after close.
    """

    __slots__ = (
        "_connection",
        "_held",
        "_max_bytes",
        "_need",
        "_on_binary",
        "_on_lost",
        "_on_text",
        "_open",
        "_rest",
        "_stopped",
    )

    def __init__(
        self,
        connection: Connection,
        max_bytes: int,
        on_text: Callable[[bytes], None],
        on_binary: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._on_text = on_text
        self._on_binary = on_binary
        self._on_lost: Callable[[str], None] | None = on_lost
        self._rest: bytearray | None = None  # bytes of a frame that is not whole yet
        self._need = 0  # how long _rest must be before another look at it is of use
        self._stopped = False  # nothing may be handed over, because we are paused or closing
        self._held = False  # reading is held until what was read has been handed over
        self._open: OpenMessage | None = None
        connection.set_receiver(self)

    def receive_data(self, data: bytes) -> None:
        rest = self._rest
        if rest is not None:
            rest += data
            if len(rest) < self._need or self._stopped:
                return
            data = bytes(rest)
            self._rest = None
        elif self._stopped:
            self._rest = bytearray(data)
            return
        self._cut(data)

    def receive_more(self) -> None:
        rest = self._rest
        if rest is not None and not self._stopped:
            self._rest = None
            self._cut(bytes(rest))

    def connection_lost(self, reason: str) -> None:
        self._lose(reason)

    def set_handlers(
        self,
        on_text: Callable[[bytes], None],
        on_binary: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Call other functions than before, from the next read on."""
        self._on_text, self._on_binary, self._on_lost = on_text, on_binary, on_lost

    def pause(self, user_timeout_s: float) -> None:
        """Hand nothing over after the current message; see Connection.pause_reading."""
        self._stopped = True
        self._connection.pause_reading(user_timeout_s)

    def hold(self) -> None:
        """Hand nothing over after the current message; see Connection.hold_reading."""
        self._stopped = True
        self._connection.hold_reading()

    def resume(self) -> None:
        """In the next turn, hand over what is buffered; then read again."""
        if self._on_lost is None:
            return
        self._stopped = False
        if self._rest is None:
            self._connection.resume_reading()
        else:
            self._held = True
            self._connection.hold_reading()
            self._connection.call_again()

    def close(self, code: int) -> None:
        """Send a close frame and finish the connection (WSP-31).

        Nothing more is handed over, and on_lost is not called.
        """
        if self._on_lost is not None:
            self._fall_silent()
            self._send_close(code)
            self._connection.finish()

    def sever(self, code: int) -> int:
        """Drop all output, send a close frame in its place, and finish the connection.

        Nothing more is handed over, and on_lost is not called.

        Returns:
            How many packets were dropped, without those that the kernel has refused.
        """
        if self._on_lost is None:
            return 0
        self._fall_silent()
        connection = self._connection
        dropped = connection.drop_output()
        # Behind a part of a frame, or without the answer that switches to WebSocket, which may have
        # been dropped as well, the peer would not know a close frame as such.
        if connection.is_blocked or not connection.traffic.bytes_out:
            connection.abort()  # LEASE-49
        else:
            self._send_close(code)
            connection.finish()
        return dropped

    def _fall_silent(self) -> None:
        self._on_lost = None
        self._stopped = True
        self._rest = None
        self._on_text = self._on_binary = _ignore  # whose owner may hold this receiver (RUN-44)

    def _cut(self, data: bytes) -> None:
        """Handle the whole frames in data, and keep what is left."""
        at = 0
        size = len(data)
        on_text = self._on_text
        messages = MESSAGES_PER_TURN
        uncommon = 0  # how many of these wsproto had
        most = self._max_bytes
        short = 126 if most > 125 else most + 1  # shorter ones are neither extended nor too long
        turn_ends = self._connection.owner.poller.turn_ends
        try:
            while size - at >= 2:
                first = data[at]
                length = data[at + 1] - 0x80  # negative if the frame is not masked
                if 0 <= length < short:
                    start = at + 6
                else:
                    if length == 126:
                        if size - at < 4:
                            break
                        start = at + 8
                        length = data[at + 2] << 8 | data[at + 3]
                        is_usual = length > 125
                    else:
                        start, length = _measure(data, at)
                        if start == 0:
                            break
                        is_usual = data[at + 1] == 0xFF and length > 65535
                    if not is_usual:
                        first = _UNUSUAL
                    if length > self._max_bytes:  # EIO4-46
                        self._break_off(CloseReason.MESSAGE_TOO_BIG)
                        return
                end = start + length
                if end > size:
                    self._keep(data, at, end - at)
                    return
                messages -= 1
                if first == TEXT and self._open is None:
                    payload = apply_mask(data[start:end], data[start - 4 : start])
                    if not payload.isascii() and not is_utf8(payload):
                        self._break_off(CloseReason.INVALID_FRAME_PAYLOAD_DATA)  # WSP-17
                        return
                    on_text(payload)
                elif first == BINARY and self._open is None:
                    self._on_binary(apply_mask(data[start:end], data[start - 4 : start]))
                elif first == _CLOSE and (
                    code := _USUAL_CLOSES.get(apply_mask(data[start:end], data[start - 4 : start]))
                ):
                    messages += 1
                    self._end(code, "transport close", heard_all=True)
                    return
                else:
                    uncommon += 1  # counted once its message is complete
                    if not self._receive_by_wsproto(data[at:end]):
                        return
                    weight = self._weigh()
                    messages -= weight
                    uncommon += weight
                at = end
                if at == size or self._stopped:
                    break
                # The clock is read after the first message and then after every fourth; reading it
                # after each message costs a tenth of a small message.
                if messages <= 0 or (messages & 3 == 3 and perf_counter() > turn_ends):
                    self._held = True
                    self._rest = bytearray(data[at:])
                    self._connection.hold_reading()
                    self._connection.call_again()
                    return
            if (at < size or self._held) and self._on_lost is not None:
                self._keep(data, at, 0)
        finally:  # counted for each read, so that a message costs nothing
            self._connection.traffic.packets_in += MESSAGES_PER_TURN - messages - uncommon

    def _keep(self, data: bytes, at: int, need: int) -> None:
        """Keep what no whole frame can be cut from, until more bytes come or resume is called."""
        self._need = need
        self._rest = bytearray(data[at:]) if at < len(data) else None
        if self._held and not self._stopped:
            self._held = False
            self._connection.resume_reading()

    def _receive_by_wsproto(self, frame: bytes) -> bool:
        """Handle a whole frame by wsproto's rules; return whether to go on with the next one."""
        message = self._open
        if message is None:
            message = self._open = OpenMessage()
        try:
            # wsproto refuses whatever breaks a rule of RFC 6455, and says with which code to close
            # the connection (WSP-10, WSP-11, WSP-12, WSP-13, WSP-14, WSP-15, WSP-18, WSP-19,
            # WSP-25, WSP-26, WSP-27).
            message.wsproto.receive_bytes(frame)
            for received in message.wsproto.received_frames():
                payload = received.payload
                if isinstance(payload, tuple):
                    # WSP-23. It has a code: one without is among the usual ones.
                    self._end(payload[0], "transport close", heard_all=True)
                    return False
                data = payload.encode() if isinstance(payload, str) else bytes(payload)
                if received.opcode is Opcode.PING:
                    self._connection.write_apart(encode_frame(_PONG, data))  # WSP-20
                elif received.opcode is not Opcode.PONG and not self._gather(  # WSP-21
                    message, received.opcode, data, finished=received.message_finished
                ):
                    return False
        except ParseFailed as error:
            self._break_off(error.code)
            return False
        if not message.fragments:  # else the message goes on after a control frame: WSP-22
            self._open = None
        return True

    def _weigh(self) -> int:
        """How many messages more than one the last frame counts for in this turn."""
        return 0

    def _gather(self, message: OpenMessage, opcode: Opcode, data: bytes, *, finished: bool) -> bool:
        """Add to a message; return whether to go on with the next frame."""
        if message.add(data) > self._max_bytes or message.fragments > MAX_FRAGMENTS:
            self._break_off(CloseReason.MESSAGE_TOO_BIG)  # EIO4-46, WSP-30
            return False
        if finished:  # WSP-16
            self._connection.traffic.packets_in += 1
            (self._on_text if opcode is Opcode.TEXT else self._on_binary)(message.join())
        return True

    def _break_off(self, code: int) -> None:
        """Close the connection, because the peer broke the protocol."""
        log.debug("closing a WebSocket of %s with code %d", self._connection.address, code)
        self._end(code, "transport error")

    def _end(self, code: int, reason: str, *, heard_all: bool = False) -> None:
        self._send_close(code)
        self._connection.finish(heard_all=heard_all)
        self._lose(reason)

    def _send_close(self, code: int) -> None:
        self._connection.write_apart(encode_frame(_CLOSE, code.to_bytes(2, "big")))

    def _lose(self, reason: str) -> None:
        on_lost = self._on_lost
        self._fall_silent()
        if on_lost is not None:
            on_lost(reason)


def _ignore(_: bytes) -> None:
    """Stand in for the receiver of messages, once no more are handed over."""


def _measure(data: bytes, at: int) -> tuple[int, int]:
    """Read the header of a frame of an uncommon form.

    Returns:
        Where its payload begins, and its length; (0, 0) if the header is not whole yet.
    """
    length = data[at + 1] & 0x7F
    start = at + 2
    if length >= 126:
        width = 2 if length == 126 else 8
        start += width
        if len(data) < start:
            return 0, 0
        length = int.from_bytes(data[start - width : start], "big")
    return start + (4 if data[at + 1] & 0x80 else 0), length


def is_utf8(payload: bytes) -> bool:
    """Whether a payload is valid UTF-8."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
