import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.codec.strategies import TEXT, call_deep, depth_of, json_values, nested, nested_text

from trio_socketio.codec.json_text import MAX_DEPTH, decode_json, encode_json
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError


@given(json_values())
@example({"__proto__": {"admin": True}, "constructor": [1], "toJSON": None})
@example([2**64, -(2**64), 10**300, 2**53 + 1, "€😀\u2028\x00", -0.0, 1e308, 5e-324])
def test_json_round_trips(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


@given(json_values())
def test_what_is_written_any_reader_reads(value: Any) -> None:
    assert json.loads(encode_json(value)) == value


@given(json_values(), st.booleans())
def test_what_any_writer_writes_is_read(value: Any, ascii_only: bool) -> None:
    assert decode_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(
    st.binary()
    | st.text('[]{}",:\\u0123456789dDeEfF-+.tr nulasN', max_size=40).map(str.encode)
    | TEXT.map(lambda text: b'["\\ud800' + text.encode() + b'"]')
)
def test_garbage_raises_nothing_undocumented(text: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_json(text)


@pytest.mark.parametrize(
    "text",
    [b"", b"[", b"[1,]", b"NaN", b"[Infinity]", b"-", b"'a'", b"[1][2]", b'"\t"', b'"\xff"',
     b"1e999", b"1" * 5000, b'"\\x"', b'"\\u12"', b'"\\ud800', b'["\\ud800",]'],
)  # fmt: skip
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed JSON"):
        decode_json(text)


# --- depth ---------------------------------------------------------------------------------------


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("array", [True, False])
def test_depth_512_is_read_and_513_is_not(array: bool) -> None:
    assert MAX_DEPTH == 512
    assert depth_of(decode_json(nested_text(512, array=array))) == 512
    with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
        decode_json(nested_text(513, array=array))


@pytest.mark.req("SIO5-45")
def test_depth_is_that_of_the_deepest_branch() -> None:
    flat = b"[],{}," * 600
    deep = nested_text(511, array=False)
    assert depth_of(decode_json(b"[" + deep + b"," + flat[:-1] + b"]")) == 512
    for text in (
        b"[" + flat + nested_text(512) + b"]",
        b"[" + nested_text(512) + b"," + flat[:-1] + b"]",
        b'{"a":1,"b":' + nested_text(512, array=False) + b"}",
    ):
        with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
            decode_json(text)


@pytest.mark.parametrize("text", [b"[" + b"[{}]," * 2000 + b"1]", b'"' + b"[{" * 2000 + b'"'])
def test_many_brackets_are_not_depth(text: bytes) -> None:
    assert decode_json(text) == json.loads(text)


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("depth", [5_000, 100_000])
@pytest.mark.parametrize("array", [True, False])
def test_absurd_depth_never_exhausts_recursion(depth: int, array: bool) -> None:
    text = nested_text(depth, array=array)
    with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
        decode_json(text)
    with pytest.raises(RemoteProtocolError):
        decode_json(b'["\\ud800",' + text + b"]")
    with pytest.raises(RemoteProtocolError):
        decode_json(text[: depth // 2] + b"!")
    with pytest.raises(LocalProtocolError, match="too deep"):
        encode_json(nested(max(depth, 100_000), array=array))  # 5,000 pass from Python 3.12 on


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("array", [True, False])
def test_a_deep_stack_changes_no_error(array: bool) -> None:
    # Wherever recursion is exhausted, what comes out is a protocol error.
    for frames in (500, 700):
        with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
            call_deep(frames, decode_json, nested_text(513, array=array))
        with pytest.raises(RemoteProtocolError, match="more than 512 deep"):
            call_deep(frames, decode_json, b'["\\ud800",' + nested_text(5_000) + b"]")
        with pytest.raises(LocalProtocolError):
            call_deep(frames, encode_json, nested(100_000, array=array))


def test_a_value_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    for value in (ring, loop):
        with pytest.raises(LocalProtocolError, match="too deep"):
            encode_json(value)


# --- what JSON cannot carry ----------------------------------------------------------------------


@pytest.mark.req("SIO5-46")
def test_nan_and_infinities_are_written_as_null() -> None:
    assert encode_json([math.nan, math.inf, -math.inf, 1.5]) == b"[null,null,null,1.5]"


@pytest.mark.parametrize(
    "value", [object(), 1j, {None: 1}, {(1, 2): 3}, "\ud800", ["a\udfff"], {"\ud800": 1}, print]
)
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="not JSON"):
        encode_json(value)


@given(
    st.recursive(
        st.none() | st.text(st.characters()) | st.binary() | st.complex_numbers() | st.floats(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.none(), inner)
        ),
        max_leaves=8,
    )
)
def test_sending_anything_raises_nothing_undocumented(value: Any) -> None:
    with suppress(LocalProtocolError):
        json.loads(encode_json(value))


def test_tuples_are_arrays() -> None:
    assert encode_json(("a", (1, {"b": ()}))) == b'["a",[1,{"b":[]}]]'


# --- surrogates ----------------------------------------------------------------------------------


@pytest.mark.req("SIO5-47")
@pytest.mark.parametrize(
    ("escaped", "expected"),
    [
        (r"a\ud800b", "a\ufffdb"),
        (r"\uD83D", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"\uDFFF", "\ufffd"),
        (r"\udbff", "\ufffd"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00\ude00", "😀\ufffd"),
        (r"\uD83D\uDE00 \ud800", "😀 \ufffd"),
        (r"\udbff\udfff\udbff", "\U0010ffff\ufffd"),
        (r"\ud800\n", "\ufffd\n"),
        (r"\ud800\u0041\uD7FF\uE000", "\ufffdA\ud7ff\ue000"),
        (r"\ud800\\ud800", "\ufffd\\ud800"),
        (r"\\\ud800", "\\\ufffd"),
        (r"\\\\ud800\ud800", "\\\\ud800\ufffd"),
        (r"\"\ud800\"", '"\ufffd"'),
        (r"\ud800€😀", "\ufffd€😀"),
    ],
)
def test_half_a_pair_arrives_as_the_replacement_character(escaped: str, expected: str) -> None:
    assert decode_json(f'"{escaped}"'.encode()) == expected
    assert decode_json(f'[{{"{escaped}":"{escaped}"}}]'.encode()) == [{expected: expected}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(rb'"\ud83d\ude00"', "😀"), (rb'"\\ud800"', "\\ud800"), (rb'"\\\\udfff"', "\\\\udfff")],
)
def test_pairs_and_escaped_backslashes_stay_intact(text: bytes, expected: str) -> None:
    assert decode_json(text) == expected


@given(st.text(st.characters() | st.characters(categories=["Cs"]), max_size=12))
def test_any_javascript_string_is_read(text: str) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    expected = ""
    for character in units.decode("utf-16-le", "surrogatepass"):
        expected += "\ufffd" if "\ud800" <= character <= "\udfff" else character
    assert decode_json(json.dumps(text).encode()) == expected
