"""permessage-deflate: compressed WebSocket messages, within bounds.

A received message is inflated in steps, and never beyond the largest size of a message. A message
that is sent without context takeover is compressed once for all its receivers. One compressor of
the server does that for all messages; a full flush after each makes it forget what came before, so
that the size of one message tells nothing about another.

Spec: RFC 7692.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from wsproto.frame_protocol import CloseReason, Opcode

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import PayloadTooLarge
from trio_socketio.net.connection import Connection
from trio_socketio.net.frames import (
    BINARY,
    MAX_FRAGMENTS,
    TEXT,
    FrameReceiver,
    OpenMessage,
    apply_mask,
    encode_frame,
    encode_frames,
    is_utf8,
)
from trio_socketio.net.options import PerMessageDeflate

NAME: Final = "permessage-deflate"
MAX_OFFERS: Final = 8
MAX_STREAMS: Final = 1024
"""The most final blocks in one message. After each of them zlib must begin anew, which costs far
more than the two bytes that such a block takes."""

_RESERVED: Final = 0x70
_COMPRESSED: Final = 0x40
_FINAL: Final = 0x80
_TAIL: Final = b"\x00\x00\xff\xff"  # the end of what a flush writes, which is not sent
_STEP_BYTES: Final = 16 * 1024
_WEIGHED_BYTES: Final = 4 * 1024  # to inflate this much takes as long as to handle a small message
_BITS: Final = re.compile(r"[89]|1[0-5]").fullmatch
_ZLIB_MIN_BITS: Final = 9


class Agreement(NamedTuple):
    """The parameters on which client and server agreed.

    Args:
        server_bits, client_bits: the window of what the side sends, as a power of two.
        server_takeover, client_takeover: whether the side keeps its window between messages.
        answer: the value of Sec-WebSocket-Extensions in the server's response.
    """

    server_bits: int
    client_bits: int
    server_takeover: bool
    client_takeover: bool
    answer: bytes


class Deflate:
    """The extension of one server.

    Args:
        options: see PerMessageDeflate.
    """

    def __init__(self, options: PerMessageDeflate) -> None:
        self._options = options
        # By window; WS-04: connections without takeover share a compressor.
        self._shared: dict[int, RawDeflate] = {}

    def negotiate(self, header: str) -> Agreement | None:
        """Accept the first offer that is well formed and can be met (WS-01).

        Args:
            header: the client's Sec-WebSocket-Extensions.
        Returns:
            None if there is no such offer: the connection then opens without the extension.

        Spec: RFC 7692, section 7.1.
        """
        for offer in header.split(",", MAX_OFFERS)[:MAX_OFFERS]:
            parameters = _parse_offer(offer)
            if parameters is not None:
                agreement = self._accept(parameters)
                if agreement is not None:
                    return agreement
        return None

    def _accept(self, offer: dict[str, int]) -> Agreement | None:
        options = self._options
        server_bits = min(options.server_max_window_bits, offer.get("server_max_window_bits", 15))
        client_bits = 15
        if server_bits < _ZLIB_MIN_BITS:  # zlib cannot write it, so the offer cannot be met
            return None
        server_takeover = not (
            options.server_no_context_takeover or "server_no_context_takeover" in offer
        )
        client_takeover = not (
            options.client_no_context_takeover or "client_no_context_takeover" in offer
        )
        answer = [NAME]
        if not server_takeover:
            answer.append("server_no_context_takeover")
        if not client_takeover:
            answer.append("client_no_context_takeover")
        if server_bits < 15 or "server_max_window_bits" in offer:
            answer.append(f"server_max_window_bits={server_bits}")
        if "client_max_window_bits" in offer:
            client_bits = min(options.client_max_window_bits, offer["client_max_window_bits"])
            if client_bits < 15:
                answer.append(f"client_max_window_bits={client_bits}")
        return Agreement(
            server_bits, client_bits, server_takeover, client_takeover, "; ".join(answer).encode()
        )

    def sender(self, agreement: Agreement) -> "Deflater":
        """Return what encodes packets for a connection with this agreement."""
        options, bits = self._options, agreement.server_bits
        if agreement.server_takeover:
            raw = RawDeflate(options.level, bits, options.memory_level, takeover=True)
            return Deflater(raw, options.threshold_bytes, None)
        if bits not in self._shared:
            self._shared[bits] = RawDeflate(options.level, bits, options.memory_level)
        return Deflater(self._shared[bits], options.threshold_bytes, f"websocket-{bits}")


def _parse_offer(text: str) -> dict[str, int] | None:
    """The parameters of one offer, or None if it is not well formed (WS-02).

    A window without a value is 15.
    """
    name, *parts = [part.strip() for part in text.split(";")]
    if name.lower() != NAME:
        return None
    offer: dict[str, int] = {}
    for part in parts:
        key, equals, value = [item.strip() for item in part.partition("=")]
        if key in offer:
            return None
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            if equals:
                return None
            offer[key] = 1
        elif key == "client_max_window_bits" and not equals:
            offer[key] = 15
        elif key in ("server_max_window_bits", "client_max_window_bits"):
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if not _BITS(value):
                return None
            offer[key] = int(value)
        else:
            return None
    return offer


class RawDeflate:
    """A compressor of messages.

    Args:
        level, bits, memory_level: see zlib.compressobj.
        takeover: whether a message may refer to those before it.
    """

    __slots__ = ("_flush", "_zlib", "takeover")

    def __init__(
        self, level: int, bits: int = 15, memory_level: int = 8, *, takeover: bool = False
    ) -> None:
        self.takeover = takeover
        self._flush = zlib.Z_SYNC_FLUSH if takeover else zlib.Z_FULL_FLUSH
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, -bits, memory_level)

    def compress(self, data: bytes) -> bytes:
        """Compress data into blocks that end at a byte, the last of them an empty stored block."""
        return self._zlib.compress(data) + self._zlib.flush(self._flush)


class Deflater:
    """Encodes packets for all connections with the same agreement.

    Args:
        raw: the compressor.
        threshold_bytes: smaller messages are not compressed.
        form: the name of its frames in `Outgoing.coded`; None if they are of use to one connection
            only.
    """

    __slots__ = ("_form", "_raw", "_threshold_bytes")

    def __init__(self, raw: RawDeflate, threshold_bytes: int, form: str | None) -> None:
        self._raw = raw
        self._threshold_bytes = threshold_bytes
        self._form = form

    def encode(self, packet: Outgoing) -> bytes:
        """Encode a packet as frames, as net.frames.encode_frames does."""
        if packet.byte_count() < self._threshold_bytes or not packet.compress:
            return packet.frames or encode_frames(packet)
        if self._form is None:
            return self._encode(packet)
        if packet.coded is None:  # WS-04: what is made is kept for the next receiver
            packet.coded = {}
        frames = packet.coded.get(self._form)
        if frames is None:
            frames = packet.coded[self._form] = self._encode(packet)
        return frames

    def _encode(self, packet: Outgoing) -> bytes:
        frames = [self._encode_message(TEXT, packet.text)] if packet.text else []
        frames += [self._encode_message(BINARY, data) for data in packet.attachments]
        return b"".join(frames)

    def _encode_message(self, first_byte: int, message: bytes) -> bytes:
        if len(message) >= self._threshold_bytes:  # WS-03
            deflated = self._raw.compress(message)[: -len(_TAIL)]
            # With takeover the client must inflate whatever went through the window, or its own
            # window would differ from ours.
            if self._raw.takeover or len(deflated) < len(message):
                return encode_frame(first_byte | _COMPRESSED, deflated)
        return encode_frame(first_byte, message)


class Inflater:
    """Inflates messages up to a size.

    Args:
        bits: the client's window, as a power of two.
        takeover: whether a message may refer to those before it.
        max_bytes: the largest message after it was inflated.
    """

    __slots__ = ("_bits", "_fed", "_left", "_max_bytes", "_parts", "_streams", "_takeover", "_zlib")

    def __init__(self, bits: int, max_bytes: int, *, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._parts: list[bytes] = []
        self._fed = False  # whether the message has any bytes yet
        self._streams = 0  # how many final blocks this message has had
        self._zlib: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        """Inflate the next bytes of a message.

        Raises:
            PayloadTooLarge: the message is larger than max_bytes.
            zlib.error: the data cannot be inflated, or has more than MAX_STREAMS final blocks.
        """
        self._fed = self._fed or bool(data)
        for at in range(0, len(data), _STEP_BYTES):
            rest: bytes | None = data[at : at + _STEP_BYTES]
            while rest is not None:
                rest = self._inflate(rest)

    def _inflate(self, data: bytes) -> bytes | None:
        """Inflate one step of data.

        Every call consumes bytes of data or produces bytes of the message, so that feed's loop ends
        whatever the peer has sent (WS-09).

        Returns:
            What is left of data; None if there is nothing more to do.
        """
        inflate = self._zlib
        if inflate is None or inflate.eof:
            inflate = self._zlib = zlib.decompressobj(-self._bits)
        part = inflate.decompress(data, _STEP_BYTES)
        self._left -= len(part)
        if self._left < 0:  # WS-07
            raise PayloadTooLarge(f"a message above the limit of {self._max_bytes} bytes")
        if part:
            self._parts.append(part)
        if inflate.eof:
            # Another block may follow at the next byte (RFC 7692, section 7.2.3.4; WS-09). This
            # decompressor takes no more: fed again, it would only add to its unused_data for ever.
            self._streams += 1
            if self._streams > MAX_STREAMS:
                raise zlib.error(f"more than {MAX_STREAMS} final blocks in a message")
            return inflate.unused_data or None
        rest = inflate.unconsumed_tail
        return rest if rest or len(part) == _STEP_BYTES else None  # zlib may hold back more

    def finish(self) -> bytes:
        """End the message and return it.

        Raises:
            PayloadTooLarge, zlib.error: see feed.
        """
        # The tail that the sender left out completes the last block. An empty message has no block
        # to complete, because zlib writes none right after a flush; nor is there one after a final
        # block.
        if self._fed and (self._zlib is None or not self._zlib.eof):
            self.feed(_TAIL)
        if self._zlib is not None and (self._zlib.eof or not self._takeover):
            self._zlib = None
        message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._left = self._max_bytes
        self._streams = 0
        self._fed = False
        return message


class DeflateReceiver(FrameReceiver):
    """A FrameReceiver that takes compressed messages too.

    A message in one frame is inflated here. The frames of a fragmented message are given to wsproto
    as if they were binary, and inflated after it has checked and unmasked them. wsproto's own
    extension is not used, because it inflates without a bound and a ping between two fragments
    makes it forget that the message is compressed (WS-06).

    Args:
        inflater: the inflater of this connection.
    """

    __slots__ = ("_inflated", "_inflater", "_is_compressed", "_opcode")

    def __init__(
        self,
        connection: Connection,
        max_bytes: int,
        on_text: Callable[[bytes], None],
        on_binary: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        inflater: Inflater,
    ) -> None:
        super().__init__(connection, max_bytes, on_text, on_binary, on_lost)
        self._inflater = inflater
        self._inflated = 0  # bytes of the last message that _weigh has not counted yet
        self._is_compressed = False
        self._opcode = Opcode.BINARY

    def _receive_by_wsproto(self, frame: bytes) -> bool:
        opcode = frame[0] & 0x0F
        # Any other frame with a reserved bit goes to wsproto as it is, which refuses it: WS-08.
        if frame[0] & _RESERVED == _COMPRESSED and opcode in (Opcode.TEXT, Opcode.BINARY):
            self._opcode = Opcode(opcode)
            start = _whole_frame(frame)
            if start and self._open is None:
                return self._receive_whole(frame, start)
            self._is_compressed = True
            frame = bytes((frame[0] & _FINAL | Opcode.BINARY,)) + frame[1:]
        return super()._receive_by_wsproto(frame)

    def _weigh(self) -> int:
        # A small frame may inflate to a large message, which takes time accordingly.
        inflated, self._inflated = self._inflated, 0
        return inflated // _WEIGHED_BYTES

    def _receive_whole(self, frame: bytes, start: int) -> bool:
        key = frame[start - 4 : start]
        try:
            for at in range(start, len(frame), _STEP_BYTES):
                self._inflater.feed(apply_mask(frame[at : at + _STEP_BYTES], key))
            message = self._inflater.finish()
        except (PayloadTooLarge, zlib.error) as error:
            return self._refuse(error)
        return self._hand_over(message)

    def _gather(self, message: OpenMessage, opcode: Opcode, data: bytes, *, finished: bool) -> bool:
        if not self._is_compressed:
            return super()._gather(message, opcode, data, finished=finished)
        message.fragments += 1
        if message.fragments > MAX_FRAGMENTS:
            self._break_off(CloseReason.MESSAGE_TOO_BIG)
            return False
        try:
            self._inflater.feed(data)
            if not finished:
                return True
            inflated = self._inflater.finish()
        except (PayloadTooLarge, zlib.error) as error:
            return self._refuse(error)
        self._is_compressed = False
        message.fragments = 0  # WS-20
        return self._hand_over(inflated)

    def _hand_over(self, message: bytes) -> bool:
        """Give away an inflated message as any other (WS-05); return whether to go on."""
        self._connection.traffic.packets_in += 1
        self._inflated = len(message)
        if self._opcode is Opcode.BINARY:
            self._on_binary(message)
        elif is_utf8(message):
            self._on_text(message)
        else:
            self._break_off(CloseReason.INVALID_FRAME_PAYLOAD_DATA)
            return False
        return True

    def _refuse(self, error: Exception) -> bool:
        too_large = isinstance(error, PayloadTooLarge)
        self._break_off(
            CloseReason.MESSAGE_TOO_BIG if too_large else CloseReason.INVALID_FRAME_PAYLOAD_DATA
        )
        return False


def _whole_frame(frame: bytes) -> int:
    """Where the payload of a final, masked frame begins; 0 if the frame is not such a one.

    The result is 0 too if the length is written in more bytes than it needs: wsproto refuses that.
    """
    size = frame[1]
    if not frame[0] & _FINAL or size < 0x80:
        return 0
    if size < 0xFE:
        return 6
    if size == 0xFE:
        return 8 if len(frame) - 8 > 125 else 0
    return 14 if len(frame) - 14 > 65535 else 0
