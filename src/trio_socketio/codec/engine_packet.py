"""Engine.IO v4 packets: one type character, then content.

Here and in the codec of Socket.IO, a text packet is its UTF-8 bytes with the type character in
front. That is also what a WebSocket frame holds, so no byte of a message is copied in between.
"""

import binascii
from enum import IntEnum
from typing import Final

import msgspec

from trio_socketio.errors import RemoteProtocolError


class PacketType(IntEnum):
    """The digit that a packet begins with. Spec: Engine.IO v4, "Protocol"."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


MESSAGE: Final = ord("4")
"""The first byte of a message packet in text form."""

_ZERO: Final = ord("0")
_BINARY: Final = ord("b")
_TYPES: Final = tuple(PacketType)


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A decoded packet.

    Args:
        type: the packet's type; MESSAGE if it is binary.
        data: the content without the type character; UTF-8 unless ``binary``.
        binary: whether this is a binary message.
    """

    type: PacketType
    data: bytes = b""
    binary: bool = False


def encode_packet(packet: Packet) -> bytes:
    """Encode one packet for a polling body; a binary message becomes ``b`` and base64.

    Spec: Engine.IO v4, "Packet encoding" (EIO4-30, EIO4-40).
    """
    if packet.binary:
        return encode_binary(packet.data)
    return b"%d%b" % (packet.type, packet.data)


def encode_binary(data: bytes) -> bytes:
    """Encode a binary message for a polling body. Spec: Engine.IO v4, "HTTP long-polling"."""
    return b"b" + binascii.b2a_base64(data, newline=False)  # EIO4-40


def decode_packet(text: bytes) -> Packet:
    """Decode one packet of a polling body or a text frame.

    Raises:
        RemoteProtocolError: it is empty, its type is unknown, or its base64 is malformed.

    Spec: Engine.IO v4, "Packet encoding".
    """
    if not text:  # EIO4-43
        raise RemoteProtocolError("empty Engine.IO packet")
    first = text[0]
    if first == _BINARY:
        try:
            # Official encoders pad, but the reference's decoders accept base64 without padding.
            padded = text[1:] + b"=" * (-(len(text) - 1) % 4)
            if padded.endswith(b"==="):  # binascii accepts this up to Python 3.13
                raise binascii.Error("excess padding")
            # Strict where the reference skips characters outside the alphabet (EIO4-44).
            data = binascii.a2b_base64(padded, strict_mode=True)
        except binascii.Error as error:
            raise RemoteProtocolError(f"malformed base64 in a binary packet: {error}") from None
        return Packet(PacketType.MESSAGE, data, binary=True)
    index = first - _ZERO
    if not 0 <= index < len(_TYPES):  # EIO4-43
        raise RemoteProtocolError(f"unknown Engine.IO packet type {text[:1]!r}")
    return Packet(_TYPES[index], text[1:])  # EIO4-30


class OutgoingV3(msgspec.Struct, gc=False):
    """The encodings of an Outgoing for clients of revision 3.

    Each is None until a transport needs it, and is then made once for all receivers (EIO3-32).

    Args:
        messages: for a WebSocket that takes binary messages. Each keeps its own frames.
        base64_messages: for a WebSocket that takes only text.
        body: as part of a text polling body.
        binary_body: as part of a binary polling body.
    """

    messages: "tuple[Outgoing, ...] | None" = None
    base64_messages: "tuple[Outgoing, ...] | None" = None
    body: bytes | None = None
    binary_body: bytes | None = None


class Outgoing(msgspec.Struct, gc=False):
    """A packet to be sent, encoded once for any number of receivers.

    The last encodings are None until a transport needs them; all its receivers then share them.

    Args:
        text: the text packet, type character included; empty if there is only binary.
        attachments: binary messages that follow the text. They are queued, sent and dropped with
            it as one item.
        frames: the packet as WebSocket frames.
        body: the packet as part of a polling body.
        v3: its encodings for clients of revision 3.
        compress: whether a transport that compresses may compress it.
        coded: the packet in compressed forms, by the name of the form.
    """

    text: bytes
    attachments: tuple[bytes, ...] = ()
    frames: bytes | None = None
    body: bytes | None = None
    v3: OutgoingV3 | None = None
    compress: bool = True
    coded: dict[str, bytes] | None = None

    def byte_count(self) -> int:
        """About how many bytes it holds while it is queued, for comparing with bounds."""
        size = len(self.text)
        return size + sum(map(len, self.attachments)) if self.attachments else size


PING: Final = Outgoing(b"2")
PROBE_PING: Final = b"2probe"
PROBE_PONG: Final = Outgoing(b"3probe")
CLOSE: Final = Outgoing(b"1")
NOOP: Final = Outgoing(b"6")
