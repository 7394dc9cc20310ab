import gc
import json
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import TEXT, call_deep, depth_of, nested, nested_text, plain_packets

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import (
    MAX_ACK_ID,
    RESERVED_EVENTS,
    Packet,
    PacketType,
    decode_event,
    decode_packet,
    encode_arguments,
    encode_header,
    encode_namespace,
    encode_packet,
)
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

EVENT, ACK = PacketType.EVENT, PacketType.ACK


def is_event(text: bytes) -> bool:
    """Whether decode_event takes a packet; if so, it does with it what decode_packet does."""
    found: list[Any] = []
    for decode in decode_packet, decode_event:
        try:
            found.append(decode(text))
        except RemoteProtocolError as error:
            found.append(str(error))
    expected, event = found
    if type(event) is tuple:
        event = Packet(EVENT, *event)
    assert event is None or event == expected
    return event is not None


@pytest.mark.req("SIO5-38", "SIO5-39", "SIO5-40", "SIO5-41", "SIO5-42")
@given(plain_packets())
def test_plain_packets_round_trip(sent: Packet) -> None:
    outgoing = encode_packet(sent)
    assert outgoing.attachments == ()
    assert decode_packet(outgoing.text) == sent
    assert is_event(outgoing.text) is (sent.type is EVENT)


def test_types_have_their_digits() -> None:
    assert [kind.name for kind in PacketType] == [
        "CONNECT", "DISCONNECT", "EVENT", "ACK", "CONNECT_ERROR", "BINARY_EVENT", "BINARY_ACK"
    ]  # fmt: skip
    assert [kind.value for kind in PacketType] == list(range(7))


@pytest.mark.req("SIO5-39", "SIO5-40", "SIO5-41")
@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (Packet(PacketType.CONNECT), b"40"),
        (Packet(PacketType.CONNECT, "/a", {"b": 1}), b'40/a,{"b":1}'),
        (Packet(PacketType.DISCONNECT), b"41"),
        (Packet(PacketType.DISCONNECT, "/a"), b"41/a,"),
        (Packet(EVENT, "/", ["f"]), b'42["f"]'),
        (Packet(EVENT, "/ä", ["f"], 0), '42/ä,0["f"]'.encode()),
        (Packet(ACK, "/", [], 12), b"4312[]"),
        (Packet(PacketType.CONNECT_ERROR, "/a", {"message": "no"}), b'44/a,{"message":"no"}'),
        (Packet(PacketType.CONNECT_ERROR, "/", "no"), b'44"no"'),
    ],
)
def test_packets_are_written_as_specified(packet: Packet, text: bytes) -> None:
    assert encode_packet(packet).text == text
    assert decode_packet(text) == packet


def test_packets_are_no_work_for_the_garbage_collector() -> None:
    assert not gc.is_tracked(decode_packet(b'42["f"]'))


def test_headers_are_what_packets_start_with() -> None:
    assert encode_header(EVENT, "/") == b"42"
    assert encode_header(ACK, "/a") == b"43/a,"
    assert encode_namespace("/") == b""
    assert encode_namespace("/a") == b"/a,"


@given(st.binary() | st.binary().map(lambda data: b"4" + data) | TEXT.map(str.encode))
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_packet(text)
    is_event(text)


@given(
    st.sampled_from(["4", "40", "41", "42", "43", "44", "451-", "461-", "4510-"]),
    st.sampled_from(["", "/", "/a,", "/a", "1", "/a,17"]),
    st.text('[]{}",:\\ud8e1null-/', max_size=12) | st.just('["a",{"_placeholder":true,"num":0}]'),
)
def test_what_nearly_is_a_packet_raises_nothing_undocumented(
    start: str, middle: str, end: str
) -> None:
    text = (start + middle + end).encode()
    with suppress(RemoteProtocolError):
        assert decode_packet(text).namespace.startswith("/")
    is_event(text)


