"""Socket.IO v5 packets, as the default parser writes them.

``<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]``, then the attachments, each a binary
message of its own. Texts here carry the Engine.IO message type in front: ``42["hello"]``.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec

from trio_socketio.codec.attachments import (
    MAX_ATTACHMENTS,
    deconstruct,
    must_deconstruct,
    reconstruct,
)
from trio_socketio.codec.engine_packet import MESSAGE, Outgoing
from trio_socketio.codec.json_text import decode_json, encode_json
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError


class PacketType(IntEnum):
    """The digit after the Engine.IO type. Spec: Socket.IO v5, "Packet encoding"."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


RESERVED_EVENTS: Final = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)
"""Names with a meaning of their own on some side: never on the wire."""

MAX_ACK_ID: Final = 2**53 - 1
"""The largest integer that every peer can hold exactly."""

_MAX_ACK_DIGITS: Final = len(str(MAX_ACK_ID))
_TYPES: Final = tuple(PacketType)
_CONNECT, _DISCONNECT, _EVENT, _ACK, _CONNECT_ERROR, _BINARY_EVENT, _BINARY_ACK = _TYPES
_EVENTS: Final = frozenset((int(_EVENT), int(_BINARY_EVENT)))
_ACKS: Final = frozenset((int(_ACK), int(_BINARY_ACK)))
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
_SLASH: Final = ord("/")
_MAIN_EVENT: Final = b"42"  # most packets: an event of the main namespace


class Packet(msgspec.Struct, gc=False):
    """A decoded packet.

    Args:
        type: what it is.
        namespace: begins with a slash.
        data: EVENT: a non-empty list, name first; ACK: a list; CONNECT: a dict or None;
            CONNECT_ERROR: a dict or str; DISCONNECT: None.
        ack_id: the id to answer with, or that is answered; None in an ACK that answers nothing.
        attachments: how many binary messages follow and are still missing from ``data``.
        weight: about the bytes that it takes in memory, its attachments included, if its reader
            keeps count of them.
    """

    type: PacketType
    namespace: str = "/"
    data: Any = None
    ack_id: int | None = None
    attachments: int = 0
    weight: int = 0


def encode_header(packet_type: PacketType, namespace: str) -> bytes:
    """What every packet of this type and namespace starts with, if it has no attachments."""
    return b"4%d" % packet_type + encode_namespace(namespace)


def encode_namespace(namespace: str) -> bytes:
    """The namespace as a packet names it: nothing for the main one."""
    return b"" if namespace == "/" else namespace.encode() + b","


def encode_packet(packet: Packet) -> Outgoing:
    """Encode a packet; EVENT and ACK with binary inside become their BINARY forms.

    Raises:
        LocalProtocolError: the data cannot be sent.

    Spec: Socket.IO v5, "Packet encoding".
    """
    if packet.type is _EVENT or packet.type is _ACK:
        return encode_arguments(
            encode_header(packet.type, packet.namespace), packet.data, packet.ack_id
        )
    data = packet.data
    attachments: tuple[bytes, ...] = ()
    if must_deconstruct(data):
        data, attachments = deconstruct(data)
    if attachments:
        raise LocalProtocolError(f"a {packet.type.name} packet cannot carry binary")
    body = b"" if data is None else encode_json(data)
    return Outgoing(encode_header(packet.type, packet.namespace) + body)


def encode_connect(header: bytes, payload: dict[str, str]) -> Outgoing:
    """Encode a server's CONNECT, which tells the client its ids.

    Args:
        header: from encode_header, for CONNECT.
        payload: what the client is told.

    Spec: Socket.IO v5, "Connection to a namespace".
    """
    return Outgoing(header + encode_json(payload))


def encode_arguments(header: bytes, arguments: Sequence[Any], ack_id: int | None) -> Outgoing:
    """Encode an EVENT or ACK whose header was built before.

    Args:
        header: from encode_header, for EVENT or ACK.
        arguments: the list or tuple that is the packet's data.
        ack_id: asked for (EVENT) or answered (ACK).
    Raises:
        LocalProtocolError: the arguments cannot be sent.
    """
    attachments: tuple[bytes, ...] = ()
    if must_deconstruct(arguments):
        arguments, attachments = deconstruct(arguments)
        if attachments:
            header = b"4%d%d-%b" % (header[1] - _ZERO + 3, len(attachments), header[2:])
    body = encode_json(arguments)
    if ack_id is None:
        return Outgoing(header + body, attachments)
    return Outgoing(b"%b%d%b" % (header, ack_id, body), attachments)


