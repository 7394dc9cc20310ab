"""Messages between nodes: what is written is read, and whatever else comes is a clear error."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from trio_socketio.codec.node_messages import (
    MAX_MESSAGE_BYTES,
    MAX_NAMESPACES,
    Answer,
    Ask,
    Beat,
    Bye,
    Claim,
    NodeFacts,
    NodeMessage,
    UnknownMessage,
    decode_node_message,
    encode_node_message,
)
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

FACTS = NodeFacts(
    name="a",
    boot="b1",
    host="h",
    pid=1,
    version="1.0",
    started_at_s=1.5,
    state="serving",
    connections=2,
)
BEAT = encode_node_message(Beat(node=FACTS, number=1))

names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")
boots = st.from_regex(r"\A[A-Za-z0-9_-]{1,32}\Z")
namespaces = st.lists(st.text(max_size=10), max_size=3).map(tuple)
raws = st.dictionaries(st.text(), st.integers()).map(lambda one: Raw(json.dumps(one).encode()))
facts = st.builds(
    NodeFacts,
    name=names,
    boot=boots,
    host=st.text(max_size=255),
    pid=st.integers(0, 1 << 32),
    version=st.text(max_size=64),
    started_at_s=st.floats(0, 1e11),
    state=st.sampled_from(["starting", "serving", "draining"]),
    connections=st.integers(0, 1 << 32),
    backends=namespaces,
    authenticators=namespaces,
)
messages = st.one_of(
    st.builds(Claim, node=facts),
    st.builds(Beat, node=facts, number=st.integers(0, 1 << 62), asks=st.booleans()),
    st.builds(Bye, name=names, boot=boots),
    st.builds(Ask, name=names, boot=boots, to=boots | st.just(""), call=raws),
    st.builds(Answer, name=names, boot=boots, to=boots, reply=raws),
)


def plain(message: NodeMessage) -> Any:
    return {
        name: bytes(value) if isinstance(value, Raw) else value
        for name, value in structs.asdict(message).items()
    }


@pytest.mark.req("NODE-01")
@given(messages)
def test_messages_round_trip(message: NodeMessage) -> None:
    decoded = decode_node_message(encode_node_message(message))
    assert type(decoded) is type(message)
    assert plain(decoded) == plain(message)


@pytest.mark.req("NODE-01")
def test_a_message_is_json_with_a_version_and_a_type() -> None:
    written = json.loads(encode_node_message(Bye(name="a", boot="b")))
    assert written == {"type": "bye", "v": 1, "name": "a", "boot": "b"}


@pytest.mark.req("NODE-02")
@pytest.mark.parametrize("kind", ["beat", "salute"])
def test_another_version_is_told_apart(kind: str) -> None:
    with pytest.raises(UnknownMessage, match="version 2"):
        decode_node_message(json.dumps({"v": 2, "type": kind, "other": [1]}).encode())


@pytest.mark.req("NODE-03")
def test_an_unknown_type_is_told_apart() -> None:
    with pytest.raises(UnknownMessage, match="'salute'"):
        decode_node_message(b'{"v":1,"type":"salute"}')


def test_an_unknown_field_is_ignored() -> None:
    more = json.loads(BEAT) | {"mood": "good"}
    assert decode_node_message(json.dumps(more).encode()) == Beat(node=FACTS, number=1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"v":1}',
        b'{"v":1,"type":"bye"}',
        b'{"v":1,"type":"bye","name":"a b","boot":"c"}',
        b'{"v":1,"type":"bye","name":"a","boot":"c\\n"}',
        b'{"v":1,"type":"bye","name":"","boot":"c"}',
        b'{"v":1,"type":"ask","name":"a","boot":"c","call":}',
        b'{"v":1,"type":"ask","name":"a","boot":"c","call":' + b"[" * 100_000,
        b'{"v":"1","type":"bye"}',
        BEAT.replace(b'"pid":1', b'"pid":-1'),
        BEAT.replace(b'"serving"', b'"happy"'),
        BEAT.replace(b'"connections":2', b'"connections":null'),
        BEAT + b" " * MAX_MESSAGE_BYTES,
    ],
)
def test_malformed_messages_are_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_node_message(text)
    assert not isinstance(caught.value, UnknownMessage)


def test_too_many_namespaces_are_refused() -> None:
    many = structs.replace(FACTS, backends=("/",) * (MAX_NAMESPACES + 1))
    with pytest.raises(RemoteProtocolError):
        decode_node_message(encode_node_message(Beat(node=many, number=1)))


def test_a_long_message_is_not_written() -> None:
    call = Raw(b'"%b"' % (b"x" * MAX_MESSAGE_BYTES))
    with pytest.raises(LocalProtocolError, match="bytes"):
        encode_node_message(Ask(name="a", boot="b", call=call))


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_node_message(text)
