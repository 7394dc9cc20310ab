"""Values as notepack.io writes them; test_msgpack_packet.py has the packets made of them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import json_values

from trio_socketio.codec.notepack import (
    date_text,
    decode_extension,
    encode_plain,
    encode_value,
    holds_more_values,
    may_hold_small_buffer,
    replace_small_buffers,
    to_plain,
)
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.Decoder(ext_hook=decode_extension).decode

values = json_values(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=40)
)


@given(values)
def test_values_come_back(value: Any) -> None:
    assert unpack(encode_value(value)) == value


def test_what_json_would_write_as_text_is_text() -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert to_plain(["at", moment]) == ["at", "2023-11-14T22:13:20Z"]
    assert to_plain([{1: 2}]) == [{"1": 2}]
    assert to_plain(flat := ["a", 1, b"\0", {"b": None}]) is flat


@pytest.mark.parametrize("value", [2**64, "\ud800", object()])
def test_what_messagepack_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode_value([value])


def test_what_is_nested_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    for encode in (encode_plain, encode_value):
        with pytest.raises(LocalProtocolError, match="nested"):
            encode(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xd4\0\0", None),
        (b"\xd7\0\0\0\1\x8b\xcf\xe5\x68\x7b", "2023-11-14T22:13:20.123Z"),
        (b"\xd7\0\xff\xff\xff\xff\xff\xff\xff\xff", "1969-12-31T23:59:59.999Z"),
        (b"\xc7\3\0abc", b"abc"),
    ],
)
def test_extensions_of_notepack_2(data: bytes, value: Any) -> None:
    assert unpack(data) == value


@pytest.mark.parametrize("data", [b"\xd4\1\0", b"\xd7\0\x7f" + bytes(7)])
def test_other_extensions_and_dates_out_of_range_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack(data)


def test_a_date_has_milliseconds() -> None:
    assert date_text(datetime(2023, 1, 2, tzinfo=UTC)) == "2023-01-02T00:00:00.000Z"


def small_buffer(data: bytes) -> bytes:
    """An ArrayBuffer, as notepack 2 writes it."""
    return b"\xc7%c\0%b" % (len(data), data)


@given(values, st.sampled_from([b"a", b"12345678"]))
def test_small_buffers_are_told_from_dates(value: Any, data: bytes) -> None:
    message = b"\x92" + pack(value) + small_buffer(data)
    assert may_hold_small_buffer(message)
    assert unpack(replace_small_buffers(message)) == [value, data]


@given(st.binary(max_size=60))
def test_garbage_is_walked_to_its_end(message: bytes) -> None:
    replace_small_buffers(message)
    assert not holds_more_values(message, len(message))


@given(values)
def test_values_are_counted(value: Any) -> None:
    number = count(value)
    assert holds_more_values(pack(value), number - 1)
    assert not holds_more_values(pack(value), number)


def count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, list) else 1
