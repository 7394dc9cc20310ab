"""Engine.IO v4 payloads: the packets of one long-polling body, U+001E between them."""

from collections.abc import Iterable
from typing import Final

from trio_socketio.codec.engine_packet import Outgoing, Packet, decode_packet, encode_binary
from trio_socketio.errors import RemoteProtocolError

SEPARATOR: Final = b"\x1e"
MAX_PACKETS: Final = 10_000
"""Per body. Official clients send all they have queued in one body: a small bound breaks them."""


def decode_payload(body: bytes) -> list[Packet]:
    """Split one long-polling body into packets.

    Args:
        body: packets joined by U+001E; the transport already capped its size.
    Returns:
        Packets in wire order; never empty.
    Raises:
        RemoteProtocolError: not UTF-8, more than MAX_PACKETS, or a packet is invalid.

    Spec: Engine.IO v4, "Packet encoding / HTTP long-polling".
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"payload is not UTF-8: {error}") from None
    if body.count(SEPARATOR) >= MAX_PACKETS:
        raise RemoteProtocolError(f"more than {MAX_PACKETS} packets in one payload")
    return [decode_packet(part) for part in body.split(SEPARATOR)]


def encode_payload(packets: Iterable[Outgoing]) -> bytes:
    """Join packets into one long-polling body.

    Spec: Engine.IO v4, "Packet encoding / HTTP long-polling".
    """
    return SEPARATOR.join([packet.body or _encode_body(packet) for packet in packets])


def _encode_body(packet: Outgoing) -> bytes:
    body = packet.text
    if packet.attachments:
        parts = [body] if body else []
        body = SEPARATOR.join([*parts, *map(encode_binary, packet.attachments)])
    packet.body = body
    return body
