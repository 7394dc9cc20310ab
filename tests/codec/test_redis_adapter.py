"""Messages of the Redis adapter: against spec/vectors, and whatever else may be published."""

import base64
import json
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.codec.strategies import NAMES, TEXT, json_values

from trio_socketio.codec import redis_adapter
from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.codec.redis_adapter import (
    BroadcastEncoder,
    decode_broadcast,
    decode_request,
    decode_response,
    decode_response_head,
    encode_request,
    encode_response,
    is_pickle,
    read_handshake,
    to_json_values,
)
from trio_socketio.codec.redis_messages import (
    MAX_ROOMS,
    AckResponse,
    BroadcastRequest,
    CountResponse,
    DoneResponse,
    EventPacket,
    Flags,
    HandshakeRecord,
    JoinRequest,
    Options,
    RoomsResponse,
    Selection,
    ServerSideRequest,
    ServerSideResponse,
    SocketIdsResponse,
    SocketRecord,
    SocketsResponse,
    room_names,
)
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

VECTORS: Final = json.loads(
    (Path(__file__).parents[2] / "spec" / "vectors" / "redis_adapter_8.json").read_text("utf-8")
)
RESPONSES: Final[dict[str, type[Any]]] = {
    "done": DoneResponse,
    "socket ids": SocketIdsResponse,
    "sockets": SocketsResponse,
    "rooms": RoomsResponse,
    "server-side": ServerSideResponse,
    "count": CountResponse,
    "ack": AckResponse,
}

pack = msgspec.msgpack.encode
values = json_values(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary(max_size=20)
)
texts = json_values(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT)
room_lists = st.lists(TEXT, max_size=3)


def cases(kind: str, *lists: str) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for one in lists for entry in VECTORS[kind][one]]


def wire_bytes(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["base64"]) if "base64" in entry else entry["text"].encode()


