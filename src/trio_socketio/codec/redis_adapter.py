"""Writes and reads what servers send one another with @socket.io/redis-adapter, over pub/sub.

A broadcast is MessagePack: ``[uid, packet, options]``. A request, or the response to one, is an
object in JSON or in MessagePack, and its first byte tells which. What is read comes from whoever
can publish: it is validated here, once, and nothing of it is trusted before.

Spec: @socket.io/redis-adapter 8.3, which answers 7 as well; @socket.io/redis-emitter 5.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET

from trio_socketio.codec.attachments import must_deconstruct
from trio_socketio.codec.builtin_values import BINARY, to_builtins
from trio_socketio.codec.json_text import MAX_DEPTH, encode_json, replace_lone_surrogates
from trio_socketio.codec.notepack import (
    date_text,
    decode_extension,
    encode_plain,
    encode_value,
    holds_more_values,
    may_hold_small_buffer,
    replace_small_buffers,
    to_plain,
)
from trio_socketio.codec.redis_messages import (
    ROOM_TYPES,
    AckResponse,
    Broadcast,
    BroadcastRequest,
    CountResponse,
    DisconnectRequest,
    DoneResponse,
    EventPacket,
    FetchRequest,
    HandshakeRecord,
    JoinRequest,
    LeaveRequest,
    Request,
    Response,
    ResponseHead,
    RoomsRequest,
    RoomsResponse,
    ServerSideRequest,
    ServerSideResponse,
    SocketDisconnectRequest,
    SocketIdsResponse,
    SocketJoinRequest,
    SocketLeaveRequest,
    SocketsRequest,
    SocketsResponse,
)
from trio_socketio.codec.socket_packet import PacketType, check_event_name
from trio_socketio.errors import RemoteProtocolError

MAX_VALUES: Final = 1_000_000
"""The most values in one message: a value of one byte may take 72 bytes of memory (BUS-11)."""

_EVENT: Final = int(PacketType.EVENT)
_EVENTS: Final = (_EVENT, int(PacketType.BINARY_EVENT))
_OBJECT: Final = b"{"
_SCALARS: Final = frozenset((str, int, float, bool, bytes, type(None)))

AnyMessage = TypeVar("AnyMessage")
AnyResponse = TypeVar("AnyResponse", bound=Response)

# -- writing


class BroadcastEncoder:
    """Encodes the broadcasts of one adapter, as official servers do (BUS-04).

    Args:
        uid: names the adapter.
        namespace: the name of its namespace.

    Attributes:
        own: the beginning of every broadcast that this adapter has sent, and of no other.
    """

    __slots__ = ("_head", "_tail", "own")

    def __init__(self, uid: str, namespace: str) -> None:
        # What is the same in all of them is encoded once. BUS-05: the type is always EVENT,
        # because servers of Node break over BINARY_EVENT.
        self.own = b"\x93" + encode_plain(uid)
        self._head = self.own + b"\x83\xa4type" + encode_plain(_EVENT) + b"\xa4data"
        self._tail = b"\xa3nsp" + encode_plain(namespace)

    def encode(self, arguments: Sequence[Any], options: bytes) -> bytes:
        """Encode a broadcast.

        Args:
            arguments: the event's name, then its arguments.
            options: its Options, encoded before.
        Raises:
            LocalProtocolError: an argument cannot be sent to other servers.
        """
        return b"%b%b%b%b" % (self._head, encode_value(arguments), self._tail, options)


def encode_request(request: Request) -> bytes:
    """Encode a request.

    Raises:
        LocalProtocolError: an argument cannot be sent to other servers.
    """
    if isinstance(request, BroadcastRequest):
        packet = msgspec.structs.replace(request.packet, data=to_plain(request.packet.data))
        return encode_plain(msgspec.structs.replace(request, packet=packet))
    if isinstance(request, ServerSideRequest):
        # BUS-08: servers before 7.2 read nothing but JSON here.
        request = msgspec.structs.replace(request, data=to_json_values(request.data))
    return encode_json(request)


def encode_response(response: Response) -> bytes:
    """Encode a response. The data of its sockets must be what JSON can carry.

    Raises:
        LocalProtocolError: an answer cannot be sent to other servers.
    """
    if isinstance(response, AckResponse):
        return encode_plain(msgspec.structs.replace(response, packet=to_plain(response.packet)))
    if isinstance(response, ServerSideResponse):
        response = msgspec.structs.replace(response, data=to_json_values(response.data))
    return encode_json(response)


def to_json_values(value: Any) -> Any:
    """Rebuild a value as ``JSON.stringify`` would write it: binary as a Buffer of Node (BUS-08).

    Raises:
        LocalProtocolError: the value cannot be sent, or is nested too deep.
    """
    if not must_deconstruct([value]):
        return value
    root = [to_builtins(value, value)]
    waiting: list[Any] = [root]
    while waiting:
        parent = waiting.pop()
        for key, item in _entries(parent):
            if isinstance(item, BINARY):
                parent[key] = {"type": "Buffer", "data": list(bytes(item))}
            elif type(item) is tuple:
                parent[key] = copy = list(item)
                waiting.append(copy)
            elif type(item) is dict or type(item) is list:
                waiting.append(item)
    return root[0]


# -- reading


class _Kind(msgspec.Struct):
    type: int
    opts: Any = UNSET


class _Reader(Generic[AnyMessage]):
    """Reads the messages of one kind, in either encoding (BUS-03)."""

    __slots__ = ("_decode_json", "_decode_msgpack")

    def __init__(self, kind: type[AnyMessage]) -> None:
        self._decode_json = msgspec.json.Decoder(kind).decode
        decoder = msgspec.msgpack.Decoder(kind, ext_hook=decode_extension)  # BUS-06
        self._decode_msgpack = decoder.decode

    def read_either(self, message: bytes) -> AnyMessage:
        """Read a message in the encoding that its first byte tells.

        Raises:
            RemoteProtocolError: it is malformed.
        """
        return self._read(
            self._read_json if message[:1] == _OBJECT else self._read_msgpack, message
        )

    def read_msgpack(self, message: bytes) -> AnyMessage:
        """Read a message in MessagePack.

        Raises:
            RemoteProtocolError: it is malformed.
        """
        return self._read(self._read_msgpack, message)

    def _read(self, read: Callable[[bytes], AnyMessage], message: bytes) -> AnyMessage:
        try:
            return read(message)
        except RecursionError:
            raise _too_deep() from None
        except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
            raise RemoteProtocolError(f"malformed: {error}") from None

    def _read_json(self, message: bytes) -> AnyMessage:
        try:
            return self._decode_json(message)
        except ValueError:
            if b"\\u" not in message:
                raise
        # JavaScript may write half of a surrogate pair (SIO5-47).
        return self._decode_json(replace_lone_surrogates(message))

    def _read_msgpack(self, message: bytes) -> AnyMessage:
        if may_hold_small_buffer(message):
            message = replace_small_buffers(message)
        return self._decode_msgpack(message)


_broadcasts: Final = _Reader(Broadcast)
_kinds: Final = _Reader(_Kind)
_requests: Final[Mapping[int, _Reader[Request]]] = {
    0: _Reader(SocketsRequest),
    1: _Reader(RoomsRequest),
    2: _Reader(JoinRequest),
    3: _Reader(LeaveRequest),
    4: _Reader(DisconnectRequest),
    5: _Reader(FetchRequest),
    6: _Reader(ServerSideRequest),
    7: _Reader(BroadcastRequest),
}
_requests_of_one_socket: Final[Mapping[int, _Reader[Request]]] = {
    2: _Reader(SocketJoinRequest),
    3: _Reader(SocketLeaveRequest),
    4: _Reader(SocketDisconnectRequest),
}
_heads: Final = _Reader(ResponseHead)
_responses: Final[Mapping[type[Any], _Reader[Any]]] = {
    kind: _Reader(kind)
    for kind in (
        DoneResponse,
        SocketIdsResponse,
        SocketsResponse,
        RoomsResponse,
        ServerSideResponse,
        CountResponse,
        AckResponse,
    )
}


def is_pickle(message: bytes) -> bool:
    """Whether a message begins with the header of a pickle; pickles are never loaded (BUS-10).

    MessagePack cannot begin so: 0x80 is a whole value, behind which nothing may follow.
    """
    return len(message) > 1 and message[0] == 0x80 and 2 <= message[1] <= 5


def decode_broadcast(message: bytes) -> Broadcast:
    """Decode a broadcast.

    Raises:
        RemoteProtocolError: it is not one, or its event cannot be sent to a client.
    """
    _check_count(message)
    broadcast = _broadcasts.read_msgpack(message)
    _check_rooms(broadcast.opts)
    _check_event(broadcast.packet)
    return broadcast


def decode_request(message: bytes) -> Request | None:
    """Decode a request.

    Returns:
        None if its type is unknown.
    Raises:
        RemoteProtocolError: it is malformed.
    """
    _check_count(message)
    kind = _kinds.read_either(message)
    reader = _requests.get(kind.type)
    if kind.opts is UNSET:
        reader = _requests_of_one_socket.get(kind.type, reader)
    if reader is None:
        return None
    request = reader.read_either(message)
    _check_rooms(request)
    _check_rooms(getattr(request, "opts", None))
    if isinstance(request, BroadcastRequest):
        _check_event(request.packet)
    elif isinstance(request, ServerSideRequest):
        settle_values(request.data)
        if not request.data or type(request.data[0]) is not str:
            raise RemoteProtocolError("an event between servers begins with its name")
    return request


def decode_response_head(message: bytes) -> ResponseHead:
    """Decode the part of a response that tells whom it is for.

    Raises:
        RemoteProtocolError: the message is not a response.
    """
    return _heads.read_either(message)


def decode_response(message: bytes, kind: type[AnyResponse]) -> AnyResponse:
    """Decode a response of the kind that was asked for.

    Raises:
        RemoteProtocolError: it is malformed, or of another kind.
    """
    _check_count(message)
    response: AnyResponse = _responses[kind].read_either(message)
    if isinstance(response, AckResponse):
        response.packet = _settled(response.packet)
    elif isinstance(response, ServerSideResponse):
        response.data = _settled(response.data)
    elif isinstance(response, RoomsResponse):
        _check_rooms(response)
    elif isinstance(response, SocketsResponse):
        for record in response.sockets:
            _check_rooms(record)
            record.data = _settled(record.data)
    return response


def read_handshake(value: Any) -> HandshakeRecord:
    """Read the handshake of a SocketRecord. What is not there, or not as it should be, is empty."""
    try:
        return msgspec.convert(value, HandshakeRecord)
    except msgspec.ValidationError:
        return HandshakeRecord()


def _check_count(message: bytes) -> None:
    if message[:1] == _OBJECT:
        # Only containers are many times larger than their text, and so only they are counted. A
        # bracket inside a text counts as well, which no message of less than a million notices.
        many = len(message) > MAX_VALUES and message.count(b"{") + message.count(b"[") > MAX_VALUES
    else:
        many = holds_more_values(message, MAX_VALUES)
    if many:
        raise RemoteProtocolError(f"more than {MAX_VALUES:,} values in one message")


def _check_rooms(naming: Any) -> None:
    """Check the types of the rooms that a part of a message names (BUS-07)."""
    for field in ("rooms", "except_"):
        rooms = getattr(naming, field, None)
        if rooms and not ROOM_TYPES.issuperset(map(type, rooms)):
            raise RemoteProtocolError("a room has no name")
    if type(getattr(naming, "room", None)) not in ROOM_TYPES:
        raise RemoteProtocolError("a room has no name")


def _check_event(packet: EventPacket) -> None:
    if packet.type not in _EVENTS:  # BUS-05
        raise RemoteProtocolError(f"a packet of type {packet.type} is not an event")
    settle_values(packet.data)
    check_event_name(packet.data)


def _settled(value: Any) -> Any:
    holder = [value]
    settle_values(holder)
    return holder[0]


def settle_values(value: list[Any]) -> None:
    """Check the values of a message, and replace timestamps by the text of the date (BUS-06).

    Raises:
        RemoteProtocolError: a key is not text, or the values are nested too deep.
    """
    if _SCALARS.issuperset(map(type, value)):
        return  # the common case: a name and a few plain arguments
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for container in level:
            if type(container) is dict and any(type(key) is not str for key in container):
                raise RemoteProtocolError("a key is not text")
            for key, item in _entries(container):
                kind = type(item)
                if kind is list or kind is dict:
                    deeper.append(item)
                elif kind not in _SCALARS:
                    container[key] = date_text(item)
        if not deeper:
            return
        level = deeper
    raise _too_deep()


def _entries(container: Any) -> list[tuple[Any, Any]]:
    """The keys or indexes of a container, with its items; the container may then be changed."""
    return list(container.items() if type(container) is dict else enumerate(container))


def _too_deep() -> RemoteProtocolError:
    return RemoteProtocolError(f"values are nested more than {MAX_DEPTH} deep")
