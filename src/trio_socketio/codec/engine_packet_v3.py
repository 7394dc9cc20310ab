"""Engine.IO v3 packets: as in v4, but a binary message too carries its type.

In a binary WebSocket message or payload it is a byte, in base64 text the digit after the ``b``.
"""

from typing import Final

from trio_socketio.codec import engine_packet
from trio_socketio.codec.engine_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError

BINARY_MESSAGE: Final = bytes((PacketType.MESSAGE,))
_BASE64_MESSAGE: Final = b"b%d" % PacketType.MESSAGE


def encode_binary(data: bytes) -> bytes:
    """A binary message where only text can go. Spec: Engine.IO v3, "Payload"."""
    return _BASE64_MESSAGE + engine_packet.encode_binary(data)[1:]


def decode_packet(text: bytes) -> Packet:
    """Decode one text packet of a payload or frame.

    Raises:
        RemoteProtocolError: it is empty, its type is unknown, its base64 is broken, or it is
            binary and no message.

    Spec: Engine.IO v3, "Packet".
    """
    if text[:1] != b"b":
        return engine_packet.decode_packet(text)
    if not text.startswith(_BASE64_MESSAGE):
        raise RemoteProtocolError(f"a binary packet of type {text[1:2]!r} is no message")
    return engine_packet.decode_packet(b"b" + text[2:])


def decode_binary(packet: bytes) -> bytes:
    """The message in a binary frame, or in a binary packet of a payload.

    Raises:
        RemoteProtocolError: it is empty or no message.

    Spec: Engine.IO v3, "Packet".
    """
    if not packet.startswith(BINARY_MESSAGE):
        raise RemoteProtocolError(f"a binary packet of type {packet[:1]!r} is no message")
    return packet[1:]
