"""Tokens of the original contract."""

import base64
import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st
from tests.im.identity.tokens import attempt
from trio.testing import trio_test

from trio_socketio.errors import OptionError
from trio_socketio.im.identity.des_tokens import MAX_TOKEN_BYTES, DesTokens
from trio_socketio.im.identity.identity import Identity, Later, Refusal, Verdict
from trio_socketio.im.identity.options import DesOptions, IdentityOptions
from trio_socketio.im.identity.verifiers import prepare

KEY: Final = "des-key-of-the-clients"
IV: Final = "another-constant"
TOKENS: Final = DesTokens(DesOptions(key=KEY, iv=IV))


def encrypt(text: bytes, key: str = KEY, iv: str = IV) -> str:
    """Make a token."""
    padder = PKCS7(64).padder()
    padded = padder.update(text) + padder.finalize()
    encryptor = Cipher(TripleDES(key[:8].encode() * 3), CBC(iv[:8].encode())).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def des_token(meta: object) -> str:
    """Make a token as JSON.stringify writes meta."""
    return encrypt(json.dumps(meta, separators=(",", ":"), ensure_ascii=False).encode())


def verify(token: str, tokens: DesTokens = TOKENS, **auth: Any) -> "Verdict | Later | None":
    return tokens.verify_now(attempt(token, auth=auth))


def refusal(found: object) -> tuple[int, str]:
    assert isinstance(found, Refusal)
    return found.reason.errcode, found.message


META: Final = {
    "name": "Ann \u00e9\U0001f600",
    "n": 1.5,
    "big": 12345678901234567000,
    "l": [True, None],
}


@pytest.mark.req("LEG-02", "LEG-04")
@pytest.mark.parametrize(("given_id", "user"), [(7, "7"), ("ann", "ann"), (-1, "-1"), (0, "0")])
def test_a_user_is_whom_the_client_says_that_it_is(given_id: object, user: str) -> None:
    assert verify(des_token(META), userId=given_id, meta=META) == Identity(user=user)


@pytest.mark.req("LEG-03")
@pytest.mark.parametrize(
    ("text", "meta"),
    [
        ('{"b": 1.0, "a": "x"}', {"a": "x", "b": 1}),
        ('{"a":12345678901234567890}', {"a": 12345678901234567000}),
        ('"\\u0041\\ud800"', "A\ufffd"),
        ("null", None),
        ("7", 7),
        ("{}", {}),
    ],
)
def test_what_is_compared_is_the_value_of_meta_not_its_text(text: str, meta: object) -> None:
    assert verify(encrypt(text.encode()), userId=7, meta=meta) == Identity(user="7")


@pytest.mark.req("LEG-03")
@pytest.mark.parametrize(
    "token",
    [
        des_token({"name": "Bob"}),
        des_token({**META, "l": [1, None]}),
        encrypt(json.dumps(META).encode(), key="another-key"),
        encrypt(b"\xff\xfe"),
        encrypt(b'{"name":'),
        encrypt(b"[" * 600),
        encrypt(b""),
        base64.b64encode(bytes(64)).decode(),
    ],
    ids=["other", "true-for-1", "other-key", "not-utf-8", "not-json", "deep", "empty", "padding"],
)
def test_all_misfits_are_one_refusal(token: str) -> None:
    assert refusal(verify(token, userId=7, meta=META)) == (3, "the token does not fit meta")


@pytest.mark.req("LEG-02")
@pytest.mark.parametrize(
    "token", ["x", "a.b.c", "AAAA", "A" * 12, "====", " " + des_token(META), "\u00e9" * 12, "!!!!"]
)
def test_a_token_of_another_form_is_of_another_kind(token: str) -> None:
    assert verify(token, userId=7, meta=META) is None


@pytest.mark.req("LEG-02")
def test_a_token_without_meta_is_of_another_kind() -> None:
    assert verify(des_token(META), userId=7) is None
    assert verify("A" * (MAX_TOKEN_BYTES + 1)) is None


@pytest.mark.req("LEG-04")
@pytest.mark.parametrize("user", [None, True, 1.5, "", "a\n", "u" * 257, [], {}, 10**20])
def test_a_user_id_that_cannot_be_used(user: object) -> None:
    errcode, message = refusal(verify(des_token(META), userId=user, meta=META))
    assert errcode == 2
    assert message.startswith("userId cannot be used: ")
    assert refusal(verify(des_token(META), meta=META)) == (2, "userId is missing")