def decode_packet(text: bytes) -> Packet:
    """Decode the text of a packet; attachments are still to come.

    Args:
        text: an Engine.IO text message, its type character included.
    Raises:
        RemoteProtocolError: the type is unknown, the attachment count is not in 0..10, the ack id
            is not one, the JSON is malformed or not what this type carries, or the event's name is
            reserved or neither string nor number.

    Spec: Socket.IO v5, "Packet encoding".
    """
    if text[:2] == _MAIN_EVENT:
        start = text.find(b"[", 2, _MAX_ACK_DIGITS + 3)
        if start == 2:
            arguments: list[Any] = decode_json(text[2:])
            check_event_name(arguments)
            return Packet(_EVENT, "/", arguments)
        digits = text[2:start] if start > 2 else b""
        if digits.isdigit() and (asked := int(digits)) <= MAX_ACK_ID:
            arguments = decode_json(text[start:])
            check_event_name(arguments)
            return Packet(_EVENT, "/", arguments, asked)
    size = len(text)
    if size < 2 or text[0] != MESSAGE:
        raise RemoteProtocolError("empty Socket.IO packet")
    kind = text[1] - _ZERO
    if not 0 <= kind <= _BINARY_ACK:
        raise RemoteProtocolError(f"unknown Socket.IO packet type {text[1:2]!r}")
    at = 2
    attachments = 0
    if kind >= _BINARY_EVENT:
        attachments, at = _decode_attachment_count(text)
    namespace = "/"
    if at < size and text[at] == _SLASH:
        end = text.find(b",", at)
        if end < 0:
            end = size
        try:
            namespace = text[at:end].decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("the namespace is not UTF-8") from None
        at = end + 1
    if kind in _ACKS:
        ack_id, arguments = _decode_answer(text, at)
        return Packet(_TYPES[kind], namespace, arguments, ack_id, attachments)
    ack_id = None
    if at < size and _ZERO <= text[at] <= _NINE:
        ack_id, at = _decode_ack_id(text, at)
    if kind in _EVENTS:
        arguments = _decode_list(text, at)
        check_event_name(arguments)
        return Packet(_TYPES[kind], namespace, arguments, ack_id, attachments)
    if ack_id is not None:
        raise RemoteProtocolError("an id on a packet that cannot be acknowledged")
    data = decode_json(text[at:]) if at < size else None
    if kind == _DISCONNECT:
        valid = at >= size
    elif kind == _CONNECT:
        valid = at >= size or type(data) is dict
    else:
        valid = type(data) is dict or type(data) is str
    if not valid:
        raise RemoteProtocolError(f"invalid payload in a {_TYPES[kind].name} packet")
    return Packet(_TYPES[kind], namespace, data)


def _decode_attachment_count(text: bytes) -> tuple[int, int]:
    end = text.find(b"-", 2, 5)
    digits = text[2:end]
    if end < 0 or not digits.isdigit() or int(digits) > MAX_ATTACHMENTS:
        raise RemoteProtocolError(f"a binary packet announces 0 to {MAX_ATTACHMENTS} attachments")
    return int(digits), end + 1


def _decode_ack_id(text: bytes, at: int) -> tuple[int, int]:
    """The digits before the payload, which is an array wherever an id may stand."""
    end = text.find(b"[", at, at + _MAX_ACK_DIGITS + 1)
    digits = text[at:end]
    if end < 0 or not digits.isdigit() or int(digits) > MAX_ACK_ID:
        raise RemoteProtocolError("an ack id is beyond 2**53 - 1, or no array follows it")
    return int(digits), end


def _decode_answer(text: bytes, at: int) -> tuple[int | None, list[Any]]:
    """The id and the values of an ACK. One that cannot answer anything has no id, and harms nobody.

    That is an ACK without an id, without a payload, or with an id that was never given out: the
    reference ignores the first and the last, and the question's timeout decides (SIO5-59).
    """
    end = text.find(b"[", at, at + _MAX_ACK_DIGITS + 1)
    digits = text[at:end]
    if end > at and digits.isdigit() and (ack_id := int(digits)) <= MAX_ACK_ID:
        return ack_id, _decode_list(text, end)
    rest = text[at:].lstrip(b"0123456789")
    return None, _decode_list(rest, 0) if rest else []


def _decode_list(text: bytes, at: int) -> list[Any]:
    if text[at : at + 1] != b"[":
        raise RemoteProtocolError("the payload of an event or ack is an array")
    arguments: list[Any] = decode_json(text[at:])
    return arguments


def check_event_name(arguments: list[Any]) -> None:
    """Look whether the arguments of an event that arrived begin with a name.

    Raises:
        RemoteProtocolError: they do not, or the name is reserved.
    """
    name = arguments[0] if arguments else None
    if type(name) is str:
        if name in RESERVED_EVENTS:
            raise RemoteProtocolError(f"the event name {name!r} is reserved")
    elif type(name) is not int and type(name) is not float:
        raise RemoteProtocolError("an event is a non-empty array that starts with its name")


class Reassembly:
    """A binary packet whose attachments are arriving.

    Args:
        packet: decoded, ``attachments`` above zero.
        max_bytes: all its attachments together.
        expires_at: when the peer has been silent about the rest for too long, caller's clock.

    Attributes:
        weight: of the packet and of the attachments that have arrived.
    """

    __slots__ = ("_attachments", "_bytes_left", "_packet", "expires_at", "weight")

    def __init__(self, packet: Packet, max_bytes: int, expires_at: float) -> None:
        self._packet = packet
        self._bytes_left = max_bytes
        self._attachments: list[bytes] = []
        self.expires_at = expires_at
        self.weight = packet.weight

    def receive_attachment(self, data: bytes) -> Packet | None:
        """Take the next attachment; the whole packet once it was the last.

        Raises:
            RemoteProtocolError: too many bytes, or a placeholder names no attachment.
        """
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise RemoteProtocolError("the attachments of one packet are too large together")
        self._attachments.append(data)
        packet = self._packet
        if len(self._attachments) < packet.attachments:
            self.weight += len(data)
            return None
        packet.data = reconstruct(packet.data, self._attachments)
        packet.attachments = 0
        return packet
