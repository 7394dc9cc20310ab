import base64
import gc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import engine_packets

from trio_socketio.codec import engine_packet
from trio_socketio.codec.engine_packet import (
    MESSAGE,
    Outgoing,
    Packet,
    PacketType,
    decode_packet,
    encode_binary,
    encode_packet,
)
from trio_socketio.errors import RemoteProtocolError


@pytest.mark.req("EIO4-30")
@given(engine_packets())
def test_packet_round_trips(sent: Packet) -> None:
    assert decode_packet(encode_packet(sent)) == sent


@pytest.mark.req("EIO4-30", "EIO4-43")
@pytest.mark.parametrize("first", range(256))
def test_only_seven_digits_and_b_are_types(first: int) -> None:
    text = bytes([first])
    if text in b"0123456":
        assert decode_packet(text + b"x") == Packet(PacketType(int(text)), b"x")
        assert decode_packet(text) == Packet(PacketType(int(text)))
    elif text == b"b":
        assert decode_packet(b"bAQ==") == Packet(PacketType.MESSAGE, b"\x01", binary=True)
    else:
        with pytest.raises(RemoteProtocolError, match="unknown Engine") as refusal:
            decode_packet(text + b"x")
        assert str(refusal.value).endswith(f"type {text!r}")


@pytest.mark.req("EIO4-30")
def test_types_have_their_digits() -> None:
    names = ["OPEN", "CLOSE", "PING", "PONG", "MESSAGE", "UPGRADE", "NOOP"]
    assert [kind.name for kind in PacketType] == names
    assert [kind.value for kind in PacketType] == list(range(7))
    assert bytes([MESSAGE]) == b"4"


@pytest.mark.req("EIO4-43")
def test_empty_packet_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="empty Engine"):
        decode_packet(b"")


@given(st.binary() | st.binary().map(lambda data: b"b" + data))
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_packet(text)


@pytest.mark.req("EIO4-40")
@given(st.binary())
def test_binary_is_b_and_padded_base64(data: bytes) -> None:
    expected = b"b" + base64.standard_b64encode(data)
    assert encode_binary(data) == expected
    assert encode_packet(Packet(PacketType.MESSAGE, data, binary=True)) == expected


@pytest.mark.req("EIO4-44")
@given(st.binary())
def test_padding_may_be_missing(data: bytes) -> None:
    text = b"b" + base64.standard_b64encode(data).rstrip(b"=")
    assert decode_packet(text) == Packet(PacketType.MESSAGE, data, binary=True)


@pytest.mark.req("EIO4-44")
@pytest.mark.parametrize(
    "text",
    [
        b"bA",
        b"bAQ*=",
        b"bAQI\n",
        b"b-_-_",
        b"bAQ==AQ==",
        b"b=",
        b"bAQID=",
        b"bAQID==",
        b"bAQ===",
        b"bAQI==",
        b"b\xff",
    ],
)
def test_broken_base64_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed base64"):
        decode_packet(text)


def test_text_packets_are_not_binary() -> None:
    assert decode_packet(b"4bAQ==") == Packet(PacketType.MESSAGE, b"bAQ==", binary=False)
    assert Packet(PacketType.PING) == Packet(PacketType.PING, b"", binary=False)


@pytest.mark.parametrize("packet", [Packet(PacketType.PING), Packet(PacketType.MESSAGE, b"a")])
def test_a_packet_cannot_be_changed(packet: Packet) -> None:
    with pytest.raises(AttributeError):
        packet.data = b"other"  # type: ignore[misc]  # that is the point


def test_packets_are_no_work_for_the_garbage_collector() -> None:
    assert not gc.is_tracked(decode_packet(b"4a"))
    assert not gc.is_tracked(Outgoing(b"4a", (b"x",)))


def test_byte_count_is_text_and_attachments() -> None:
    assert Outgoing(b"4abc").byte_count() == 4
    assert Outgoing(b"4abc", (b"12", b"", b"345")).byte_count() == 9


def test_shared_packets_are_what_their_names_say() -> None:
    def read(outgoing: Outgoing) -> Packet:
        assert outgoing.attachments == ()
        return decode_packet(outgoing.text)

    assert read(engine_packet.PING) == Packet(PacketType.PING)
    assert read(engine_packet.CLOSE) == Packet(PacketType.CLOSE)
    assert read(engine_packet.NOOP) == Packet(PacketType.NOOP)
    assert read(engine_packet.PROBE_PONG) == Packet(PacketType.PONG, b"probe")
    assert decode_packet(engine_packet.PROBE_PING) == Packet(PacketType.PING, b"probe")
