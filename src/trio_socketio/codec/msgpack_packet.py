"""Socket.IO v5 packets, as socket.io-msgpack-parser writes them: one binary message each.

A packet is a map, such as ``{"type": 2, "nsp": "/", "data": ["hello"], "id": 1}``; other keys are
ignored. Binary values stay in place.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.codec.notepack import (
    decode_extension,
    encode_value,
    may_hold_small_buffer,
    replace_small_buffers,
)
from trio_socketio.codec.socket_packet import (
    MAX_ACK_ID,
    Packet,
    PacketType,
    check_event_name,
)
from trio_socketio.errors import RemoteProtocolError

_SCALARS: Final = frozenset((str, int, float, bool, bytes, type(None)))
_TYPES: Final = tuple(PacketType)
_LAST_TYPE: Final = PacketType.CONNECT_ERROR  # MessagePack needs no BINARY_EVENT or BINARY_ACK

_encode: Final = msgspec.msgpack.Encoder().encode

# -- writing


def encode_packet(packet: Packet) -> Outgoing:
    """Encode a packet.

    Raises:
        LocalProtocolError: the data cannot be sent.
    """
    if packet.type in (PacketType.EVENT, PacketType.ACK):
        return arguments_encoder(packet.type, packet.namespace)(packet.data, packet.ack_id)
    entries = {"type": int(packet.type), "nsp": packet.namespace}
    if packet.data is None:
        return Outgoing(b"", (_encode(entries),))
    return Outgoing(
        b"", (b"\x83" + _encode(entries)[1:] + b"\xa4data" + encode_value(packet.data),)
    )


def arguments_encoder(
    packet_type: PacketType, namespace: str
) -> Callable[[Sequence[Any], int | None], Outgoing]:
    """Return a function that encodes the EVENT or ACK packets of one namespace.

    The function takes the arguments and the ack id, as socket_packet.encode_arguments does.
    """
    # MSGPACK-01. Type and namespace are encoded once; the first byte says how many entries a map
    # has, 3 or 4 here, so it is cut off and written anew.
    entries = _encode({"type": int(packet_type), "nsp": namespace})[1:]
    without_id = b"\x83" + entries + b"\xa4data"
    with_id = b"\x84" + entries + b"\xa2id"

    def encode_arguments(arguments: Sequence[Any], ack_id: int | None) -> Outgoing:
        body = encode_value(arguments)
        if ack_id is None:
            return Outgoing(b"", (without_id + body,))
        return Outgoing(b"", (b"%b%b\xa4data%b" % (with_id, _encode(ack_id), body),))

    return encode_arguments


# -- reading


class _Envelope(msgspec.Struct, gc=False):
    type: Any = None
    nsp: Any = None
    data: Any = None
    id: Any = None


def decode_packet(message: bytes) -> Packet:
    """Decode one packet.

    Undefined is decoded as None, a Date as the text that it has in JSON, an ArrayBuffer as bytes.

    Raises:
        RemoteProtocolError: the message is not MessagePack, holds an unknown extension or a key
            that is not text, is nested too deep, or holds what a packet of its type cannot
            (MSGPACK-03).
    """
    if may_hold_small_buffer(message):
        message = replace_small_buffers(message)
    try:
        envelope = _decode(message)
    except RecursionError:
        raise RemoteProtocolError(f"MessagePack is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise RemoteProtocolError(f"malformed MessagePack: {error}") from None
    kind, namespace, data, ack_id = envelope.type, envelope.nsp, envelope.data, envelope.id
    if type(kind) is not int or not 0 <= kind <= _LAST_TYPE:
        raise RemoteProtocolError(f"unknown Socket.IO packet type {kind!r:.20}")
    if type(namespace) is not str or not namespace.startswith("/"):
        raise RemoteProtocolError("a namespace is text that begins with a slash")
    packet_type = _TYPES[kind]
    if packet_type is PacketType.ACK and (data is None or _is_never_given_out(ack_id)):
        ack_id, data = None, [] if data is None else data  # it answers nothing (SIO5-59)
    if ack_id is not None and (type(ack_id) is not int or not 0 <= ack_id <= MAX_ACK_ID):
        raise RemoteProtocolError("an ack id is a whole number, at most 2**53 - 1")
    if type(data) is list or type(data) is dict:
        _check_values(data)
    if packet_type is PacketType.EVENT or packet_type is PacketType.ACK:
        if type(data) is not list:
            raise RemoteProtocolError("the payload of an event or ack is an array")
        if packet_type is PacketType.EVENT:
            check_event_name(data)
        return Packet(packet_type, namespace, data, ack_id)
    if ack_id is not None:
        raise RemoteProtocolError("an id on a packet that cannot be acknowledged")
    if packet_type is PacketType.CONNECT:
        valid = data is None or type(data) is dict
    elif packet_type is PacketType.DISCONNECT:
        valid = data is None
    else:
        valid = type(data) is dict or type(data) is str
    if not valid:
        raise RemoteProtocolError(f"invalid payload in a {packet_type.name} packet")
    return Packet(packet_type, namespace, data)


def _is_never_given_out(ack_id: Any) -> bool:
    return type(ack_id) is int and not 0 <= ack_id <= MAX_ACK_ID


_decode: Final = msgspec.msgpack.Decoder(_Envelope, ext_hook=decode_extension).decode


def _check_values(value: Any) -> None:
    """Refuse values that JSON could not have carried, other than binary."""
    if type(value) is list and _SCALARS.issuperset(map(type, value)):
        return  # the common case: a name and a few plain arguments
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper = []
        for container in level:
            if type(container) is dict and any(type(key) is not str for key in container):
                raise RemoteProtocolError("a key of a MessagePack map is not text")
            for item in container.values() if type(container) is dict else container:
                if type(item) is list or type(item) is dict:
                    deeper.append(item)
                elif type(item) not in _SCALARS:
                    raise RemoteProtocolError("MessagePack timestamps are not supported")
        if not deeper:
            return
        level = deeper
    raise RemoteProtocolError(f"MessagePack is nested more than {MAX_DEPTH} deep")