@pytest.mark.req("SIO5-38", "SIO5-43")
@pytest.mark.parametrize(
    "text",
    [b"", b"4", b"2", b'2["f"]', b'52["f"]', b"b2", b"47", b"49", b"4/", b"4-", b"4a", b"4:",
     b'42\xef\xbc\x91["f"]', b'42abc["f"]', b'42 ["f"]', b'42-1["f"]', b'421.5["f"]', b'42["f"',
     b'42["f"]]', b"42/a\xff,[]", b'42/a["f"]', b'42["\xff"]', b"41{}", b"41/a,[]", b"41 ",
     b"4 2", b"41null", b"411", b"401", b"401{}", b'441"a"', b"40/a,1{}", b'431,["a"]',
     b'43a["a"]', b"43 []", b"43/a,x"],
)  # fmt: skip
def test_a_packet_that_breaks_the_format_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_packet(text)
    is_event(text)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (b'42["f"]', ("/", ["f"], None)),
        (b'420["f",1]', ("/", ["f", 1], 0)),
        (b'42%d["f"]' % MAX_ACK_ID, ("/", ["f"], MAX_ACK_ID)),
        (b'42%d["f"]' % (MAX_ACK_ID + 1), None),
        (b'4200000000000000007["f"]', None),
        (b"42[7]", ("/", [7], None)),
        (b'42/,["f"]', ("/", ["f"], None)),
        ('42/ä,12["f"]'.encode(), ("/ä", ["f"], 12)),
        (b'42/a[b],["f"]', ("/a[b]", ["f"], None)),
        (b'42/a[b,3["f,"]', ("/a[b", ["f,"], 3)),
        (b'42/a["f","g"]', None),
        (b'42/a[b,"f"', None),
        (b'42/\xff,["f"]', None),
        (b'42/a, ["f"]', None),
        (b'42x["f"]', None),
        (b'43["f"]', None),
        (b'451-["f"]', None),
        (b'52["f"]', None),
        (b'521["f"]', None),
        (b"42", None),
        (b"4[", None),
    ],
)
def test_events_without_attachments_are_decoded_apart(
    text: bytes, event: tuple[str, list[Any], int | None] | None
) -> None:
    assert decode_event(text) == event
    is_event(text)


def test_refusals_say_what_is_wrong() -> None:
    for text, why in [
        (b"4", "empty Socket.IO packet"),
        (b'47["f"]', "unknown Socket.IO packet type b'7'$"),
        (b"4/", "unknown Socket.IO packet type b'/'"),
        (b"42/\xff,[1]", "namespace is not UTF-8"),
        (b"43{}", "payload of an event or ack is not an array"),
        (b"401{}", "or is not followed by an array"),
        (b"401[]", "id on a packet that cannot"),
        (b"40[]", "invalid payload in a CONNECT packet"),
        (b"41{}", "invalid payload in a DISCONNECT packet"),
        (b"44[]", "invalid payload in a CONNECT_ERROR packet"),
    ]:
        with pytest.raises(RemoteProtocolError, match=why.replace(".", r"\.")):
            decode_packet(text)


# --- each type's payload -------------------------------------------------------------------------


@pytest.mark.req("SIO5-06")
@pytest.mark.parametrize("payload", [b"[]", b'"a"', b"null", b"true", b'["a"]', b"{", b"-1", b" "])
def test_a_connect_carries_an_object_or_nothing(payload: bytes) -> None:
    assert decode_packet(b"40") == Packet(PacketType.CONNECT)
    assert decode_packet(b"40/a,{}") == Packet(PacketType.CONNECT, "/a", {})
    for namespace in (b"", b"/a,"):
        with pytest.raises(RemoteProtocolError):
            decode_packet(b"40" + namespace + payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"true", b"-1", b"1"])
def test_a_connect_error_carries_an_object_or_text(payload: bytes) -> None:
    for namespace in (b"", b"/a,"):
        with pytest.raises(RemoteProtocolError):
            decode_packet(b"44" + namespace + payload)


