from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import engine_packets
from tests.wire_v3 import pack

from trio_socketio.codec.engine_packet import Outgoing, OutgoingV3, Packet, PacketType
from trio_socketio.codec.engine_payload import MAX_PACKETS
from trio_socketio.codec.engine_payload_v3 import (
    decode_binary_payload,
    decode_payload,
    encode_binary_payload,
    encode_payload,
    needs_binary,
)
from trio_socketio.errors import RemoteProtocolError

EURO = "€".encode()


def outgoing(packet: Packet) -> Outgoing:
    if packet.binary:
        return Outgoing(b"", (packet.data,))
    return Outgoing(b"%d%b" % (packet.type, packet.data))


PACKETS = st.lists(engine_packets(), min_size=1, max_size=8)


@pytest.mark.req("EIO3-09", "EIO3-11")
@given(PACKETS)
def test_text_round_trips(sent: list[Packet]) -> None:
    assert decode_payload(encode_payload(map(outgoing, sent))) == sent


@pytest.mark.req("EIO3-12", "EIO3-14")
@given(PACKETS)
def test_binary_round_trips(sent: list[Packet]) -> None:
    assert decode_binary_payload(encode_binary_payload(map(outgoing, sent))) == sent


@pytest.mark.req("EIO3-09")
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_lengths_are_counted_as_javascript_counts(texts: list[str]) -> None:
    body = encode_payload([Outgoing(b"4" + text.encode()) for text in texts])
    assert body.decode() == pack(*("4" + text for text in texts))


@pytest.mark.req("EIO3-09", "EIO3-11", "EIO3-12")
def test_payloads_are_as_published() -> None:
    hello, euro, data = Outgoing(b"4hello"), Outgoing(b"4" + EURO), Outgoing(b"", (b"\1\2\3\4",))
    assert encode_payload([hello, euro]) == b"6:4hello2:4" + EURO
    assert encode_payload([euro, data]) == b"2:4" + EURO + b"10:b4AQIDBA=="
    expected = b"\0\x04\xff4" + EURO + b"\1\x05\xff\4\1\2\3\4"
    assert encode_binary_payload([euro, data]) == expected
    assert encode_payload([Outgoing("4😀".encode())]) == "3:4😀".encode()


def test_attachments_follow_their_text() -> None:
    packet = Outgoing(b"451-[]", (b"\1", b""))
    assert encode_payload([packet, Outgoing(b"3")]) == b"6:451-[]6:b4AQ==2:b41:3"
    binary = b"\0\6\xff451-[]\1\2\xff\4\1\1\1\xff\4\0\1\xff3"
    assert encode_binary_payload([packet, Outgoing(b"3")]) == binary


def test_long_lengths_are_decimal_digits() -> None:
    body = encode_binary_payload([Outgoing(b"4" * 1230)])
    assert body == b"\0\1\2\3\0\xff" + b"4" * 1230
    assert decode_binary_payload(body) == [Packet(PacketType.MESSAGE, b"4" * 1229)]


@pytest.mark.req("EIO3-32")
def test_a_packet_is_encoded_once_for_each_kind_of_receiver() -> None:
    packet = Outgoing(b"4a", (b"\1",))
    text, binary = encode_payload([packet]), encode_binary_payload([packet])
    assert packet.v3 == OutgoingV3(body=text, binary_body=binary)
    packet.v3 = OutgoingV3(body=b"kept", binary_body=b"kept too")
    assert (encode_payload([packet]), encode_binary_payload([packet])) == (b"kept", b"kept too")


def test_a_packet_for_revision_4_alone_holds_nothing_of_revision_3() -> None:
    assert Outgoing(b"4a").v3 is None


@pytest.mark.req("EIO3-12")
@pytest.mark.parametrize(
    ("packets", "binary"),
    [
        ([Outgoing(b"4a"), Outgoing(b"2")], False),
        ([Outgoing(b"4a"), Outgoing(b"", (b"",))], True),
        ([Outgoing(b"4" + EURO)], True),
    ],
)
def test_binary_payloads_are_for_what_text_cannot_carry(
    packets: list[Outgoing], *, binary: bool
) -> None:
    assert needs_binary(packets) is binary


@pytest.mark.parametrize("body", [b"0:", b"0:0:", b"00:"])
def test_empty_packets_are_left_out(body: bytes) -> None:
    assert decode_payload(body) == []
    assert decode_payload(body + b"2:4a" + body) == [Packet(PacketType.MESSAGE, b"a")]


@pytest.mark.req("EIO3-10")
@pytest.mark.parametrize(
    "body",
    [
        b"", b":", b"4a", b"2:4", b"2:4a2", b"2:4a3:4b", b"-1:4", b" 2:4a", b"2 :4a", b"+2:4a",
        b"2.0:4a", b"0x2:4a", b"1e0:4", b"12345678901:4", b"2:x4", b"2:b4A", b"1:7", b"2:4\xff",
        "4:4😀".encode(), "2:4😀".encode(), "2:4😀1:2".encode(), "\u0663:4€".encode(),
        "3:4€".encode(), "\u003a\u3a00".encode(),
    ],
)  # fmt: skip
def test_a_broken_text_payload_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_payload(body)


@pytest.mark.req("EIO3-10", "EIO3-14")
@pytest.mark.parametrize(
    "body",
    [
        b"", b"\0", b"\0\xff", b"\0\1", b"\0\1\xff", b"\0\0\xff", b"\1\0\xff", b"\2\1\xff4",
        b"\xff\1\xff4", b"\0\x0a\xff4444444444", b"\0\2\xff4", b"\1\1\xff\2", b"\1\1\xff4",
        b"\0" + b"\0" * 10 + b"\1\xff4", b"\0\2\xff4\xff", b"\0\1\xff44", b"\0\1\xff7",
        b"\0\4\xffb4A!",
    ],
)  # fmt: skip
def test_a_broken_binary_payload_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_binary_payload(body)


@pytest.mark.parametrize("half", [b"\xed\xa0\x80", b"\xed\xbf\xbf"])
def test_half_a_surrogate_pair_arrives_as_a_replacement(half: bytes) -> None:
    # Clients 1.x write what no other encoder of UTF-8 does.
    (packet,) = decode_binary_payload(b"\0\6\xff4a" + half + b"b")
    assert packet == Packet(PacketType.MESSAGE, "a\ufffdb".encode())


@pytest.mark.req("EIO3-28")
def test_ten_thousand_packets_are_accepted_and_one_more_is_not() -> None:
    for decode, one in ((decode_payload, b"1:4"), (decode_binary_payload, b"\0\1\xff4")):
        assert decode(one * MAX_PACKETS) == [Packet(PacketType.MESSAGE)] * MAX_PACKETS
        with pytest.raises(RemoteProtocolError, match="more than 10000"):
            decode(one * (MAX_PACKETS + 1))


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.from_regex(r"\A([0-9]{1,2}:4\w*)+\Z").map(str.encode)
)
def test_garbage_raises_nothing_undocumented(body: bytes) -> None:
    for decode in (decode_payload, decode_binary_payload):
        with suppress(RemoteProtocolError):
            decode(body)
