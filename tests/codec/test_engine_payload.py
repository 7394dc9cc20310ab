from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import engine_packets

from trio_socketio.codec.engine_packet import Outgoing, Packet, PacketType
from trio_socketio.codec.engine_payload import (
    MAX_PACKETS,
    SEPARATOR,
    decode_payload,
    encode_payload,
)
from trio_socketio.errors import RemoteProtocolError


def outgoing(packet: Packet) -> Outgoing:
    if packet.binary:
        return Outgoing(b"", (packet.data,))
    return Outgoing(b"%d%b" % (packet.type, packet.data))


@pytest.mark.req("EIO4-31")
@given(st.lists(engine_packets(), min_size=1, max_size=8))
def test_payload_round_trips(sent: list[Packet]) -> None:
    assert decode_payload(encode_payload([outgoing(packet) for packet in sent])) == sent


@pytest.mark.req("EIO4-31")
def test_packets_are_joined_by_the_separator_alone() -> None:
    assert SEPARATOR == b"\x1e"
    assert encode_payload([Outgoing(b"4a"), Outgoing(b"2"), Outgoing(b"4b")]) == b"4a\x1e2\x1e4b"
    assert encode_payload([Outgoing(b"4a")]) == b"4a"


@pytest.mark.req("EIO4-31", "EIO4-40")
def test_attachments_follow_their_text() -> None:
    packet = Outgoing(b"451-[]", (b"\x01", b"\x02\x03"))
    assert encode_payload([packet, Outgoing(b"2")]) == b"451-[]\x1ebAQ==\x1ebAgM=\x1e2"


def test_binary_alone_has_no_empty_text_in_front() -> None:
    assert encode_payload([Outgoing(b"", (b"\x01", b""))]) == b"bAQ==\x1eb"


def test_a_body_is_encoded_once_for_all_receivers() -> None:
    packet = Outgoing(b"4a", (b"\x01",))
    first = encode_payload([packet])
    assert packet.body == first
    packet.body = b"4kept"
    assert encode_payload([packet]) == b"4kept"


@pytest.mark.parametrize("body", [b"", b"\x1e", b"\x1e4a", b"4a\x1e", b"4a\x1e\x1e4b", b"4a\x1ex"])
def test_an_empty_or_unknown_packet_breaks_the_body(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_payload(body)


@pytest.mark.req("EIO4-42")
@pytest.mark.parametrize("body", [b"4\xff", b"4\xe2\x82", b"4\xed\xa0\x80", b"4a\x1e4\xc0\x80"])
def test_a_body_that_is_not_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        decode_payload(body)


def test_a_body_beyond_ascii_is_accepted() -> None:
    body = "4€\x1e4😀".encode()
    assert [packet.data.decode() for packet in decode_payload(body)] == ["€", "😀"]


@pytest.mark.req("EIO4-45")
def test_ten_thousand_packets_are_accepted_and_one_more_is_not() -> None:
    assert MAX_PACKETS == 10_000
    packets = decode_payload(SEPARATOR.join([b"4"] * 10_000))
    assert packets == [Packet(PacketType.MESSAGE)] * 10_000
    for count in (10_001, 10_002, 50_000):
        with pytest.raises(RemoteProtocolError, match="more than 10000"):
            decode_payload(SEPARATOR.join([b"4"] * count))


@given(st.lists(st.binary(max_size=10), max_size=5).map(SEPARATOR.join) | st.binary())
def test_garbage_raises_nothing_undocumented(body: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert decode_payload(body)