@pytest.mark.req("LEG-05")
def test_a_token_that_is_too_large_is_not_decrypted() -> None:
    largest = MAX_TOKEN_BYTES // 4 * 3 - 2 - 1
    largest -= largest % 8 - 7  # of padding there is one byte, as there is at least
    meta = "x" * (largest - 2)
    token = des_token(meta)
    assert MAX_TOKEN_BYTES - 12 < len(token) <= MAX_TOKEN_BYTES
    assert verify(token, userId=7, meta=meta) == Identity(user="7")
    assert refusal(verify(des_token(meta + "x" * 8), userId=7, meta=META))[0] == 2
    assert verify("\u00e9" * (MAX_TOKEN_BYTES + 1), userId=7, meta=META) is None


@given(
    st.text(max_size=200) | st.binary(max_size=200).map(lambda b: base64.b64encode(b).decode()),
    st.dictionaries(st.sampled_from(["userId", "meta", "x"]), st.integers() | st.text()),
)
def test_garbage_raises_nothing(token: str, auth: dict[str, Any]) -> None:
    found = TOKENS.verify_now(attempt(token, auth=auth))
    assert found is None or isinstance(found, Refusal)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


@pytest.mark.req("LEG-03")
@given(JSON, JSON, st.binary(min_size=8, max_size=64))
def test_a_token_fits_its_meta_and_no_other(meta: object, other: object, noise: bytes) -> None:
    token = encrypt(json.dumps(meta).encode())
    with suppress(UnicodeEncodeError):
        token = des_token(meta)
    assert verify(token, userId=7, meta=meta) == Identity(user="7")
    if json.dumps(meta, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert refusal(verify(token, userId=7, meta=other))[0] == 3
    forged = base64.b64encode(noise[: len(noise) // 8 * 8]).decode()
    assert isinstance(verify(forged, userId=7, meta={"m": 1}), Refusal)


def test_the_tokens_of_node() -> None:
    """Those of the original's clients, which use des-cbc; OpenSSL 3 has its own name for that."""
    program = """
        const { createCipheriv } = require("crypto");
        const [key, iv, meta] = process.argv.slice(1);
        const k = Buffer.from(key.slice(0, 8));
        const cipher = createCipheriv("des-ede3-cbc", Buffer.concat([k, k, k]), iv.slice(0, 8));
        const text = JSON.stringify(JSON.parse(meta));
        process.stdout.write(cipher.update(text, "utf8", "base64") + cipher.final("base64"));
        """
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    meta = {**META, "list": list(range(30))}
    done = subprocess.run(
        [node, "-e", program, KEY, IV, json.dumps(meta)],
        capture_output=True,
        check=True,
        timeout=20,
    )
    token = done.stdout.decode()
    assert token == des_token(meta)
    assert verify(token, userId=8, meta=meta) == Identity(user="8")


# --- options


def test_constants_come_from_files(tmp_path: Path) -> None:
    key, iv = tmp_path / "key", tmp_path / "iv"
    key.write_text(f"{KEY}\n")
    iv.write_text(IV)
    tokens = DesTokens(DesOptions(key_file=str(key), iv_file=str(iv)))
    assert verify(des_token(META), tokens, userId=7, meta=META) == Identity(user="7")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"7 bytes", "at least 8"),
        (b"\xff" * 20, "at least 8"),
        (b"two lines\nof it", "one line"),
        (b"x" * 4097, "larger than 4096 bytes"),
        (None, "cannot read the iv of DES tokens in"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "iv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionError, match=why) as caught:
        DesTokens(DesOptions(key=KEY, iv_file=str(path)))
    assert caught.value.option == "iv_file"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "option", "why"),
    [
        ({"key": KEY, "key_file": "k", "iv": IV}, "key_file", "cannot be given beside key"),
        ({"key": "short", "iv": IV}, "key", "at least 8 ASCII characters"),
        ({"key": "\u00e9" * 8, "iv": IV}, "key", "at least 8 ASCII characters"),
    ],
)
def test_options_that_cannot_be_used(given: dict[str, str], option: str, why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        DesOptions(**given)
    assert caught.value.option == option
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [({"key": KEY}, "has no iv: set des.iv"), ({"iv_file": "x"}, "has no key: set des.key")],
)
def test_a_constant_that_is_missing_is_named(given: dict[str, str], why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        prepare(IdentityOptions(des=DesOptions(**given)))
    assert caught.value.option == "des"


@trio_test
async def test_they_never_have_to_ask() -> None:
    with pytest.raises(AssertionError):
        await TOKENS.verify(attempt("x"))
