"""Socket.IO v5 packets, as the default parser writes them.

A packet is ``<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]``, followed by its attachments,
each a binary message of its own. The functions here read and write it with the Engine.IO message
type in front: ``42["hello"]``. Revision 4 writes events, acknowledgements and attachments in the
same way (SIO4-10).
"""

from collections.abc import Sequence
from enum import IntEnum
from math import inf
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
"""Event names that mean something else on one side or the other, and are never on the wire."""

_encode_ids = msgspec.json.Encoder().encode  # they are ASCII, so there are no errors to translate

MAX_ACK_ID: Final = 2**53 - 1
"""The largest integer that every peer can hold exactly."""

_MAX_ACK_DIGITS: Final = len(str(MAX_ACK_ID))
_TYPES: Final = tuple(PacketType)
_CONNECT, _DISCONNECT, _EVENT, _ACK, _CONNECT_ERROR, _BINARY_EVENT, _BINARY_ACK = _TYPES
_EVENTS: Final = frozenset((int(_EVENT), int(_BINARY_EVENT)))
_ACKS: Final = frozenset((int(_ACK), int(_BINARY_ACK)))
_ZERO: Final = ord("0")
_EVENT_DIGIT: Final = ord("2")
_NINE: Final = ord("9")
_SLASH: Final = ord("/")
_MAIN_EVENT: Final = b"42["  # an event of the main namespace without an id, as most packets are


class Packet(msgspec.Struct, gc=False):
    """A decoded packet.

    Args:
        type: the packet's type.
        namespace: begins with a slash.
        data: EVENT: a non-empty list, name first; ACK: a list; CONNECT: a dict or None;
            CONNECT_ERROR: a dict or str; DISCONNECT: None.
        ack_id: the id that an EVENT asks to be answered with, or that an ACK answers; None in an
            ACK that answers nothing.
        attachments: how many binary messages follow and are still missing from ``data``.
        weight: about how many bytes of memory it takes with its attachments; 0 unless its reader
            keeps count.
    """

    type: PacketType
    namespace: str = "/"
    data: Any = None
    ack_id: int | None = None
    attachments: int = 0
    weight: int = 0


def encode_header(packet_type: PacketType, namespace: str) -> bytes:
    """The bytes that every packet of a type and namespace begins with if it has no attachments."""
    return b"4%d" % packet_type + encode_namespace(namespace)  # SIO5-38


def encode_namespace(namespace: str) -> bytes:
    """The bytes by which a packet names its namespace; none for the main namespace."""
    return b"" if namespace == "/" else namespace.encode() + b","  # SIO5-41


