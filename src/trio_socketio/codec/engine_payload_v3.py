"""Engine.IO v3 payloads: the packets of one long-polling body, each with its length in front.

In a text body a packet is ``<length>:<packet>``, with the length in UTF-16 code units, which is how
JavaScript counts. In a binary body it is a byte 0 (text) or 1 (binary), the decimal digits of the
length as bytes 0 to 9, a byte 255, and the packet; there the length is in bytes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from trio_socketio.codec.engine_packet import Outgoing, OutgoingV3, Packet, PacketType
from trio_socketio.codec.engine_packet_v3 import (
    BINARY_MESSAGE,
    decode_binary,
    decode_packet,
    encode_binary,
)
from trio_socketio.codec.engine_payload import MAX_PACKETS
from trio_socketio.errors import RemoteProtocolError

_MAX_DIGITS: Final = 10
_LENGTH: Final = re.compile(rb"([0-9]{1,%d}):" % _MAX_DIGITS).match
_LENGTH_UTF16: Final = re.compile(rb"((?:[0-9]\0){1,%d}):\0" % _MAX_DIGITS).match
_DIGITS: Final = bytes(range(10))
_TO_BYTES: Final = bytes.maketrans(b"0123456789", _DIGITS)
_TO_TEXT: Final = bytes.maketrans(_DIGITS, b"0123456789")
_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]").sub
_REPLACEMENT: Final = "\ufffd".encode()


# -- text


def decode_payload(body: bytes) -> list[Packet]:
    """Split one text body into packets.

    Args:
        body: the transport has bounded its size.
    Returns:
        Packets in wire order. An empty one (``0:``) is left out, as in the reference.
    Raises:
        RemoteProtocolError: the body is empty or not UTF-8, a length is missing, or ends beyond the
            body or inside a character, there are more than MAX_PACKETS, or a packet is invalid.

    Spec: Engine.IO v3, "Payload".
    """
    if not body:
        raise RemoteProtocolError("empty payload")
    try:
        if body.isascii():
            return [decode_packet(part) for part in _cut(body, 1)]
        units = body.decode().encode("utf-16-le")  # lengths count its code units (EIO3-09)
        return [decode_packet(part.decode("utf-16-le").encode()) for part in _cut(units, 2)]
    except UnicodeError as error:
        raise RemoteProtocolError(
            f"the payload is not UTF-8, or a length ends inside a character: {error}"
        ) from None


def _cut(units: bytes, width: int) -> Iterator[bytes]:
    """Yield the packets of a body whose code units are width bytes each."""
    match_length = _LENGTH if width == 1 else _LENGTH_UTF16
    at, size = 0, len(units)
    for _ in range(MAX_PACKETS):  # EIO3-28
        head = match_length(units, at)
        if head is None:
            raise RemoteProtocolError("a packet of the payload has no length")
        start = head.end()
        at = start + width * int(head[1].replace(b"\0", b""))
        if at > size:
            raise RemoteProtocolError("a packet of the payload is shorter than its length")
        if at > start:
            yield units[start:at]
        if at == size:
            return
    raise RemoteProtocolError(f"more than {MAX_PACKETS} packets in one payload")


def encode_payload(packets: Iterable[Outgoing]) -> bytes:
    """Join packets into one text body; binary messages become base64.

    Spec: Engine.IO v3, "Payload".
    """
    return b"".join([_encodings(packet).body or _encode_body(packet) for packet in packets])


def _encode_body(packet: Outgoing) -> bytes:
    texts = [packet.text] if packet.text else []
    texts += map(encode_binary, packet.attachments)
    body = b"".join([b"%d:%b" % (_count_units(text), text) for text in texts])
    _encodings(packet).body = body
    return body


def _count_units(text: bytes) -> int:
    """The length in UTF-16 code units of UTF-8 text."""
    return len(text) if text.isascii() else len(text.decode().encode("utf-16-le")) // 2


# -- binary


def decode_binary_payload(body: bytes) -> list[Packet]:
    """Split one binary body into packets.

    Args:
        body: the transport has bounded its size.
    Returns:
        Packets in wire order; never empty.
    Raises:
        RemoteProtocolError: the body is empty, a packet is neither text nor binary, its length is
            missing or ends beyond the body, there are more than MAX_PACKETS, text is not UTF-8, or
            a packet is invalid.

    Spec: Engine.IO v3, "Payload".
    """
    packets: list[Packet] = []
    at, size = 0, len(body)
    while at < size or not packets:
        if len(packets) == MAX_PACKETS:  # EIO3-28
            raise RemoteProtocolError(f"more than {MAX_PACKETS} packets in one payload")
        separator = body.find(b"\xff", at, at + _MAX_DIGITS + 2)
        digits = body[at + 1 : separator]
        if separator < at + 2 or digits.strip(_DIGITS):
            raise RemoteProtocolError("a packet of the payload has no length")
        start = separator + 1
        end = start + int(digits.translate(_TO_TEXT))
        if end > size:
            raise RemoteProtocolError("a packet of the payload is shorter than its length")
        packets.append(_decode_packet(body[at], body[start:end]))
        at = end
    return packets


def _decode_packet(kind: int, packet: bytes) -> Packet:
    if kind == 1:
        return Packet(PacketType.MESSAGE, decode_binary(packet), binary=True)
    if kind != 0:
        raise RemoteProtocolError("a packet of the payload is neither text nor binary")
    # Clients 1.x encode half of a surrogate pair as if it were a character of its own.
    packet = packet if packet.isascii() else _SURROGATE(_REPLACEMENT, packet)
    try:
        packet.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"a text packet is not UTF-8: {error}") from None
    return decode_packet(packet)


def needs_binary(packets: Iterable[Outgoing]) -> bool:
    """Whether these packets should be sent as a binary body to a client that can read one.

    They should if one of them has binary messages, as in the reference (EIO3-12), or text beyond
    ASCII: clients 1.x expect such text to be encoded twice in a text body and later ones do not,
    but in a binary body all of them read the same.
    """
    return any(packet.attachments or not packet.text.isascii() for packet in packets)


def encode_binary_payload(packets: Iterable[Outgoing]) -> bytes:
    """Join packets into one binary body. Spec: Engine.IO v3, "Payload"."""
    return b"".join(
        [_encodings(packet).binary_body or _encode_binary_body(packet) for packet in packets]
    )


def _encode_binary_body(packet: Outgoing) -> bytes:
    parts = [_frame(b"\0", packet.text)] if packet.text else []
    parts += [_frame(b"\1", BINARY_MESSAGE + data) for data in packet.attachments]
    body = b"".join(parts)
    _encodings(packet).binary_body = body
    return body


def _frame(kind: bytes, packet: bytes) -> bytes:
    return b"%b%b\xff%b" % (kind, (b"%d" % len(packet)).translate(_TO_BYTES), packet)  # EIO3-12


def _encodings(packet: Outgoing) -> OutgoingV3:
    """The packet's encodings for revision 3, made when its first such receiver needs them."""
    encodings = packet.v3
    if encodings is None:
        encodings = packet.v3 = OutgoingV3()
    return encodings
