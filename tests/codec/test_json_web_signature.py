"""Tokens in the compact form of JSON Web Signatures, and everything that only looks like one."""

import json
import re
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_socketio.codec.json_web_signature import decode_claims, decode_compact, is_compact
from trio_socketio.errors import RemoteProtocolError

SECRET = b"0123456789abcdef0123456789abcdef"
TOKEN = jwt.encode({"sub": "ann", "exp": 1}, SECRET, "HS256", headers={"kid": "k"})

FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII).fullmatch


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_token_is_taken_apart() -> None:
    signed = decode_compact(TOKEN)
    assert signed.header == {"alg": "HS256", "kid": "k", "typ": "JWT"}
    assert decode_claims(signed.payload) == {"sub": "ann", "exp": 1}
    assert signed.signing_input == TOKEN.rpartition(".")[0].encode()
    assert len(signed.signature) == 32
    assert is_compact(TOKEN)


@given(st.dictionaries(st.text(), st.integers(0, 9)), st.binary(), st.binary(max_size=80))
def test_what_is_put_together_is_taken_apart(
    header: dict[str, int], payload: bytes, signature: bytes
) -> None:
    payload = payload or b"x"
    signed = decode_compact(f"{part(header)}.{part(payload)}.{part(signature)}")
    assert (signed.header, signed.payload, signed.signature) == (header, payload, signature)


@st.composite
def spoilt_tokens(draw: st.DrawFn) -> str:
    """Tokens in which a few characters are missing, or others than before."""
    text = TOKEN
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        put = draw(st.text("Aa09-_.=+/ \n\0!é", max_size=2))
        text = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return text


@given(spoilt_tokens())
def test_a_spoilt_token_is_refused_or_read_as_pyjwt_reads_it(token: str) -> None:
    has_the_form = FORM(token) is not None
    assert has_the_form or not is_compact(token)
    try:
        signed = decode_compact(token)
    except RemoteProtocolError:
        return
    assert has_the_form
    read = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
    assert (signed.header, signed.payload, signed.signature) == (
        read["header"],
        read["payload"],
        read["signature"],
    )


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "e30.e30",
        "e30..x",
        "opaque-token",
        "e30.e30.\n",
        f"{TOKEN}=",
        f"{TOKEN}\n",
        TOKEN.replace(".", ". "),
        TOKEN + "é",
        TOKEN.replace("-", "+").replace(".", "+.", 1),
        "e30.e3.A",  # a part of one character more than whole bytes
        "e30.e30.AB",  # bits that are not used are set
        "e30.e31.AA",
        "e31.e30.AA",
        f"{part([1])}.e30.AA",
        f"{part(b'{')}.e30.AA",
        f"{part(b'null')}.e30.AA",
        "\ud800.e30.AA",
    ],
)
def test_what_is_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_compact(token)
    assert len(token) < 5 or token not in str(caught.value)


@given(st.text(st.characters(codec=None)))
@example("." * 8192)
@example("[" * 600 + ".e30.AA")
def test_garbage_raises_nothing_undocumented(token: str) -> None:
    is_compact(token)
    try:
        signed = decode_compact(token)
    except RemoteProtocolError:
        return
    assert is_compact(token) is ("alg" in signed.header)
    assert type(signed.header) is dict


@pytest.mark.parametrize(
    "token",
    [
        "v4.public.eyJzdWIiOiJhbm4ifQ",
        f"{part({})}.e30.AA",
        f"{part({'typ': 'JWT'})}.e30.AA",
        f"{part(['alg'])}.e30.AA",
        f"{part('alg')}.e30.AA",
        "one.two.three",
    ],
)
def test_tokens_of_other_kinds_have_three_parts_too(token: str) -> None:
    assert not is_compact(token)
    assert is_compact(f"{part({'alg': None})}.e30.A"), "it is a bad one"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"1", b"\xff", b"null"])
def test_claims_are_an_object(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_claims(payload)
