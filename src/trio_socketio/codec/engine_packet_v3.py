"""Engine.IO v3 packets: as in v4, except that a binary message carries its type too.

The type is a byte in front of a binary WebSocket message or a binary packet of a polling body, and
a digit after the ``b`` in base64 text.
"""

from typing import Final

from trio_socketio.codec import engine_packet
from trio_socketio.codec.engine_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError

BINARY_MESSAGE: Final = bytes((PacketType.MESSAGE,))
_BASE64_MESSAGE: Final = b"b%d" % PacketType.MESSAGE


def encode_binary(data: bytes) -> bytes:
    """Encode a binary message where only text can be sent. Spec: Engine.IO v3, "Payload"."""
    return _BASE64_MESSAGE + engine_packet.encode_binary(data)[1:]  # EIO3-11


def decode_packet(text: bytes) -> Packet:
    """Decode one text packet of a polling body or a frame.

    Raises:
        RemoteProtocolError: it is empty, its type is unknown, its base64 is malformed, or it is
            binary and not a message.

    Spec: Engine.IO v3, "Packet".
    """
    if text[:1] != b"b":
        return engine_packet.decode_packet(text)
    if not text.startswith(_BASE64_MESSAGE):  # EIO3-18
        raise RemoteProtocolError(f"a binary packet of type {text[1:2]!r} is not a message")
    return engine_packet.decode_packet(b"b" + text[2:])


def decode_binary(packet: bytes) -> bytes:
    """Take the type off a binary frame, or off a binary packet of a polling body.

    Returns:
        The content of the message.
    Raises:
        RemoteProtocolError: the packet is empty or not a message.

    Spec: Engine.IO v3, "Packet".
    """
    if not packet.startswith(BINARY_MESSAGE):  # EIO3-18
        raise RemoteProtocolError(f"a binary packet of type {packet[:1]!r} is not a message")
    return packet[1:]
