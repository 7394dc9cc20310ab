"""The codec against spec/vectors/*.json, which other implementations can read too."""

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest

from trio_socketio.codec import engine_packet, engine_payload_v3, socket_packet
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.engine_payload import decode_payload, encode_payload
from trio_socketio.codec.socket_packet import PacketType, Reassembly
from trio_socketio.errors import RemoteProtocolError

VECTORS: Final = Path(__file__).resolve().parent.parent / "spec" / "vectors"
ENGINE: Final = json.loads((VECTORS / "engine_io_v4.json").read_text(encoding="utf-8"))
ENGINE_3: Final = json.loads((VECTORS / "engine_io_v3.json").read_text(encoding="utf-8"))
SOCKET: Final = json.loads((VECTORS / "socket_io_v5.json").read_text(encoding="utf-8"))


def cases(*lists: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entries in lists for entry in entries]


def wire_bytes(entry: dict[str, Any]) -> bytes:
    if "base64" in entry:
        return base64.b64decode(entry["base64"])
    return bytes(entry["text"], "utf-8")


def with_binary(value: Any) -> Any:
    """What a decoded value stands for: ``{"$binary": ...}`` is bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$binary"}:
            return base64.b64decode(value["$binary"])
        return {key: with_binary(item) for key, item in value.items()}
    return [with_binary(item) for item in value] if isinstance(value, list) else value


# --- Engine.IO -----------------------------------------------------------------------------------


def engine_packet_of(decoded: dict[str, Any]) -> engine_packet.Packet:
    kind = engine_packet.PacketType[decoded["type"].upper()]
    data = with_binary(decoded["data"])
    if isinstance(data, bytes):
        return engine_packet.Packet(kind, data, binary=True)
    return engine_packet.Packet(kind, data.encode())


def outgoing(packet: engine_packet.Packet) -> Outgoing:
    if packet.binary:
        return Outgoing(b"", (packet.data,))
    return Outgoing(engine_packet.encode_packet(packet))


@pytest.mark.req("EIO4-30", "EIO4-40", "EIO4-44")
@pytest.mark.parametrize("entry", cases(ENGINE["packets"]["valid"], ENGINE["packets"]["accepted"]))
def test_engine_packet_decodes(entry: dict[str, Any]) -> None:
    assert engine_packet.decode_packet(wire_bytes(entry)) == engine_packet_of(entry["decoded"])


@pytest.mark.req("EIO4-30", "EIO4-40")
@pytest.mark.parametrize("entry", cases(ENGINE["packets"]["valid"]))
def test_engine_packet_encodes(entry: dict[str, Any]) -> None:
    assert engine_packet.encode_packet(engine_packet_of(entry["decoded"])) == wire_bytes(entry)


@pytest.mark.req("EIO4-43", "EIO4-44")
@pytest.mark.parametrize("entry", cases(ENGINE["packets"]["invalid"]))
def test_invalid_engine_packet_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        engine_packet.decode_packet(wire_bytes(entry))


PAYLOADS: Final = ENGINE["payloads"]


@pytest.mark.req("EIO4-31")
@pytest.mark.parametrize("entry", cases(PAYLOADS["valid"], PAYLOADS["accepted"]))
def test_payload_decodes(entry: dict[str, Any]) -> None:
    expected = [engine_packet_of(decoded) for decoded in entry["decoded"]]
    assert decode_payload(wire_bytes(entry)) == expected


@pytest.mark.req("EIO4-31")
@pytest.mark.parametrize("entry", cases(PAYLOADS["valid"]))
def test_payload_encodes(entry: dict[str, Any]) -> None:
    packets = [outgoing(engine_packet_of(decoded)) for decoded in entry["decoded"]]
    assert encode_payload(packets) == wire_bytes(entry)


@pytest.mark.req("EIO4-31", "EIO4-42", "EIO4-43")
@pytest.mark.parametrize("entry", cases(PAYLOADS["invalid"]))
def test_invalid_payload_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_payload(wire_bytes(entry))


def text_frames(*names: str) -> list[Any]:
    """Those that the codec decides: binary frames and UTF-8 are the transport's."""
    entries = [entry for name in names for entry in ENGINE["frames"][name]]
    return cases([item for item in entries if item["opcode"] == "text" and "text" in item])


@pytest.mark.parametrize("entry", text_frames("valid", "accepted"))
def test_text_frame_decodes(entry: dict[str, Any]) -> None:
    assert engine_packet.decode_packet(wire_bytes(entry)) == engine_packet_of(entry["decoded"])


@pytest.mark.parametrize("entry", text_frames("invalid"))
def test_invalid_text_frame_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        engine_packet.decode_packet(wire_bytes(entry))


# --- Engine.IO v3 --------------------------------------------------------------------------------

TEXT_3: Final = ENGINE_3["payloads"]
BINARY_3: Final = ENGINE_3["binary_payloads"]


