"""Numbers as JavaScript writes them; the texts are those of V8."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.javascript_numbers import number_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (7.0, "7"),
        (-1.5, "-1.5"),
        (120.0, "120"),
        (0.1, "0.1"),
        (12.034, "12.034"),
        (0.000001, "0.000001"),
        (0.00000123, "0.00000123"),
        (1e-7, "1e-7"),
        (-1.25e-9, "-1.25e-9"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (5e-324, "5e-324"),
        (nan, "NaN"),
        (inf, "Infinity"),
        (-inf, "-Infinity"),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_the_same(number: float) -> None:
    assert float(number_text(number)) == number