def encode_packet(packet: Packet) -> Outgoing:
    """Encode a packet; an EVENT or ACK that holds binary becomes a BINARY_EVENT or BINARY_ACK.

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
    if attachments:  # SIO5-62
        raise LocalProtocolError(f"a {packet.type.name} packet cannot carry binary")
    body = b"" if data is None else encode_json(data)
    return Outgoing(encode_header(packet.type, packet.namespace) + body)


def encode_connect(header: bytes, payload: dict[str, str]) -> Outgoing:
    """Encode a server's CONNECT, which tells the client its ids.

    Args:
        header: from encode_header, for CONNECT.
        payload: the ids, by the names that the protocol gives them.

    Spec: Socket.IO v5, "Connection to a namespace".
    """
    return Outgoing(header + _encode_ids(payload))


def encode_arguments(header: bytes, arguments: Sequence[Any], ack_id: int | None) -> Outgoing:
    """Encode an EVENT or ACK whose header was encoded before.

    Args:
        header: from encode_header, for EVENT or ACK.
        arguments: the list or tuple that is the packet's data.
        ack_id: the id that an EVENT asks to be answered with, or that an ACK answers.
    Raises:
        LocalProtocolError: the arguments cannot be sent.

    Spec: Socket.IO v5, "Packet encoding".
    """
    attachments: tuple[bytes, ...] = ()
    if must_deconstruct(arguments):
        arguments, attachments = deconstruct(arguments)
        if attachments:  # SIO5-48: the type becomes its binary form, which is 3 above it
            header = b"4%d%d-%b" % (header[1] - _ZERO + 3, len(attachments), header[2:])
    body = encode_json(arguments)
    if ack_id is None:
        return Outgoing(header + body, attachments)
    return Outgoing(b"%b%d%b" % (header, ack_id, body), attachments)  # SIO5-40


def decode_event(text: bytes) -> tuple[str, list[Any], int | None] | None:
    """Decode an EVENT without attachments, as most packets are, in less time than decode_packet.

    Args:
        text: an Engine.IO text message, its type character included.
    Returns:
        The namespace, the name and arguments of the event, and the id that it asks to be answered
        with or None. None if it is something else, or malformed: decode_packet then tells.
    Raises:
        RemoteProtocolError: the JSON is malformed, or does not begin with a name that events may
            have.

    Spec: Socket.IO v5, "Packet encoding".
    """
    namespace, ack_id = "/", None
    if text[:3] == _MAIN_EVENT:
        start = 2
    else:
        start, at = text.find(b"["), 2
        if start < 3 or text[1] != _EVENT_DIGIT or text[0] != MESSAGE:
            return None
        if text[2] == _SLASH:
            at = text.find(b",") + 1
            if start < at:  # the namespace has a bracket in its name
                start = text.find(b"[", at)
            if start < at:
                return None
            try:
                namespace = text[2 : at - 1].decode()
            except UnicodeDecodeError:
                return None
        if start > at:
            digits = text[at:start]
            if start - at > _MAX_ACK_DIGITS or not digits.isdigit():
                return None
            ack_id = int(digits)
            if ack_id > MAX_ACK_ID:
                return None
    arguments: list[Any] = decode_json(text[start:])
    if not arguments or type(arguments[0]) is not str or arguments[0] in RESERVED_EVENTS:
        check_event_name(arguments)
    return namespace, arguments, ack_id


def decode_packet(text: bytes) -> Packet:
    """Decode the text of a packet; its attachments are still to come.

    Args:
        text: an Engine.IO text message, its type character included.
    Raises:
        RemoteProtocolError: the type is unknown, the attachment count is not in 0..10, the ack id
            is too large or malformed, the JSON is malformed or not what a packet of this type
            carries, or the event's name is reserved or neither text nor a number.

    Spec: Socket.IO v5, "Packet encoding" (SIO5-43).
    """
    size = len(text)
    if size < 2 or text[0] != MESSAGE:
        raise RemoteProtocolError("empty Socket.IO packet")
    kind = text[1] - _ZERO
    if not 0 <= kind <= _BINARY_ACK:  # SIO5-39
        raise RemoteProtocolError(f"unknown Socket.IO packet type {text[1:2]!r}")
    at = 2
    attachments = 0
    if kind >= _BINARY_EVENT:  # in any other packet a placeholder is ordinary data (SIO5-58)
        attachments, at = _decode_attachment_count(text)
    namespace = "/"  # SIO5-41
    if at < size and text[at] == _SLASH:
        end = text.find(b",", at)  # SIO5-42
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
        valid = at >= size or type(data) is dict  # SIO5-06
    else:
        valid = type(data) is dict or type(data) is str
    if not valid:
        raise RemoteProtocolError(f"invalid payload in a {_TYPES[kind].name} packet")
    return Packet(_TYPES[kind], namespace, data)


def _decode_attachment_count(text: bytes) -> tuple[int, int]:
    end = text.find(b"-", 2, 5)
    digits = text[2:end]
    if end < 0 or not digits.isdigit() or int(digits) > MAX_ATTACHMENTS:  # SIO5-53
        raise RemoteProtocolError(f"a binary packet announces 0 to {MAX_ATTACHMENTS} attachments")
    return int(digits), end + 1


def _decode_ack_id(text: bytes, at: int) -> tuple[int, int]:
    """Decode the digits up to the payload, which is an array in every packet that may have an id.

    Returns:
        The id, and the index at which the array begins.
    """
    end = text.find(b"[", at, at + _MAX_ACK_DIGITS + 1)
    digits = text[at:end]
    if end < 0 or not digits.isdigit() or int(digits) > MAX_ACK_ID:  # SIO5-44
        raise RemoteProtocolError("an ack id is above 2**53 - 1, or is not followed by an array")
    return int(digits), end


def _decode_answer(text: bytes, at: int) -> tuple[int | None, list[Any]]:
    """Decode the id and the values of an ACK; the id is None if it cannot answer anything.

    That is so without an id, without a payload, or with an id above MAX_ACK_ID, which is never
    given out. The reference ignores the first and the last of these too. A task that
    waits for the answer then waits until its timeout (SIO5-59).
    """
    end = text.find(b"[", at, at + _MAX_ACK_DIGITS + 1)
    digits = text[at:end]
    if end > at and digits.isdigit() and (ack_id := int(digits)) <= MAX_ACK_ID:
        return ack_id, _decode_list(text, end)
    rest = text[at:].lstrip(b"0123456789")
    return None, _decode_list(rest, 0) if rest else []


def _decode_list(text: bytes, at: int) -> list[Any]:
    if text[at : at + 1] != b"[":  # SIO5-15, SIO5-27
        raise RemoteProtocolError("the payload of an event or ack is not an array")
    arguments: list[Any] = decode_json(text[at:])
    return arguments


def check_event_name(arguments: list[Any]) -> None:
    """Check that the payload of a received event begins with a name.

    Raises:
        RemoteProtocolError: it does not, or the name is reserved.
    """
    name = arguments[0] if arguments else None  # SIO5-15
    if type(name) is str:
        if name in RESERVED_EVENTS:  # SIO5-17
            raise RemoteProtocolError(f"the event name {name!r} is reserved")
    elif type(name) is not int and type(name) is not float:  # SIO5-16
        raise RemoteProtocolError("an event is a non-empty array that begins with its name")


class Reassembly:
    """A binary packet whose attachments are arriving.

    Args:
        packet: a decoded packet with ``attachments`` above zero.
        max_bytes: the bound for all its attachments together.
        expires_at: when the peer has taken too long to send them, in seconds on the caller's
            clock.

    Attributes:
        expires_at: the same; it may be set later.
        weight: the weight of the packet and the size of the attachments that have arrived.
    """

    __slots__ = ("_attachments", "_bytes_left", "_packet", "expires_at", "weight")

    def __init__(self, packet: Packet, max_bytes: int, expires_at: float = inf) -> None:
        self._packet = packet
        self._bytes_left = max_bytes
        self._attachments: list[bytes] = []
        self.expires_at = expires_at
        self.weight = packet.weight

    def receive_attachment(self, data: bytes) -> Packet | None:
        """Take the next attachment.

        Returns:
            The whole packet if this was the last attachment, else None.
        Raises:
            RemoteProtocolError: the attachments have too many bytes, or a placeholder names one
                that does not exist.
        """
        self._bytes_left -= len(data)
        if self._bytes_left < 0:  # SIO5-56
            raise RemoteProtocolError("the attachments of one packet are too large together")
        self._attachments.append(data)
        packet = self._packet
        if len(self._attachments) < packet.attachments:
            self.weight += len(data)
            return None
        packet.data = reconstruct(packet.data, self._attachments)  # SIO5-51
        packet.attachments = 0
        return packet
