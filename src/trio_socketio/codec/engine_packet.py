"""Engine.IO v4 packets: one type character, then content.

A text packet travels as its UTF-8 bytes, type character included, so that what a WebSocket frame
holds is what the codec of the floor above reads and writes: nothing is cut off or glued on.
"""

import binascii
from enum import IntEnum
from typing import Final

import msgspec

from trio_socketio.errors import RemoteProtocolError


class PacketType(IntEnum):
    """The digit that a packet starts with. Spec: Engine.IO v4, "Protocol"."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


MESSAGE: Final = ord("4")
"""First byte of a text message packet."""

_ZERO: Final = ord("0")
_BINARY: Final = ord("b")
_TYPES: Final = tuple(PacketType)


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A decoded packet.

    Args:
        type: what it is.
        data: the content without the type character; UTF-8 unless ``binary``.
        binary: whether this is a binary message.
    """

    type: PacketType
    data: bytes = b""
    binary: bool = False


def encode_packet(packet: Packet) -> bytes:
    """Encode one packet for a payload; binary becomes ``b`` and base64.

    Spec: Engine.IO v4, "Packet encoding" (EIO4-40).
    """
    if packet.binary:
        return encode_binary(packet.data)
    return b"%d%b" % (packet.type, packet.data)


def encode_binary(data: bytes) -> bytes:
    """A binary message where only text can go. Spec: "HTTP long-polling"."""
    return b"b" + binascii.b2a_base64(data, newline=False)


def decode_packet(text: bytes) -> Packet:
    """Decode one packet of a payload or text frame.

    Raises:
        RemoteProtocolError: it is empty, its type is unknown, or its base64 is broken.

    Spec: Engine.IO v4, "Packet encoding".
    """
    if not text:
        raise RemoteProtocolError("empty Engine.IO packet")
    first = text[0]
    if first == _BINARY:
        try:
            # Official encoders pad; decoders of the reference do not insist on it.
            padded = text[1:] + b"=" * (-(len(text) - 1) % 4)
            if padded.endswith(b"==="):  # binascii overlooks it up to Python 3.13
                raise binascii.Error("excess padding")
            data = binascii.a2b_base64(padded, strict_mode=True)
        except binascii.Error as error:
            raise RemoteProtocolError(f"broken base64 in a binary packet: {error}") from None
        return Packet(PacketType.MESSAGE, data, binary=True)
    index = first - _ZERO
    if not 0 <= index < len(_TYPES):
        raise RemoteProtocolError(f"unknown Engine.IO packet type {text[:1]!r}")
    return Packet(_TYPES[index], text[1:])


class OutgoingV3(msgspec.Struct, gc=False):
    """What revision 3 writes differently of an Outgoing, each once some transport has made it.

    Args:
        messages: for a WebSocket, with binary messages. Each keeps its own frames.
        base64_messages: for a WebSocket, all text.
        body: as part of a polling payload, all text.
        binary_body: as part of a binary polling payload.
    """

    messages: "tuple[Outgoing, ...] | None" = None
    base64_messages: "tuple[Outgoing, ...] | None" = None
    body: bytes | None = None
    binary_body: bytes | None = None


class Outgoing(msgspec.Struct, gc=False):
    """A packet on its way out, encoded once for any number of receivers.

    Args:
        text: the text packet, type character included; empty when there is only binary.
        attachments: binary messages that follow it; they are one item with it and never parted.
        frames: the whole as WebSocket frames, once some transport has made them.
        body: the whole as part of a polling payload, once some transport has made it.
        v3: the same for receivers that speak revision 3, once there is one.
        compress: whether a transport that compresses may compress it.
        coded: the whole in compressed forms, by the name of the form, once some transport has
            made them.
    """

    text: bytes
    attachments: tuple[bytes, ...] = ()
    frames: bytes | None = None
    body: bytes | None = None
    v3: OutgoingV3 | None = None
    compress: bool = True
    coded: dict[str, bytes] | None = None

    def byte_count(self) -> int:
        """Bytes it holds while it waits, near enough for a bound."""
        return len(self.text) + sum(map(len, self.attachments))


PING: Final = Outgoing(b"2")
PROBE_PING: Final = b"2probe"
PROBE_PONG: Final = Outgoing(b"3probe")
CLOSE: Final = Outgoing(b"1")
NOOP: Final = Outgoing(b"6")
