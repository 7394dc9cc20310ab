from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import SCALARS, depth_of, json_values, nested

from trio_socketio.codec.attachments import (
    MAX_ATTACHMENTS,
    deconstruct,
    must_deconstruct,
    reconstruct,
)
from trio_socketio.codec.json_text import decode_json, encode_json
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

BINARY = [b"\x01\x02", bytearray(b"\x01\x02"), memoryview(b"\x01\x02")]


class Point(NamedTuple):
    x: Any
    y: Any


def placeholder(number: Any) -> dict[str, Any]:
    return {"_placeholder": True, "num": number}


def binary_in(value: Any) -> list[bytes]:
    """The plain model: binary in the order of the text."""
    if isinstance(value, bytes):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return []
    return [found for child in children for found in binary_in(child)]


VALUES = json_values(SCALARS | st.binary(max_size=5)).filter(
    lambda value: len(binary_in(value)) < 11
)


@pytest.mark.req("SIO5-49", "SIO5-51")
@given(VALUES)
def test_attachments_round_trip(value: Any) -> None:
    stripped, attachments = deconstruct(value)
    assert list(attachments) == binary_in(value)
    assert reconstruct(decode_json(encode_json(stripped)), list(attachments)) == value


@given(VALUES)
def test_binary_is_found_anywhere(value: Any) -> None:
    assert must_deconstruct(value) is bool(binary_in(value))


@pytest.mark.parametrize("binary", BINARY)
def test_every_kind_of_binary_is_found_in_every_container(binary: Any) -> None:
    values: tuple[Any, ...] = (
        binary,
        [binary],
        (binary,),
        {"a": binary},
        ["f", 1, binary],
        ["f", (1, [{"a": ({"b": binary},)}])],
        OrderedDict(a=binary),
        Point(1, binary),
        [None, "a", {}, [], (), {"x": [binary]}],
    )
    for value in values:
        assert must_deconstruct(value) is True
        stripped, attachments = deconstruct(value)
        assert attachments == (b"\x01\x02",)
        assert type(attachments[0]) is bytes
        assert must_deconstruct(stripped) is False


@pytest.mark.parametrize("value", ["a", 1, None, [], {}, (), ["f", {"a": [1, ("b",)]}]])
def test_what_has_no_binary_has_none(value: Any) -> None:
    assert must_deconstruct(value) is False
    assert deconstruct(value)[1] == ()


@pytest.mark.req("SIO5-49")
def test_placeholders_count_in_the_order_of_the_text() -> None:
    value = ["f", {"a": [b"0", {"b": b"1"}], "c": b"2"}, (b"3", [[[b"4"]], b"5"]), b"6"]
    stripped, attachments = deconstruct(value)
    assert attachments == (b"0", b"1", b"2", b"3", b"4", b"5", b"6")
    assert stripped == [
        "f",
        {"a": [placeholder(0), {"b": placeholder(1)}], "c": placeholder(2)},
        [placeholder(3), [[[placeholder(4)]], placeholder(5)]],
        placeholder(6),
    ]
    assert encode_json(stripped[2][0]) == b'{"_placeholder":true,"num":3}'


def test_the_members_of_an_object_keep_their_order() -> None:
    stripped, _ = deconstruct({"z": 1, "a": b"", "m": {"y": 1, "b": 2}})
    assert list(stripped) == ["z", "a", "m"]
    assert list(stripped["m"]) == ["y", "b"]


def test_what_is_sent_is_left_as_it_was() -> None:
    value = ["f", {"a": b"x", "b": [b"y"]}]
    deconstruct(value)
    assert value == ["f", {"a": b"x", "b": [b"y"]}]


@pytest.mark.req("SIO5-53")
def test_ten_attachments_are_sent_and_eleven_refused() -> None:
    assert MAX_ATTACHMENTS == 10
    assert len(deconstruct([b"x"] * 10)[1]) == 10
    with pytest.raises(LocalProtocolError, match="11 binary attachments"):
        deconstruct([b"x"] * 11)


# --- bounds of what is sent ----------------------------------------------------------------------


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("array", [True, False])
@pytest.mark.parametrize("leaf", [None, 1, b"x"])
def test_depth_512_is_walked_and_513_refused(leaf: Any, array: bool) -> None:
    deepest = 511 if leaf == b"x" else 512  # a placeholder is an object too
    assert must_deconstruct(nested(deepest, array=array, leaf=leaf)) is (leaf == b"x")
    with pytest.raises(LocalProtocolError, match="more than 512 deep"):
        must_deconstruct(nested(deepest + 1, array=array, leaf=leaf))


@pytest.mark.req("SIO5-45")
@pytest.mark.parametrize("depth", [513, 5_000, 100_000])
def test_depth_is_bounded_beside_binary_too(depth: int) -> None:
    with pytest.raises(LocalProtocolError, match="more than 512 deep"):
        must_deconstruct([b"x", nested(depth)])


def test_depth_needs_no_recursion() -> None:
    stripped, attachments = deconstruct(nested(5_000, leaf=b"x"))
    assert depth_of(stripped) == 5_001  # the placeholder is one more
    assert depth_of(reconstruct(stripped, list(attachments))) == 5_000


def test_a_value_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    twice: list[Any] = [b"x"]
    twice += [twice, twice, {"a": twice}]
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = (loop, b"x")
    for value in (ring, twice, loop):
        with pytest.raises(LocalProtocolError, match="more than 512 deep"):
            must_deconstruct(value)


def test_wide_values_are_walked_whole() -> None:
    assert must_deconstruct([[index] for index in range(3_000)] + [[[b"x"]]]) is True
    assert must_deconstruct([[[index]] for index in range(3_000)]) is False


# --- placeholders that arrive --------------------------------------------------------------------


@pytest.mark.req("SIO5-51")
def test_placeholders_are_replaced_at_any_depth() -> None:
    value = ["f", placeholder(1), {"a": [placeholder(0), {"b": placeholder(1)}]}]
    assert reconstruct(value, [b"0", b"1"]) == ["f", b"1", {"a": [b"0", {"b": b"1"}]}]
    assert reconstruct(placeholder(0), [b"0"]) == b"0"
    assert reconstruct({"a": 1, "b": [placeholder(0)]}, [b"0"]) == {"a": 1, "b": [b"0"]}


@pytest.mark.req("SIO5-52")
@pytest.mark.parametrize(
    "number", [-1, -2, 2, 3, 2**64, 0.0, 1.0, 0.5, "0", "", None, True, False, [0], {"num": 0}]
)
def test_a_placeholder_that_names_no_attachment_is_refused(number: Any) -> None:
    for value in (["f", placeholder(number)], {"a": [[placeholder(number)]]}, placeholder(number)):
        with pytest.raises(RemoteProtocolError, match="names no attachment"):
            reconstruct(value, [b"0", b"1"])


@pytest.mark.req("SIO5-52")
def test_a_placeholder_without_a_number_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="names no attachment"):
        reconstruct([{"_placeholder": True}], [b"0"])


@pytest.mark.parametrize("mark", [False, 1, "true", None, [], {}])
def test_only_true_marks_a_placeholder(mark: Any) -> None:
    value = ["f", {"_placeholder": mark, "num": 0}]
    assert reconstruct(value, [b"0"]) == ["f", {"_placeholder": mark, "num": 0}]


def test_keys_of_javascript_objects_mean_nothing() -> None:
    value = [{"__proto__": {"_placeholder": True, "num": 0}, "constructor": {"prototype": []}}]
    expected = [{"__proto__": b"0", "constructor": {"prototype": []}}]
    assert reconstruct(value, [b"0"]) == expected
