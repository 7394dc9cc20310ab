"""Equality of JSON values, as JavaScript sees them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.json_equality import are_equal_json
from trio_socketio.codec.json_text import decode_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (-0.0, 0),
        (2**53 + 1, 2**53),
        (12345678901234567890, 1.2345678901234567e19),
        (10**400, 10**400),
        ({"a": 1, "b": [2, {}]}, {"b": [2.0, {}], "a": 1}),
        ("", ""),
        (None, None),
    ],
)
@pytest.mark.req("LEG-03")
def test_values_that_are_equal(one: Any, other: Any) -> None:
    assert are_equal_json(one, other)
    assert are_equal_json(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (0, None),
        (1, "1"),
        (1, 2),
        (10**400, 10**401),
        (10**400, 1.0),
        ([], {}),
        ([1], [1, 1]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ("a", b"a"),
        ("a", "A"),
    ],
)
@pytest.mark.req("LEG-03")
def test_values_that_are_not(one: Any, other: Any) -> None:
    assert not are_equal_json(one, other)
    assert not are_equal_json(other, one)


@given(VALUES)
def test_a_value_equals_itself_whatever_the_order_of_its_keys(value: Any) -> None:
    turned = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(pairs[::-1]))
    assert are_equal_json(value, turned)


@given(VALUES, VALUES)
def test_two_values_are_equal_if_their_canonical_texts_are(one: Any, other: Any) -> None:
    def canonical(value: Any) -> str:
        text = json.dumps(value).replace("-0.0", "0.0")  # also within text, which does not matter
        return json.dumps(json.loads(text, parse_int=float), sort_keys=True)

    assert are_equal_json(one, other) is (canonical(one) == canonical(other))


def test_depth_needs_no_recursion() -> None:
    deep = b"[" * 500 + b"]" * 500
    value: Any = decode_json(deep)
    for _ in range(100):
        value = [value]
    assert are_equal_json(value, value)
