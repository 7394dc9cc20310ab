from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec import engine_packet
from trio_socketio.codec.engine_packet import Packet, PacketType
from trio_socketio.codec.engine_packet_v3 import decode_binary, decode_packet, encode_binary
from trio_socketio.errors import RemoteProtocolError


@pytest.mark.req("EIO3-11")
@given(st.binary(max_size=40))
def test_base64_round_trips(data: bytes) -> None:
    text = encode_binary(data)
    assert text.startswith(b"b4")
    assert decode_packet(text) == Packet(PacketType.MESSAGE, data, binary=True)


@pytest.mark.req("EIO3-11")
def test_base64_is_as_published() -> None:
    assert encode_binary(b"\1\2\3\4") == b"b4AQIDBA=="


@given(st.sampled_from(PacketType), st.text(max_size=10).map(str.encode))
def test_text_is_as_in_revision_4(kind: PacketType, data: bytes) -> None:
    assert decode_packet(b"%d%b" % (kind, data)) == Packet(kind, data)


@pytest.mark.req("EIO3-18")
@pytest.mark.parametrize("text", [b"", b"b", b"bAQID", b"b2AQID", b"b4A", b"b4!!!!", b"7", b"x4"])
def test_what_is_no_packet_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_packet(text)


@pytest.mark.req("EIO3-16", "EIO3-18")
@given(st.binary())
def test_a_binary_message_has_its_type_in_front(data: bytes) -> None:
    assert decode_binary(b"\4" + data) == data
    with pytest.raises(RemoteProtocolError):
        decode_binary(b"4" + data)


@pytest.mark.parametrize("packet", [b"", b"\0", b"\2probe", b"\xff"])
def test_other_binary_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a message"):
        decode_binary(packet)


@given(st.binary() | st.binary().map(b"b4".__add__))
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(RemoteProtocolError):
        packet = decode_packet(text)
        assert packet.binary or packet == engine_packet.decode_packet(text)