@pytest.mark.req("SIO5-15")
@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'"a"', b"null", b"1", b"12", b' ["f"]'])
@pytest.mark.parametrize("header", [b"42", b"42/a,", b"421", b"451-", b"451-/a,7"])
def test_an_event_without_a_filled_array_is_refused(header: bytes, payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_packet(header + payload)


@pytest.mark.req("SIO5-27")
@pytest.mark.parametrize("payload", [b"{}", b'"a"', b"null", b" []", b"-[]", b"x"])
@pytest.mark.parametrize(
    "header", [b"431", b"43/a,1", b"461-1", b"43", b"43/a,", b"43" + b"9" * 99]
)
def test_an_ack_with_another_payload_than_an_array_is_refused(
    header: bytes, payload: bytes
) -> None:
    assert decode_packet(header + b"[]").data == []
    assert decode_packet(header + b'["disconnect"]').data == ["disconnect"]
    with pytest.raises(RemoteProtocolError):
        decode_packet(header + payload)


@pytest.mark.req("SIO5-59")
@pytest.mark.parametrize("header", [b"43", b"43/a,", b"461-", b"461-/a,", b"462-"])
@pytest.mark.parametrize("number", [b"", b"7", b"9007199254740992", b"9" * 500])
@pytest.mark.parametrize("payload", [b"", b"[]", b'[1,"a"]'])
def test_an_ack_that_cannot_answer_anything_has_no_id(
    header: bytes, number: bytes, payload: bytes
) -> None:
    packet = decode_packet(header + number + payload)
    assert packet.type.name.endswith("ACK")
    assert packet.attachments == (int(header[2:3]) if header[2:3].isdigit() else 0)
    assert packet.data == (json.loads(payload) if payload else [])
    assert packet.ack_id == (7 if number == b"7" and payload else None)


@pytest.mark.req("SIO5-16")
@pytest.mark.parametrize("name", [b"null", b"true", b"false", b"{}", b"[]", b'["a"]', b'{"a":1}'])
def test_a_name_is_text_or_a_number(name: bytes) -> None:
    for good, value in [(b'""', ""), (b"0", 0), (b"-1.5", -1.5), (b'"a"', "a"), (b"1e2", 100.0)]:
        assert decode_packet(b"42[" + good + b"]").data == [value]
    for header in (b"42", b"450-"):
        with pytest.raises(RemoteProtocolError, match="begins with its name"):
            decode_packet(header + b"[" + name + b"]")


@pytest.mark.req("SIO5-17")
@pytest.mark.parametrize(
    "name",
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"],
)
def test_reserved_names_are_refused(name: str) -> None:
    assert name in RESERVED_EVENTS
    assert len(RESERVED_EVENTS) == 6
    escaped = f"\\u00{ord(name[0]):x}{name[1:]}"
    for text in (f'42["{name}"]', f'42/a,1["{name}",1]', f'451-["{name}"]', f'42["{escaped}"]'):
        with pytest.raises(RemoteProtocolError, match=f"'{name}' is reserved"):
            decode_packet(text.encode())
    assert decode_packet(f'42["{name}x","{name}"]'.encode()).data == [name + "x", name]


@pytest.mark.req("SIO5-58")
@pytest.mark.parametrize("header", [b"42", b"421", b"431"])
def test_binary_lookalikes_in_plain_packets_are_data(header: bytes) -> None:
    packet = decode_packet(header + b'["f",{"_placeholder":true,"num":0},{"_placeholder":true}]')
    assert packet.data == ["f", {"_placeholder": True, "num": 0}, {"_placeholder": True}]
    assert packet.attachments == 0


def test_keys_of_javascript_objects_are_data() -> None:
    text = b'42["f",{"__proto__":{"admin":true},"constructor":{"prototype":1},"toString":null}]'
    packet = decode_packet(text)
    assert packet.data[1] == {
        "__proto__": {"admin": True},
        "constructor": {"prototype": 1},
        "toString": None,
    }
    assert type(packet.data[1]) is dict
    assert encode_packet(packet).text == text


# --- namespaces and ids --------------------------------------------------------------------------


@pytest.mark.req("SIO5-41", "SIO5-42")
@pytest.mark.parametrize(
    ("text", "namespace"),
    [(b"40", "/"), (b"40/", "/"), (b"40/,", "/"), (b"40/a", "/a"), (b"40/a,", "/a"),
     (b"40/a,{}", "/a"), (b'40/a?x=[1],{"b":","}', "/a?x=[1]"), (b"41/1", "/1"),
     (b"40/1{}", "/1{}"), ("40/größe,{}".encode(), "/größe")],
)  # fmt: skip
def test_a_namespace_ends_with_its_comma_or_the_packet(text: bytes, namespace: str) -> None:
    assert decode_packet(text).namespace == namespace


@pytest.mark.req("SIO5-44")
@pytest.mark.parametrize("number", [0, 1, 9, 10, 2**53 - 2, 2**53 - 1])
def test_ids_up_to_the_largest_safe_integer_are_accepted(number: int) -> None:
    assert MAX_ACK_ID == 2**53 - 1
    for kind in (EVENT, ACK):
        for namespace in ("/", "/a", "/7"):
            sent = Packet(kind, namespace, ["f"], number)
            assert decode_packet(encode_packet(sent).text) == sent


@pytest.mark.req("SIO5-44")
@pytest.mark.parametrize("number", [2**53, 2**53 + 1, 10**16, 10**17, 10**18, 10**400])
def test_ids_beyond_are_refused(number: int) -> None:
    for header in (b"42", b"42/a,", b"451-"):
        with pytest.raises(RemoteProtocolError, match="above 2"):
            decode_packet(b'%b%d["f"]' % (header, number))


def test_an_id_of_a_million_digits_costs_nothing() -> None:
    with pytest.raises(RemoteProtocolError, match="above 2"):
        decode_packet(b"42" + b"9" * 1_000_000 + b'["f"]')


def test_leading_zeros_of_an_id_mean_nothing() -> None:
    assert decode_packet(b'42007["f"]').ack_id == 7
    assert decode_packet(b"42" + b"7".zfill(16) + b'["f"]').ack_id == 7


# --- attachments ---------------------------------------------------------------------------------


@pytest.mark.req("SIO5-48", "SIO5-49", "SIO5-40")
@pytest.mark.parametrize("binary", [b"\x01", bytearray(b"\x01"), memoryview(b"\x01")])
def test_binary_makes_an_event_or_ack_binary(binary: Any) -> None:
    place = b'{"_placeholder":true,"num":0}'
    values: list[tuple[Any, bytes]] = [
        (binary, place),
        ((binary,), b"[" + place + b"]"),
        ({"a": [binary]}, b'{"a":[' + place + b"]}"),
    ]
    for value, text in values:
        event = encode_packet(Packet(EVENT, "/", ["f", value]))
        assert event == Outgoing(b'451-["f",' + text + b"]", (b"\x01",))
        ack = encode_packet(Packet(ACK, "/a", [value], 7))
        assert ack == Outgoing(b"461-/a,7[" + text + b"]", (b"\x01",))
    ten = encode_arguments(b"42/a,", ["f", *[binary] * 10], 0)
    assert ten.text.startswith(b'4510-/a,0["f",')
    assert ten.attachments == (b"\x01",) * 10


@pytest.mark.req("SIO5-48")
def test_without_binary_it_stays_plain() -> None:
    assert encode_arguments(b"42", ["f", {"_placeholder": True, "num": 0}], None) == Outgoing(
        b'42["f",{"_placeholder":true,"num":0}]'
    )


@pytest.mark.req("SIO5-53")
@pytest.mark.parametrize("count", range(11))
def test_up_to_ten_attachments_may_be_announced(count: int) -> None:
    assert decode_packet(b'45%d-["f"]' % count) == Packet(
        PacketType.BINARY_EVENT, "/", ["f"], None, count
    )
    assert decode_packet(b"46%02d-/a,8[]" % count) == Packet(
        PacketType.BINARY_ACK, "/a", [], 8, count
    )


@pytest.mark.req("SIO5-53")
@pytest.mark.parametrize(
    "count", [b"11-", b"99-", b"010-", b"100-", b"-", b"--", b"a-", b"1", b"", b"-1-", b"1.0-",
              b" 1-", b"1 -", b"+1-", b"1_0-", b"\xb2-", b"\xef\xbc\x91-", b"9" * 5000 + b"-"]
)  # fmt: skip
def test_any_other_count_is_refused(count: bytes) -> None:
    for kind in (b"45", b"46"):
        for rest in (b'["f"]', b'/a,1["f","-"]', b""):
            with pytest.raises(RemoteProtocolError, match="0 to 10 attachments"):
                decode_packet(kind + count + rest)


@pytest.mark.req("SIO5-53")
def test_more_than_ten_attachments_are_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="11 binary"):
        encode_arguments(b"42", ["f", *[b"x"] * 11], None)


