import json
import re
from contextlib import suppress
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import TEXT

from trio_socketio.codec.jsonp import decode_form, encode_script
from trio_socketio.errors import RemoteProtocolError


def escape(payload: str) -> str:
    """What official clients do before they put a payload into a form."""
    return re.sub(r"\\n", "\\\\\n", payload).replace("\n", "\\n")


@pytest.mark.req("EIO3-23")
def test_a_script_calls_the_pages_function() -> None:
    assert encode_script("4", b"6:4hello") == b'___eio[4]("6:4hello");'


@pytest.mark.req("EIO3-23", "EIO3-26")
@given(st.text("\u2028\u2029\"\\/\n</script>'€😀a") | TEXT)
def test_a_script_is_one_string_without_line_ends(payload: str) -> None:
    script = encode_script("12", payload.encode()).decode()
    assert script.startswith("___eio[12](")
    assert script.endswith(");")
    assert json.loads(script[11:-2]) == payload
    assert len(script.splitlines()) == 1 or not {"\n", "\r", "\u2028", "\u2029"} & set(script)


@pytest.mark.req("EIO3-25")
@given((st.text("\\\nn&=+% é😀a") | TEXT).filter(lambda payload: "\\\n" not in payload))
def test_a_form_round_trips(payload: str) -> None:
    # A backslash before a line feed is written like one before an n: clients cannot say it.
    body = b"d=" + quote_plus(escape(payload)).encode()
    assert decode_form(body) == payload.encode()
    assert decode_form(b"x=1&" + body + b"&d=2") == payload.encode()


@pytest.mark.req("EIO3-25")
@pytest.mark.parametrize(
    ("field", "payload"),
    [
        (b"a%5Cnb", b"a\nb"),
        (b"a%5C%5Cnb", b"a\\nb"),
        (b"a%5C%5C%5Cnb", b"a\\\\nb"),
        (b"a+b%2Bc", b"a b+c"),
        (b"", b""),
        (b"%zz%", b"%zz%"),
    ],
)
def test_a_form_is_unescaped(field: bytes, payload: bytes) -> None:
    assert decode_form(b"d=" + field) == payload


@pytest.mark.parametrize("body", [b"", b"d", b"e=1", b"dd=1", b"x=d=1", b"&D=1"])
def test_a_form_without_the_field_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="field d"):
        decode_form(body)


@given(st.binary() | st.binary().map(b"d=".__add__))
def test_garbage_raises_nothing_undocumented(body: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(decode_form(body), bytes)
