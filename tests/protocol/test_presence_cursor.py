"""Cursors as text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.presence_cursor import MAX_PART, Cursor, parse_cursor

parts = st.integers(0, MAX_PART)


@pytest.mark.req("PRES-03")
@given(parts, parts)
def test_a_cursor_comes_back_from_its_text(generation: int, sequence: int) -> None:
    cursor = Cursor(generation, sequence)
    assert parse_cursor(str(cursor)) == cursor
    assert str(cursor) == f"{generation}-{sequence}"


@pytest.mark.req("PRES-03")
def test_the_largest_cursor_is_that_of_redis() -> None:
    largest = "18446744073709551615"
    assert parse_cursor(f"{largest}-{largest}") == Cursor(MAX_PART, MAX_PART)
    for text in (f"18446744073709551616-{largest}", f"{largest}-18446744073709551616"):
        with pytest.raises(RemoteProtocolError):
            parse_cursor(text)


@given(parts, parts, parts, parts)
def test_cursors_have_the_order_of_the_log(a: int, b: int, c: int, d: int) -> None:
    assert (Cursor(a, b) < Cursor(c, d)) == ((a, b) < (c, d))


@pytest.mark.req("PRES-03")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "01-2",
        "1-02",
        "+1-2",
        " 1-2",
        "1-2\n",
        "1_0-2",
        "\u0661-2",
        f"{MAX_PART + 1}-1",
        f"1-{MAX_PART + 1}",
        "1-" + "9" * 21,
        "0x1-2",
        "1.0-2",
    ],
)
def test_nothing_else_is_a_cursor(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="is not a cursor"):
        parse_cursor(text)


@given(st.text())
def test_garbage_raises_nothing_undocumented(text: str) -> None:
    with suppress(RemoteProtocolError):
        assert str(parse_cursor(text)) == text


@pytest.mark.parametrize(("size", "shown"), [(50, "'" + "x" * 50 + "'"), (51, "x" * 50 + "...'")])
def test_what_is_long_is_shown_in_part(size: int, shown: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_cursor("x" * size)
    assert f"{shown} is not" in str(caught.value)
