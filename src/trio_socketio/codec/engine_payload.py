"""Engine.IO v4 payloads: the packets of one long-polling body, separated by U+001E."""

from collections.abc import Sequence
from typing import Final

from trio_socketio.codec.engine_packet import Outgoing, Packet, decode_packet, encode_binary
from trio_socketio.errors import RemoteProtocolError

SEPARATOR: Final = b"\x1e"
MAX_PACKETS: Final = 10_000
"""In one body. Official clients send all that they have queued as one body, however many packets
that are, so a small bound would break them."""


def decode_payload(body: bytes) -> list[Packet]:
    """Split one long-polling body into packets.

    Args:
        body: packets joined by U+001E; the transport has bounded its size.
    Returns:
        Packets in wire order; never empty.
    Raises:
        RemoteProtocolError: the body is not UTF-8, has more than MAX_PACKETS packets, or one of
            them is invalid.

    Spec: Engine.IO v4, "Packet encoding / HTTP long-polling".
    """
    if not body.isascii():  # EIO4-42
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"the payload is not UTF-8: {error}") from None
    if SEPARATOR not in body:
        return [decode_packet(body)]
    if body.count(SEPARATOR) >= MAX_PACKETS:  # EIO4-45
        raise RemoteProtocolError(f"more than {MAX_PACKETS} packets in one payload")
    return [decode_packet(part) for part in body.split(SEPARATOR)]  # EIO4-31


def encode_payload(packets: Sequence[Outgoing]) -> bytes:
    """Join packets into one long-polling body.

    Spec: Engine.IO v4, "Packet encoding / HTTP long-polling".
    """
    if len(packets) == 1:
        (packet,) = packets
        return packet.body or (_encode_body(packet) if packet.attachments else packet.text)
    return SEPARATOR.join([packet.body or _encode_body(packet) for packet in packets])


def _encode_body(packet: Outgoing) -> bytes:
    body = packet.text
    if packet.attachments:
        parts = [body] if body else []
        body = SEPARATOR.join([*parts, *map(encode_binary, packet.attachments)])
    packet.body = body
    return body
