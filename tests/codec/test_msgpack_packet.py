"""Packets of the MessagePack parser: what notepack.io writes and reads, and what is refused."""

from contextlib import suppress
from datetime import UTC, datetime
from math import inf, isnan, nan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.codec.msgpack_packet import arguments_encoder, decode_packet, encode_packet
from trio_socketio.codec.socket_packet import MAX_ACK_ID, Packet, PacketType
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

EVENT, ACK = PacketType.EVENT, PacketType.ACK
pack = msgspec.msgpack.encode

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=20),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
namespaces = st.sampled_from(["/", "/a", "/ü"])
ack_ids = st.none() | st.integers(0, MAX_ACK_ID)


def bytes_of(packet: Packet) -> bytes:
    outgoing = encode_packet(packet)
    assert outgoing.text == b""
    (message,) = outgoing.attachments
    return message


@pytest.mark.req("MSGPACK-01")
@given(namespaces, st.lists(values), ack_ids)
def test_events_come_back(namespace: str, arguments: list[Any], ack_id: int | None) -> None:
    sent = Packet(EVENT, namespace, ["name", *arguments], ack_id)
    assert decode_packet(bytes_of(sent)) == sent


@given(namespaces, st.lists(values), st.integers(0, MAX_ACK_ID))
def test_answers_come_back(namespace: str, arguments: list[Any], ack_id: int) -> None:
    sent = Packet(ACK, namespace, arguments, ack_id)
    assert decode_packet(bytes_of(sent)) == sent


@pytest.mark.parametrize(
    "packet",
    [
        Packet(PacketType.CONNECT),
        Packet(PacketType.CONNECT, "/a", {"sid": "x"}),
        Packet(PacketType.DISCONNECT, "/a"),
        Packet(PacketType.CONNECT_ERROR, "/", {"message": "no"}),
        Packet(PacketType.CONNECT_ERROR, "/", "no"),
    ],
)
def test_other_packets_come_back(packet: Packet) -> None:
    assert decode_packet(bytes_of(packet)) == packet


@pytest.mark.req("MSGPACK-01")
def test_packets_are_plain_maps() -> None:
    """Read with a decoder of its own: nothing but what the other side expects is in them."""
    event = bytes_of(Packet(EVENT, "/a", ["f", b"\x01"], 7))
    assert msgspec.msgpack.decode(event) == {
        "type": 2, "nsp": "/a", "id": 7, "data": ["f", b"\x01"],
    }  # fmt: skip
    assert msgspec.msgpack.decode(bytes_of(Packet(EVENT, "/", ["f"]))) == {
        "type": 2, "nsp": "/", "data": ["f"],
    }  # fmt: skip
    assert msgspec.msgpack.decode(bytes_of(Packet(PacketType.DISCONNECT))) == {
        "type": 1, "nsp": "/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        (b"\xd4\x00\x00", None),  # undefined
        (b"\xd7\x00" + (0).to_bytes(8), "1970-01-01T00:00:00.000Z"),
        (b"\xd7\x00" + (1577934245678).to_bytes(8), "2020-01-02T03:04:05.678Z"),
        (b"\xd7\x00" + (-1).to_bytes(8, signed=True), "1969-12-31T23:59:59.999Z"),
        (b"\xd7\x00" + (-62135596800000).to_bytes(8, signed=True), "0001-01-01T00:00:00.000Z"),
        (b"\xc7\x00\x00", b""),  # ArrayBuffers
        (b"\xc7\x01\x00\x00", b"\x00"),
        (b"\xc7\x02\x00ab", b"ab"),
        (b"\xc7\x08\x00abcdefgh", b"abcdefgh"),
        (b"\xc8\x01\x00\x00" + b"x" * 256, b"x" * 256),
        (b"\xc4\x03\xc7\x01\x00", b"\xc7\x01\x00"),  # binary that looks like one
        (b"\xa3abc", "abc"),
    ],
)
@pytest.mark.parametrize(
    "before", [b"\xc7\x01\x00\x07", b"\xdc\x00\x01\xd9\x01a", b"\x81\xa1k\xcb" + b"\0" * 8]
)
@pytest.mark.req("MSGPACK-02")
def test_extensions_of_the_other_side(before: bytes, packed: bytes, value: Any) -> None:
    message = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x94\xa1f" + packed + before + packed
    packet = decode_packet(message)
    assert packet.data[1] == packet.data[3] == value


