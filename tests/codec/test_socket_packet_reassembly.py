"""Binary packets of Socket.IO whose attachments arrive after them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import ACK_IDS, NAMES, NAMESPACES, SCALARS, json_values
from tests.codec.test_attachments import binary_in

from trio_socketio.codec.socket_packet import (
    Packet,
    PacketType,
    Reassembly,
    decode_packet,
    encode_packet,
)
from trio_socketio.errors import RemoteProtocolError

TWO = b'452-["f",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'


def reassemble(text: bytes, attachments: tuple[bytes, ...], max_bytes: int = 1000) -> Packet:
    packet = decode_packet(text)
    if not packet.attachments:
        return packet
    reassembly = Reassembly(packet, max_bytes, 1.0)
    whole = [reassembly.receive_attachment(data) for data in attachments]
    assert whole[:-1] == [None] * (len(attachments) - 1)
    assert whole[-1] is packet
    return packet


@st.composite
def binary_packets(draw: st.DrawFn) -> Packet:
    values = json_values(SCALARS | st.binary(max_size=9))
    data: list[Any] = draw(
        st.lists(values, max_size=4).filter(lambda data: len(binary_in(data)) < 11)
    )
    if draw(st.booleans()):
        return Packet(PacketType.ACK, draw(NAMESPACES), data, draw(ACK_IDS))
    data.insert(0, draw(NAMES))
    return Packet(PacketType.EVENT, draw(NAMESPACES), data, draw(st.none() | ACK_IDS))


@pytest.mark.req("SIO5-48", "SIO5-49", "SIO5-51")
@given(binary_packets())
def test_binary_packets_round_trip(sent: Packet) -> None:
    outgoing = encode_packet(sent)
    received = reassemble(outgoing.text, outgoing.attachments)
    binary = {PacketType.EVENT: PacketType.BINARY_EVENT, PacketType.ACK: PacketType.BINARY_ACK}
    assert outgoing.attachments == tuple(binary_in(sent.data))
    assert received.type is (binary[sent.type] if outgoing.attachments else sent.type)
    assert (received.namespace, received.ack_id) == (sent.namespace, sent.ack_id)
    assert received.data == sent.data
    assert received.attachments == 0


@pytest.mark.req("SIO5-51")
def test_the_packet_is_whole_with_its_last_attachment() -> None:
    reassembly = Reassembly(decode_packet(TWO), 100, 7.5)
    assert reassembly.expires_at == 7.5
    assert reassembly.receive_attachment(b"first") is None
    packet = reassembly.receive_attachment(b"second")
    assert packet == Packet(PacketType.BINARY_EVENT, "/", ["f", b"second", b"first"])


@pytest.mark.req("SIO5-56")
@pytest.mark.parametrize("sizes", [(10, 0), (0, 10), (5, 5), (9, 1)])
def test_attachments_may_fill_the_bound_together(sizes: tuple[int, int]) -> None:
    reassemble(TWO, tuple(bytes(size) for size in sizes), max_bytes=10)


@pytest.mark.req("SIO5-56")
@pytest.mark.parametrize("sizes", [(11, 0), (0, 11), (5, 6), (10, 1)])
def test_attachments_beyond_the_bound_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(RemoteProtocolError, match="too large together"):
        reassemble(TWO, tuple(bytes(size) for size in sizes), max_bytes=10)


@pytest.mark.req("SIO5-52")
@pytest.mark.parametrize("number", ["1", "-1", "0.0", '"0"', "null", "true", "false", "[0]"])
@pytest.mark.parametrize("header", ["451-", "461-3"])
def test_a_placeholder_that_names_no_attachment_is_refused(header: str, number: str) -> None:
    text = f'{header}["f",[{{"_placeholder":true,"num":{number}}}]]'.encode()
    with pytest.raises(RemoteProtocolError, match="names no attachment"):
        reassemble(text, (b"x",))


@pytest.mark.req("SIO5-16")
@pytest.mark.parametrize("name", ['{"_placeholder":true,"num":0}'])
def test_an_attachment_is_no_event_name(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="begins with its name"):
        reassemble(f"451-[{name}]".encode(), (b"x",))
    assert reassemble(f"461-3[{name}]".encode(), (b"x",)).data == [b"x"]


def test_an_attachment_that_nothing_names_is_dropped() -> None:
    assert reassemble(b'451-["f"]', (b"x",)).data == ["f"]
