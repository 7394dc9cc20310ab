"""JSON-RPC 2.0: what is read, what is written, and bytes inside of it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from trio_socketio.codec.json_rpc import (
    MAX_BATCH,
    MAX_VALUE_DEPTH,
    NULL,
    Code,
    Malformed,
    Message,
    Request,
    Response,
    decode_messages,
    decode_value,
    encode_batch,
    encode_error,
    encode_request,
    encode_result,
    encode_value,
    escape,
    pass_value,
    unescape,
)
from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError

TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary()
)
KEYS = TEXT | st.sampled_from(["$bytes", "$object"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=20
)


def one(text: str | bytes) -> Message:
    (message,), is_batch = decode_messages(text.encode() if isinstance(text, str) else text)
    assert not is_batch
    return message


def malformed(text: str) -> Malformed:
    message = one(text)
    assert isinstance(message, Malformed)
    assert message.error.code == Code.INVALID_REQUEST
    return message


def refused(text: bytes) -> ControlError:
    with pytest.raises(ControlError) as caught:
        decode_messages(text)
    return caught.value


# -- requests


@pytest.mark.req("RPC-05")
@pytest.mark.parametrize(
    "given_id", ["1", '"a"', "null", "1.50", "12345678901234567890123", '"\\u00e9"']
)
def test_ids_stay_as_they_were_sent(given_id: str) -> None:
    message = one(f'{{"jsonrpc": "2.0", "method": "m", "id": {given_id}}}')
    assert isinstance(message, Request)
    assert message.id is not None
    assert bytes(message.id).decode() == given_id
    answer = encode_result(message.id, {"a": 1})
    assert answer == f'{{"jsonrpc":"2.0","id":{given_id},"result":{{"a":1}}}}'.encode()


def test_parameters_stay_as_they_were_sent() -> None:
    message = one(
        '{"jsonrpc":"2.0","method":"m","params":[1.10, {"b" : 1e400}],"id":1}'.replace(
            "1e400", "2e3"
        )
    )
    assert isinstance(message, Request)
    assert message.params == Raw(b'[1.10, {"b" : 2e3}]')
    assert message.method == "m"


def test_a_request_without_an_id_is_a_notification() -> None:
    assert one('{"jsonrpc":"2.0","method":"m"}') == Request("m", None, None)


@pytest.mark.req("RPC-01", "RPC-02", "RPC-03", "RPC-10")
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"method":"m","id":1}', "jsonrpc"),
        ('{"jsonrpc":"1.0","method":"m","id":1}', "jsonrpc"),
        ('{"jsonrpc":2.0,"method":"m","id":1}', "jsonrpc"),
        ('{"jsonrpc":"2.0","method":1,"id":1}', "method"),
        ('{"jsonrpc":"2.0","method":null,"id":1}', "method"),
        ('{"jsonrpc":"2.0","id":1}', "method"),
        ('{"jsonrpc":"2.0","method":"m","params":"bar","id":1}', "params"),
        ('{"jsonrpc":"2.0","method":"m","params":null,"id":1}', "params"),
    ],
)
def test_what_is_not_a_request_is_answered(text: str, named: str) -> None:
    message = malformed(text)
    assert message.error.message.startswith(f"{named}: ")
    assert message.id == Raw(b"1")


@pytest.mark.req("RPC-10")
@pytest.mark.parametrize("text", ['{"foo":"boo"}', "1", '"text"', "null", "true", "{}"])
def test_without_an_id_the_answer_has_null(text: str) -> None:
    assert malformed(text).id == NULL


@pytest.mark.req("RPC-04")
@pytest.mark.parametrize("wrong", ["true", "[]", "{}", "[1]"])
def test_other_ids_are_refused(wrong: str) -> None:
    message = malformed(f'{{"jsonrpc":"2.0","method":"m","id":{wrong}}}')
    assert message.error.message.startswith("id: ")
    assert message.id == NULL


@pytest.mark.req("RPC-09")
@pytest.mark.parametrize("text", [b"", b"{", b"[1,", b"\xff", b"nan", b"[" * 600 + b"]" * 600])
def test_what_is_not_json_is_a_parse_error(text: bytes) -> None:
    assert refused(text).code == Code.PARSE_ERROR


@pytest.mark.req("RPC-11")
def test_an_empty_batch_is_an_invalid_request() -> None:
    assert refused(b"[]").code == Code.INVALID_REQUEST


@pytest.mark.req("RPC-12")
def test_a_batch_keeps_its_order_and_its_faults_apart() -> None:
    text = b'[{"jsonrpc":"2.0","method":"a"}, 7, {"jsonrpc":"2.0","result":1,"id":3}]'
    (first, second, third), is_batch = decode_messages(text)
    assert is_batch
    assert first == Request("a", None, None)
    assert isinstance(second, Malformed)
    assert third == Response(3, Raw(b"1"), None)


@pytest.mark.req("RPC-13")
def test_a_batch_is_bounded() -> None:
    full = b"[%b]" % b",".join([b"1"] * MAX_BATCH)
    assert len(decode_messages(full)[0]) == MAX_BATCH
    error = refused(b"[1,%b" % full[1:])
    assert error.code == Code.TOO_LARGE
    assert error.data == {"max_batch": MAX_BATCH}


def test_half_a_surrogate_pair_is_read_as_elsewhere() -> None:
    message = one(rb'{"jsonrpc":"2.0","method":"m","params":["\ud800", "\ud83d\ude00"],"id":1}')
    assert isinstance(message, Request)
    assert message.params is not None
    assert decode_value(bytes(message.params)) == ["\ufffd", "\U0001f600"]


# -- responses


@pytest.mark.req("RPC-08")
@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","result":1,"error":{"code":1,"message":""},"id":5}',
        '{"jsonrpc":"1.0","result":1,"id":5}',
        '{"jsonrpc":"2.0","error":"no","id":5}',
        '{"jsonrpc":"2.0","error":{"code":"1","message":""},"id":5}',
        '{"jsonrpc":"2.0","error":{"code":1},"id":5}',
    ],
)
def test_a_malformed_response_is_an_error_of_its_call(text: str) -> None:
    message = one(text)
    assert isinstance(message, Response)
    assert message.id == 5
    assert message.error is not None
    assert message.error.code == Code.INTERNAL_ERROR


@pytest.mark.parametrize("other", ["null", '"5"', "5.5", "true", "[5]"])
def test_a_response_to_nothing_of_ours_has_no_id(other: str) -> None:
    assert one(f'{{"jsonrpc":"2.0","result":1,"id":{other}}}') == Response(None, Raw(b"1"), None)


@pytest.mark.req("RPC-06")
def test_an_error_comes_back_as_it_was() -> None:
    sent = ControlError(1003, "there is no such room", {"parameter": "room"})
    text = encode_error(Raw(b"8"), sent)
    assert "result" not in json.loads(text)
    message = one(text)
    assert isinstance(message, Response)
    assert message.error is not None
    assert (message.error.code, message.error.message, message.error.data) == sent.args
    assert "data" not in json.loads(encode_error(NULL, ControlError(1, "")))["error"]


def test_a_request_comes_back_as_it_was() -> None:
    params = {"args": [1, b"\0"]}
    message = one(encode_request("emit", params, 9))
    assert isinstance(message, Request)
    assert message.method == "emit"
    assert message.id == Raw(b"9")
    assert message.params is not None
    assert decode_value(bytes(message.params)) == params
    assert one(encode_request("emit", {}, None)) == Request("emit", Raw(b"{}"), None)


def test_a_batch_comes_back_as_it_was() -> None:
    batch = encode_batch([encode_request("a", {}, 1), encode_request("b", [], 2)])
    messages, is_batch = decode_messages(batch)
    assert is_batch
    assert [one.method for one in messages if isinstance(one, Request)] == ["a", "b"]


# -- bytes


@pytest.mark.req("RPC-20", "RPC-21")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\xfb\xff", b'{"$bytes":"+/8="}'),
        ([b""], b'[{"$bytes":""}]'),
        ({"$bytes": "+/8="}, b'{"$object":{"$bytes":"+/8="}}'),
        ({"$object": {"a": b"a"}}, b'{"$object":{"$object":{"a":{"$bytes":"YQ=="}}}}'),
        ({"$bytes": 1, "b": 2}, b'{"$bytes":1,"b":2}'),
        ({"$bytes": {"$bytes": 1}}, b'{"$object":{"$bytes":{"$object":{"$bytes":1}}}}'),
    ],
)
def test_how_bytes_are_written(value: Any, text: bytes) -> None:
    assert encode_value(value) == text
    assert decode_value(text) == value


@pytest.mark.req("RPC-20", "RPC-21")
@given(VALUES)
def test_values_round_trip(value: Any) -> None:
    assert unescape(decode_json(encode_value(value))) == value
    assert decode_value(encode_value(value)) == value
    passed = pass_value(Raw(encode_value(value)))
    assert (decode_json(bytes(passed)) if isinstance(passed, Raw) else passed) == value


@pytest.mark.req("RPC-22")
@pytest.mark.parametrize("text", [b"1.10", b'{"a": 12345678901234567890123}', b'["bytes"]', b"1e5"])
def test_values_without_bytes_stay_as_they_were_sent(text: bytes) -> None:
    assert pass_value(Raw(text)) == Raw(text)


@pytest.mark.parametrize(
    "text",
    [rb'{"\u0024bytes":"YQ=="}', rb'{"$\u0062ytes":"YQ=="}', rb'{"\u0024\u0062ytes":"YQ=="}'],
)
def test_a_mark_may_be_written_with_escapes(text: bytes) -> None:
    assert pass_value(Raw(text)) == b"a"
    assert decode_value(text) == b"a"


@pytest.mark.parametrize(
    "text",
    [
        b'{"$bytes":1}',
        b'{"$bytes":"*"}',
        b'{"$bytes":"YQ"}',
        b'[{"$bytes":"\xc3\xa9"}]',
        b'{"$object":1}',
    ],
)
def test_a_mark_with_other_content_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_value(text)


@pytest.mark.req("RPC-23")
def test_values_are_bounded_in_depth() -> None:
    def nested(depth: int, value: Any) -> Any:
        for _ in range(depth):
            value = [value]
        return value

    decode_messages(encode_request("m", {"args": nested(MAX_VALUE_DEPTH - 1, 1)}, 1))
    decode_messages(encode_request("m", {"args": nested(MAX_VALUE_DEPTH - 2, b"")}, 1))
    for deep in (nested(MAX_VALUE_DEPTH + 1, 1), nested(MAX_VALUE_DEPTH, b"")):
        with pytest.raises(LocalProtocolError, match="nested"):
            escape(deep)
    marks: Any = 1
    for _ in range(MAX_VALUE_DEPTH // 2 + 1):
        marks = {"$bytes": marks}
    with pytest.raises(LocalProtocolError, match="nested"):
        escape(marks)


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode_value({"a": object()})


# -- garbage


@given(st.binary() | st.text().map(str.encode) | VALUES.map(encode_value))
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(ControlError):
        decode_messages(text)
    with suppress(RemoteProtocolError):
        decode_value(text)


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | VALUES,
        "method": st.text(max_size=3) | VALUES,
        "params": VALUES,
        "id": st.integers() | VALUES,
        "result": VALUES,
        "error": VALUES,
    },
)


@given(st.lists(MEMBERS, min_size=1, max_size=4))
def test_every_message_is_one_of_three_kinds(members: list[dict[str, Any]]) -> None:
    text = b"[%b]" % b",".join(
        b"{%b}"
        % b",".join(
            b'"%b":%b' % (name.encode(), encode_value(value)) for name, value in one.items()
        )
        for one in members
    )
    messages, is_batch = decode_messages(text)
    assert is_batch
    for sent, read in zip(members, messages, strict=True):
        is_answer = "method" not in sent and ("result" in sent or "error" in sent)
        assert isinstance(read, Response) == is_answer
        if isinstance(read, Request):
            assert read.method == sent["method"]
            assert (read.id is None) == ("id" not in sent)