@pytest.mark.req("EIO3-09", "EIO3-11")
@pytest.mark.parametrize("entry", cases(TEXT_3["valid"], TEXT_3["accepted"]))
def test_payload_of_revision_3_decodes(entry: dict[str, Any]) -> None:
    expected = [engine_packet_of(decoded) for decoded in entry["decoded"]]
    assert engine_payload_v3.decode_payload(wire_bytes(entry)) == expected


@pytest.mark.req("EIO3-12", "EIO3-14")
@pytest.mark.parametrize("entry", cases(BINARY_3["valid"], BINARY_3["accepted"]))
def test_binary_payload_of_revision_3_decodes(entry: dict[str, Any]) -> None:
    expected = [engine_packet_of(decoded) for decoded in entry["decoded"]]
    assert engine_payload_v3.decode_binary_payload(wire_bytes(entry)) == expected


@pytest.mark.req("EIO3-09", "EIO3-11")
@pytest.mark.parametrize("entry", cases(TEXT_3["valid"]))
def test_payload_of_revision_3_encodes(entry: dict[str, Any]) -> None:
    packets = [outgoing(engine_packet_of(decoded)) for decoded in entry["decoded"]]
    assert engine_payload_v3.encode_payload(packets) == wire_bytes(entry)


@pytest.mark.req("EIO3-12")
@pytest.mark.parametrize("entry", cases(BINARY_3["valid"]))
def test_binary_payload_of_revision_3_encodes(entry: dict[str, Any]) -> None:
    packets = [outgoing(engine_packet_of(decoded)) for decoded in entry["decoded"]]
    assert engine_payload_v3.encode_binary_payload(packets) == wire_bytes(entry)


@pytest.mark.req("EIO3-10", "EIO3-18")
@pytest.mark.parametrize("entry", cases(TEXT_3["invalid"]))
def test_invalid_payload_of_revision_3_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        engine_payload_v3.decode_payload(wire_bytes(entry))


@pytest.mark.req("EIO3-10", "EIO3-18")
@pytest.mark.parametrize("entry", cases(BINARY_3["invalid"]))
def test_invalid_binary_payload_of_revision_3_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        engine_payload_v3.decode_binary_payload(wire_bytes(entry))


# --- Socket.IO -----------------------------------------------------------------------------------


def attachments_of(entry: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(text) for text in entry.get("attachments", [])]


def receive(text: bytes, attachments: list[bytes]) -> socket_packet.Packet:
    packet = socket_packet.decode_packet(b"4" + text)
    if packet.attachments:
        reassembly = Reassembly(packet, 10**6, 0.0)
        whole = [reassembly.receive_attachment(data) for data in attachments]
        assert whole == [None] * (packet_count(text) - 1) + [packet]
    else:
        assert attachments == []
    return packet


def packet_count(text: bytes) -> int:
    """How many attachments a binary packet announces."""
    return int(text[1 : text.index(b"-")])


# Whether a message may come at all, text or binary, is decided where packets are expected.
NOT_THE_CODECS: Final = frozenset(("one attachment too many", "attachment without a packet"))
INVALID: Final = [
    entry
    for entry in SOCKET["invalid"]
    if "then_text" not in entry and entry["name"] not in NOT_THE_CODECS
]


@pytest.mark.req("SIO5-39", "SIO5-41", "SIO5-42", "SIO5-51", "SIO5-58")
@pytest.mark.parametrize("entry", cases(SOCKET["valid"], SOCKET["accepted"]))
def test_socket_packet_decodes(entry: dict[str, Any]) -> None:
    packet = receive(wire_bytes(entry), attachments_of(entry))
    decoded = entry["decoded"]
    assert packet.type.name == decoded["type"]
    assert packet.namespace == decoded["namespace"]
    assert packet.ack_id == decoded["ack_id"]
    assert packet.data == with_binary(decoded["data"])


@pytest.mark.req("SIO5-38", "SIO5-40", "SIO5-48", "SIO5-49")
@pytest.mark.parametrize("entry", cases(SOCKET["valid"]))
def test_socket_packet_encodes(entry: dict[str, Any]) -> None:
    decoded = entry["decoded"]
    packet = socket_packet.Packet(
        PacketType[decoded["type"].removeprefix("BINARY_")],
        decoded["namespace"],
        with_binary(decoded["data"]),
        decoded["ack_id"],
    )
    sent = socket_packet.encode_packet(packet)
    assert sent.text == b"4" + wire_bytes(entry)
    assert list(sent.attachments) == attachments_of(entry)


@pytest.mark.req("SIO5-06", "SIO5-15", "SIO5-16", "SIO5-17", "SIO5-27", "SIO5-43", "SIO5-52")
@pytest.mark.parametrize("entry", cases(INVALID))
def test_invalid_socket_packet_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        receive(wire_bytes(entry), attachments_of(entry))


def test_no_list_of_vectors_is_empty() -> None:
    for document in (
        ENGINE["packets"],
        ENGINE["payloads"],
        ENGINE["frames"],
        TEXT_3,
        BINARY_3,
        SOCKET,
    ):
        for name in ("valid", "accepted", "invalid"):
            assert document[name]