def with_binary(value: Any) -> Any:
    """What a decoded value stands for: ``{"$binary": ...}`` is bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$binary"}:
            return base64.b64decode(value["$binary"])
        return {key: with_binary(item) for key, item in value.items()}
    return [with_binary(item) for item in value] if isinstance(value, list) else value


def shown(message: Any) -> Any:
    """A message as JSON would show it, with binary in place."""
    return msgspec.to_builtins(message, builtin_types=(bytes,))


# --- the vectors ---------------------------------------------------------------------------------


@pytest.mark.req("BUS-04", "BUS-05", "BUS-06")
@pytest.mark.parametrize("entry", cases("broadcasts", "valid", "accepted"))
def test_broadcast_decodes(entry: dict[str, Any]) -> None:
    assert shown(decode_broadcast(wire_bytes(entry))) == with_binary(entry["decoded"])


@pytest.mark.req("BUS-04")
@pytest.mark.parametrize("entry", cases("broadcasts", "valid"))
def test_broadcast_encodes(entry: dict[str, Any]) -> None:
    uid, packet, opts = with_binary(entry["decoded"])
    encoder = BroadcastEncoder(uid, packet["nsp"])
    encoded = encoder.encode(packet["data"], pack(msgspec.convert(opts, Options)))
    assert encoded == wire_bytes(entry)
    assert encoded.startswith(encoder.own)


@pytest.mark.req("BUS-03", "BUS-04", "BUS-09")
@pytest.mark.parametrize("entry", cases("requests", "valid", "accepted"))
def test_request_decodes(entry: dict[str, Any]) -> None:
    assert shown(decode_request(wire_bytes(entry))) == with_binary(entry["decoded"])


@pytest.mark.req("BUS-04")
@pytest.mark.parametrize("entry", cases("requests", "valid"))
def test_request_encodes(entry: dict[str, Any]) -> None:
    request = decode_request(wire_bytes(entry))
    assert request is not None
    again: Any = msgspec.convert(with_binary(entry["decoded"]), type(request))
    assert encode_request(again) == wire_bytes(entry)


@pytest.mark.req("BUS-03", "BUS-04", "BUS-19")
@pytest.mark.parametrize("entry", cases("responses", "valid", "accepted"))
def test_response_decodes(entry: dict[str, Any]) -> None:
    message = wire_bytes(entry)
    response = decode_response(message, RESPONSES[entry["kind"]])
    assert shown(response) == with_binary(entry["decoded"])
    head = decode_response_head(message)
    assert head.request_id == response.request_id
    assert head.type == getattr(response, "type", None)


@pytest.mark.req("BUS-04")
@pytest.mark.parametrize("entry", cases("responses", "valid"))
def test_response_encodes(entry: dict[str, Any]) -> None:
    response = msgspec.convert(with_binary(entry["decoded"]), RESPONSES[entry["kind"]])
    assert encode_response(response) == wire_bytes(entry)


@pytest.mark.req("BUS-10", "BUS-12")
@pytest.mark.parametrize("kind", list(VECTORS))
def test_what_is_not_of_the_protocol_is_refused(kind: str) -> None:
    for entry in VECTORS[kind]["invalid"]:
        message = wire_bytes(entry)
        assert is_pickle(message) is ("pickle" in entry["name"])
        if entry["name"] == "unknown type":
            assert decode_request(message) is None
            continue
        with pytest.raises(RemoteProtocolError):
            decode_any(kind, message)
    for name in ("valid", "accepted", "invalid"):
        assert VECTORS[kind][name]


def decode_any(kind: str, message: bytes) -> None:
    if kind == "broadcasts":
        decode_broadcast(message)
    elif kind == "requests":
        decode_request(message)
    else:
        decode_response_head(message)


# --- anything at all -----------------------------------------------------------------------------


@pytest.mark.req("BUS-04", "BUS-05")
@given(
    NAMES.filter(lambda name: not isinstance(name, int) or abs(name) < 2**63),
    st.lists(values),
    room_lists,
    room_lists,
)
def test_broadcasts_come_back(
    name: str | float, arguments: list[Any], rooms: list[str], excluded: list[str]
) -> None:
    options = Options(rooms=[*rooms], except_=[*excluded], flags=Flags(volatile=True))
    message = BroadcastEncoder("me", "/ü").encode([name, *arguments], pack(options))
    broadcast = decode_broadcast(message)
    assert shown(broadcast) == [
        "me",
        {"type": 2, "data": [name, *arguments], "nsp": "/ü"},
        {"rooms": rooms, "except": excluded, "flags": {"volatile": True}},
    ]
    assert room_names(broadcast.opts.rooms) == tuple(rooms)


@given(st.lists(values), TEXT)
def test_questions_and_answers_come_back(arguments: list[Any], socket_id: str) -> None:
    packet = EventPacket(type=2, data=["q", *arguments], nsp="/")
    request = BroadcastRequest(uid="me", request_id="r", packet=packet, opts=Options())
    assert decode_request(encode_request(request)) == request
    response = AckResponse(request_id="r", packet=arguments, socket_id=socket_id)
    assert decode_response(encode_response(response), AckResponse) == response


@pytest.mark.req("BUS-08")
@given(st.lists(values))
def test_events_between_servers_are_what_json_can_carry(arguments: list[Any]) -> None:
    encoded = encode_request(ServerSideRequest(uid="me", data=["e", *arguments]))
    request = decode_request(encoded)
    assert isinstance(request, ServerSideRequest)
    assert request.data == ["e", *to_json_values(arguments)]
    answer = encode_response(ServerSideResponse(request_id="r", data=arguments))
    assert decode_response(answer, ServerSideResponse).data == to_json_values(arguments)


@pytest.mark.req("BUS-08")
def test_binary_in_json_is_a_buffer_of_node() -> None:
    value: Any = {"a": (1, b"\0\xff"), "b": [bytearray(b"x")]}
    buffer = {"type": "Buffer", "data": [0, 255]}
    assert to_json_values(value) == {"a": [1, buffer], "b": [{"type": "Buffer", "data": [120]}]}
    assert to_json_values(b"\0\xff") == buffer
    assert value["a"] == (1, b"\0\xff"), "what is sent is not changed"


@pytest.mark.req("BUS-12")
@given(st.binary(max_size=60))
@example(b"{" + b"\xff" * 5)
@example(b'{"type":6,"data":["\\ud800",\\u0')
def test_garbage_raises_nothing_undocumented(message: bytes) -> None:
    decode_all(message)


def decode_all(message: bytes) -> None:
    for kind in VECTORS:
        with suppress(RemoteProtocolError):
            decode_any(kind, message)
    for response in RESPONSES.values():
        with suppress(RemoteProtocolError):
            decode_response(message, response)


@pytest.mark.req("BUS-12")
@given(values, st.sampled_from(["msgpack", "json"]))
def test_values_of_another_shape_raise_nothing_undocumented(value: Any, encoding: str) -> None:
    for shape in (
        ["u", value, value],
        ["u", {"type": 2, "data": value}, {"rooms": value, "except": value, "flags": value}],
        {"uid": value, "type": 2, "opts": value, "rooms": value},
        {"type": 6, "data": value},
        {"type": 7, "requestId": "r", "packet": {"type": 2, "data": [value]}, "opts": {}},
        {"requestId": "r", "type": value, "sockets": [value], "rooms": value},
    ):
        message = pack(shape) if encoding == "msgpack" else msgspec.json.encode(shape)
        decode_all(message)


# --- bounds, one by one --------------------------------------------------------------------------


def event(*arguments: Any, **members: Any) -> bytes:
    return pack(["u", {"type": 2, "data": ["e", *arguments]} | members, {}])


@pytest.mark.req("BUS-11")
def test_values_are_not_nested_too_deep() -> None:
    for depth, limit in ((MAX_DEPTH - 2, True), (MAX_DEPTH, False), (100_000, False)):
        nested = b"\x91" * depth + b"\x90"
        message = b"\x93\xa1u\x82\xa4type\x02\xa4data\x92\xa1e" + nested + b"\x80"
        text = b'{"type":6,"data":["e",' + b"[" * depth + b"]" * depth + b"]}"
        for decode, sent in ((decode_broadcast, message), (decode_request, text)):
            if limit:
                decode(sent)
            else:
                with pytest.raises(RemoteProtocolError, match="nested"):
                    decode(sent)


@pytest.mark.req("BUS-11")
def test_values_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_adapter, "MAX_VALUES", 100)
    decode_broadcast(event(*range(80)))
    decode_request(msgspec.json.encode({"type": 6, "data": ["e", *[1] * 200]}))
    with pytest.raises(RemoteProtocolError, match="values"):
        decode_broadcast(event(*range(100)))
    with pytest.raises(RemoteProtocolError, match="values"):
        decode_request(msgspec.json.encode({"type": 6, "data": ["e", *[[]] * 100]}))
    with pytest.raises(RemoteProtocolError, match="values"):
        decode_response(msgspec.json.encode({"requestId": "", "rooms": [[]] * 100}), RoomsResponse)


@pytest.mark.req("BUS-11")
def test_rooms_are_not_too_many_and_clients_not_fewer_than_none() -> None:
    for count, is_fine in ((MAX_ROOMS, True), (MAX_ROOMS + 1, False)):
        message = pack({"type": 2, "opts": {}, "rooms": ["a"] * count})
        with nullcontext() if is_fine else pytest.raises(RemoteProtocolError):
            decode_request(message)
    with pytest.raises(RemoteProtocolError):
        decode_response(b'{"type":8,"requestId":"r","clientCount":-1}', CountResponse)


@pytest.mark.req("BUS-10")
@pytest.mark.parametrize("message", [b"", b"\x80", b"\x80\x06", b"\x80\x01", b"(dp0\n."])
def test_only_what_begins_as_a_pickle_is_taken_for_one(message: bytes) -> None:
    assert not is_pickle(message)
    assert is_pickle(b"\x80\x02}.")


@pytest.mark.parametrize(
    "message",
    [
        event({1: 2}),
        pack(["u", {"type": 2, "data": []}, {}]),
        pack(["u", {"type": 2, "data": ["disconnect"]}, {}]),
        pack(["u", {"type": 2, "data": [None]}, {}]),
        pack(["u", {"type": 3, "data": ["e"]}, {}]),
        pack(["u" * 201, {"type": 2, "data": ["e"]}, {}]),
        pack(["u", {"type": 2, "data": ["e"]}, {"rooms": [None]}]),
        pack(["u", {"type": 2, "data": ["e"]}, {"rooms": "lobby"}]),
        pack(["u", {"type": 2, "data": ["e"], "nsp": None}, {}]),
        event() + b"\0",
        b"\x93\xa1u\x82\xa4type\x02\xa4data\x92\xa1e\xc1\x80",
        b"\x93\xa1u\x82\xa4type\x02\xa4data\x92\xa1e\xd4\x05\x00\x80",
    ],
)
def test_a_malformed_broadcast_is_refused(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_broadcast(message)


@pytest.mark.parametrize("data", [[], [1], [None, "e"]])
def test_an_event_between_servers_has_a_name(data: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="name"):
        decode_request(msgspec.json.encode({"type": 6, "data": data}))


@pytest.mark.req("BUS-07")
def test_a_room_may_be_a_number() -> None:
    request = decode_request(b'{"type":2,"opts":{"rooms":[42]},"rooms":[7,"x"]}')
    assert isinstance(request, JoinRequest)
    assert room_names(request.opts.rooms) == ("42",)
    assert room_names(request.rooms) == ("7", "x")
    assert room_names(None) == ()


@pytest.mark.req("BUS-06")
def test_dates_in_answers_are_text() -> None:
    date = b"\xd6\xff" + (1_700_000_000).to_bytes(4)
    ack = b"\x83\xa4type\x09\xa9requestId\xa1r\xa6packet" + date
    assert decode_response(ack, AckResponse).packet == "2023-11-14T22:13:20.000Z"
    answer = b"\x83\xa4type\x06\xa9requestId\xa1r\xa4data\x91" + date
    assert decode_response(answer, ServerSideResponse).data == ["2023-11-14T22:13:20.000Z"]
    record = b"\x83\xa2id\xa1i\xa5rooms\x90\xa4data" + date
    sockets = b"\x82\xa9requestId\xa1r\xa7sockets\x91" + record
    (found,) = decode_response(sockets, SocketsResponse).sockets
    assert found.data == "2023-11-14T22:13:20.000Z"


def test_small_buffers_of_old_servers_are_binary() -> None:
    message = b"\x93\xa1u\x82\xa4type\x02\xa4data\x92\xa1e\xc7\x01\x00\x07\x80"
    assert decode_broadcast(message).packet.data == ["e", b"\x07"]


def test_a_handshake_that_is_not_one_is_empty() -> None:
    assert read_handshake({"address": "::1", "x": 1}) == HandshakeRecord(address="::1")
    values: list[Any] = [None, 1, {"headers": 1}, [], {"issued": "x"}]
    for value in values:
        assert read_handshake(value) == HandshakeRecord()


@pytest.mark.parametrize("value", [2**64, object()])
def test_what_cannot_travel_is_refused(value: Any) -> None:
    packet = EventPacket(type=2, data=["e", value])
    with pytest.raises(LocalProtocolError):
        encode_request(BroadcastRequest(request_id="r", packet=packet, opts=Options()))
    with pytest.raises(LocalProtocolError):
        BroadcastEncoder("u", "/").encode(["e", value], pack(Options()))
    with pytest.raises(LocalProtocolError):
        encode_response(AckResponse(request_id="r", packet=value))
    with pytest.raises(LocalProtocolError):
        encode_request(JoinRequest(opts=Selection(), rooms=["\ud800"]))


def test_the_user_of_a_socket_is_told_if_there_is_one() -> None:
    record = SocketRecord(id="i", rooms=["i"], user="ada")
    sent = encode_response(SocketsResponse(request_id="r", sockets=[record]))
    assert decode_response(sent, SocketsResponse).sockets == [record]
    bare = SocketsResponse(request_id="r", sockets=[SocketRecord(id="i", rooms=[])])
    assert b"user" not in encode_response(bare)