LIE = b"\xdb"
"""Read as a value of its own, it announces a text of gigabytes."""


def text(size: int) -> bytes:
    """UTF-8 of that size; its characters, read as values, announce an extension."""
    return "Ǉ".encode() * (size // 2) + b"a" * (size % 2)


def whole_values() -> dict[str, bytes]:
    """A value of each form that MessagePack has; whoever loses count of its bytes is misled."""
    forms = {f"fixint {n:#x}": bytes((n,)) for n in (0, 1, 0x7F, 0xE0, 0xFF)}
    forms |= {"nil": b"\xc0", "false": b"\xc2", "true": b"\xc3"}
    forms |= {f"fixstr {n}": bytes((0xA0 + n,)) + text(n) for n in range(32)}
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
        forms[f"bin {width}"] = bytes((first,)) + (9).to_bytes(width) + LIE * 9
        forms[f"str {width}"] = bytes((first + 21,)) + (9).to_bytes(width) + text(9)
        forms[f"ext {width}"] = bytes((first + 3,)) + (9).to_bytes(width) + b"\0" + LIE * 9
    forms["long bin 2"] = b"\xc5\x01\xdb" + LIE * 0x1DB
    forms["long bin 4"] = b"\xc6\0\x01\0\xdb" + LIE * 0x100DB
    for first, size in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        forms[f"number {first:#x}"] = bytes((first,)) + LIE * size
    for first, size in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        forms[f"number {first:#x}"] = bytes((first,)) + LIE * size
    for first, size in ((0xD4, 1), (0xD5, 2), (0xD6, 4), (0xD8, 16)):
        forms[f"fixext {size}"] = bytes((first,)) + b"\0" + LIE * size
    forms["fixext 8"] = b"\xd7\0" + bytes(4) + LIE * 4
    forms |= {f"fixarray {n}": bytes((0x90 + n,)) + b"\x07" * n for n in range(16)}
    forms |= {
        f"fixmap {n}": bytes((0x80 + n,)) + b"".join(b"\xa1%c\x07" % (97 + i) for i in range(n))
        for n in range(16)
    }
    forms |= {"array 2": b"\xdc\0\x01\x07", "array 4": b"\xdd\0\0\0\x01\x07"}
    forms |= {"map 2": b"\xde\0\x01\xa1a\x07", "map 4": b"\xdf\0\0\0\x01\xa1a\x07"}
    return forms


@pytest.mark.parametrize("form", whole_values().items(), ids=lambda form: form[0])
@pytest.mark.req("MSGPACK-02")
def test_a_small_buffer_is_found_behind_every_form_of_value(form: tuple[str, bytes]) -> None:
    head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x94\xa1f"
    value = form[1]
    for small, found in ((b"\xc7\x01\x00\x07", b"\x07"), (b"\xc7\x08\x00" + LIE * 8, LIE * 8)):
        assert decode_packet(head + value + small + value).data[2] == found
        assert decode_packet(head + small + small + value).data[1:3] == [found, found]
        assert decode_packet(head + value + value + small).data[3] == found


def test_what_the_client_adds_is_ignored() -> None:
    message = pack({"type": 2, "data": ["f"], "options": {"compress": True}, "nsp": "/"})
    assert decode_packet(message) == Packet(EVENT, "/", ["f"])
    connect = b"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa1/"
    assert decode_packet(connect) == Packet(PacketType.CONNECT)


def nested(depth: int, container: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = container(value)
    return value


def event(**changes: Any) -> bytes:
    return pack({"type": 2, "nsp": "/", "data": ["f"]} | changes)


@pytest.mark.req("MSGPACK-03")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        pack([2, "/", ["f"]]),
        pack("4"),
        event() + b"\xc0",
        event()[:-1],
        event(type=5),
        event(type=6),
        event(type=-1),
        event(type=True),
        event(type=2.5),
        event(type="2"),
        event(type=None),
        event(nsp=None),
        event(nsp=b"/"),
        event(nsp="a"),
        event(nsp=""),
        event(id=-1),
        event(id=MAX_ACK_ID + 1),
        event(id=1.5),
        event(id=True),
        event(id="1"),
        event(data=None),
        event(data={}),
        event(data=[]),
        event(data=[None]),
        event(data=[b"f"]),
        event(data=["connect"]),
        event(data=["disconnecting"]),
        event(data=["f", {1: 2}]),
        event(data=["f", [{b"k": 2}]]),
        event(data=["f", {(1, 2): 2}]),
        event(data=["f", msgspec.msgpack.Ext(1, b"x")]),
        event(data=["f", msgspec.msgpack.Ext(-1, b"\0\0\0\0")]),
        event(data=["f", msgspec.msgpack.Ext(-1, b"x")]),
        event(data=["f", msgspec.msgpack.Ext(0, b"\x7f" + b"\xff" * 7)]),
        event(data=["f", nested(MAX_DEPTH, lambda inner: [inner])]),
        event(data=["f", nested(MAX_DEPTH, lambda inner: {"k": inner})]),
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1f" + b"\x91" * 100_000,
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\xdd\xff\xff\xff\xff\xa1f",
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1f\xdf\xff\xff\xff\xff",
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1\xff",
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1f\xc7\x08\x00abc",
        event(type=3, data={}),
        event(type=3, data={}, id=1),
        event(type=3, data=[], id=1.5),
        event(type=3, data=[], id=True),
        event(type=0, data="x"),
        event(type=0, data=[]),
        event(type=0, data={}, id=1),
        event(type=1, data={}),
        event(type=4, data=[]),
        event(type=4, data=None),
    ],
)
def test_what_is_no_packet_is_refused(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_packet(message)


@pytest.mark.req("SIO5-59")
@pytest.mark.parametrize("ack_id", [None, 7, -1, MAX_ACK_ID + 1, 2**64 - 1])
@pytest.mark.parametrize("data", [None, [], [1]])
def test_an_ack_that_cannot_answer_anything_has_no_id(ack_id: Any, data: Any) -> None:
    packet = decode_packet(event(type=3, data=data, id=ack_id))
    answers = ack_id == 7 and data is not None
    assert packet == Packet(ACK, "/", data or [], ack_id if answers else None)


@pytest.mark.req("MSGPACK-03")
def test_the_depth_that_is_taken() -> None:
    data = ["f", nested(MAX_DEPTH - 1, lambda inner: [inner])]
    assert decode_packet(event(data=data)).data == data


@given(st.binary())
def test_garbage_raises_nothing_undocumented(message: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_packet(message)


@given(st.lists(values), st.data())
def test_mutated_packets_raise_nothing_undocumented(arguments: list[Any], data: Any) -> None:
    message = bytearray(bytes_of(Packet(EVENT, "/", ["f", *arguments, b"\0"], 1)))
    for _ in range(3):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + 1] = data.draw(st.sampled_from([b"\xc7\x01\x00", b"", b"\xdf", b"\x91"]))
    with suppress(RemoteProtocolError):
        decode_packet(bytes(message))


def test_numbers_that_json_has_not() -> None:
    received = decode_packet(bytes_of(Packet(EVENT, "/", ["f", nan, inf, -inf]))).data
    assert isnan(received[1])
    assert received[2:] == [inf, -inf]


def test_values_become_what_json_makes_of_them() -> None:
    value = {1: datetime(2020, 1, 2, tzinfo=UTC), "s": {"x"}, "t": (b"b", memoryview(b"m"))}
    received = decode_packet(bytes_of(Packet(EVENT, "/", ["f", value, bytearray(b"a")]))).data
    told = {"1": "2020-01-02T00:00:00Z", "s": ["x"], "t": [b"b", b"m"]}
    assert received == ["f", told, b"a"]


class Opaque:
    pass


@pytest.mark.parametrize(
    "value", [Opaque(), 2**64, {b"k": 1}, nested(MAX_DEPTH + 1, lambda inner: [inner])]
)
def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    encode = arguments_encoder(EVENT, "/")
    with pytest.raises(LocalProtocolError):
        encode(["f", value], None)
    with pytest.raises(LocalProtocolError):
        encode_packet(Packet(PacketType.CONNECT_ERROR, "/", {"data": value}))


def test_what_contains_itself_is_refused() -> None:
    ring: list[Any] = ["f"]
    ring.append(ring)
    with pytest.raises(LocalProtocolError):
        encode_packet(Packet(EVENT, "/", ring))