# --- depth ---------------------------------------------------------------------------------------


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("leaf", [None, b"x"])
def test_512_deep_is_sent_and_513_refused(leaf: Any) -> None:
    deepest = 511 if leaf == b"x" else 512  # a placeholder is an object too
    for kind in (EVENT, ACK):
        encode_packet(Packet(kind, "/", nested(deepest, leaf=leaf), 1))
        with pytest.raises(LocalProtocolError):
            encode_packet(Packet(kind, "/", nested(deepest + 1, leaf=leaf), 1))
    encode_packet(Packet(PacketType.CONNECT_ERROR, "/", nested(512, array=False)))
    with pytest.raises(LocalProtocolError):
        encode_packet(Packet(PacketType.CONNECT_ERROR, "/", nested(513, array=False)))


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("depth", [513, 5_000, 100_000])
@pytest.mark.parametrize("array", [True, False])
def test_absurd_depth_never_exhausts_recursion(depth: int, array: bool) -> None:
    inner = nested_text(depth - 1, array=array)
    values = [["f", b"x", nested(depth, array=array, leaf=leaf)] for leaf in (None, b"x")]
    for frames in (0, 300, 700):
        for header in (b'42["f",', b'451-["f",', b'431["f",', b'42["\\ud800",'):
            with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
                call_deep(frames, decode_packet, header + inner + b"]")
        for kind, value in product((EVENT, ACK, PacketType.CONNECT_ERROR), values):
            with pytest.raises(LocalProtocolError):
                call_deep(frames, encode_packet, Packet(kind, "/", value, 1))


@pytest.mark.req("SIO5-45")
def test_the_deepest_that_is_sent_can_be_read() -> None:
    outgoing = encode_packet(Packet(EVENT, "/", ["f", nested(510, leaf=b"x")]))
    assert outgoing.attachments == (b"x",)
    assert depth_of(decode_packet(outgoing.text).data[1]) == 511
    plain = encode_packet(Packet(EVENT, "/", ["f", nested(511)]))
    assert depth_of(decode_packet(plain.text).data[1]) == 511


def test_values_that_hold_themselves_are_refused() -> None:
    for start in ([], [b"x"]):
        ring: list[Any] = ["f", *start]
        ring += [ring, ring]
        for kind in (EVENT, ACK, PacketType.CONNECT_ERROR):
            with pytest.raises(LocalProtocolError):
                encode_packet(Packet(kind, "/", ring, 1))


@pytest.mark.parametrize("value", [object(), {None: 1}, "\ud800", 1j])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    for arguments in (["f", value], ["f", b"x", value]):
        with pytest.raises(LocalProtocolError):
            encode_arguments(b"42", arguments, None)
