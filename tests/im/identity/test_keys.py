"""Keys in files and in sets: each is for one algorithm, and private ones are not taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.im.identity.tokens import (
    ALGORITHMS,
    SECRET,
    key_set,
    other_key,
    private_key,
    private_pem,
    public_jwk,
    public_pem,
    token,
)

from trio_socketio.codec.json_web_signature import decode_compact
from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.keys import (
    MAX_FILE_BYTES,
    MAX_KEYS,
    Key,
    UnusableKey,
    read_key_file,
    read_key_set,
    select_keys,
)


def read(folder: Path, content: bytes, algorithm: str | None = None, kid: str | None = None) -> Key:
    path = folder / "key"
    path.write_bytes(content)
    (key,) = read_key_file(str(path), algorithm, kid)
    return key


def fault(folder: Path, content: bytes, algorithm: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, content, algorithm)
    assert str(folder / "key") in str(caught.value)
    return str(caught.value)


def verifies(key: Key, text: str) -> bool:
    signed = decode_compact(text)
    return key.verify(signed.signing_input, signed.signature)


@pytest.mark.req("IDENT-16")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_of_every_kind_verify(tmp_path: Path, algorithm: str) -> None:
    secret = algorithm.startswith("HS")
    content = SECRET if secret else public_pem(algorithm)
    keys = [read(tmp_path, content + b"\n", algorithm, "k")]
    if not secret:
        jwk = json.dumps(public_jwk(algorithm, "k")).encode()
        keys += [read(tmp_path, jwk), *read_key_set(key_set(public_jwk(algorithm, "k")))[0]]
        keys += [read(tmp_path, key_set(public_jwk(algorithm, "k")))]
    for key in keys:
        assert (key.kid, key.algorithm) == ("k", algorithm)
        assert verifies(key, token(algorithm))
        assert not verifies(key, token(algorithm, key=other_key(algorithm)))
        assert not key.verify(b"", b"")
        assert not key.verify(b"x", b"\0" * 64)
        assert "key" in repr(key).lower()


def test_a_key_without_an_algorithm_is_for_the_usual_one(tmp_path: Path) -> None:
    for usual in ("RS256", "ES256", "ES384", "ES512", "EdDSA"):
        assert read(tmp_path, public_pem(usual)).algorithm == usual
        jwk = public_jwk(usual)
        del jwk["alg"]
        assert read(tmp_path, json.dumps(jwk).encode()).algorithm == usual
    assert (
        read(tmp_path, json.dumps({"kty": "oct", "k": "eHh4" * 12}).encode()).algorithm == "HS256"
    )


@pytest.mark.req("IDENT-12")
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("RS256", "HS256"),
        ("RS256", "ES256"),
        ("RS256", "none"),
        ("RS256", ""),
        ("ES256", "ES384"),
        ("EdDSA", "ES256"),
        ("HS256", "RS256"),
        ("HS256", "none"),
    ],
)
def test_a_key_is_for_algorithms_of_its_kind_alone(
    tmp_path: Path, key: str, algorithm: str
) -> None:
    content = SECRET if key == "HS256" else public_pem(key)
    if algorithm:
        assert algorithm in fault(tmp_path, content, algorithm)
    if key != "HS256" and algorithm:
        jwk = {**public_jwk(key), "alg": algorithm}
        with pytest.raises(UnusableKey):
            read_key_set(key_set(jwk))


@pytest.mark.req("IDENT-47")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_private_keys_are_refused(tmp_path: Path, algorithm: str) -> None:
    assert "private key" in fault(tmp_path, private_pem(algorithm))
    jwk = {**public_jwk(algorithm), "d": "c2VjcmV0"}
    assert "private key" in fault(tmp_path, json.dumps(jwk).encode())
    with pytest.raises(UnusableKey, match="private key"):
        read_key_set(key_set(jwk))


@pytest.mark.req("IDENT-48")
def test_short_keys_are_refused(tmp_path: Path) -> None:
    for algorithm, least in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        assert f"at least {least} bytes, not {least - 1}" in fault(
            tmp_path, b"x" * (least - 1), algorithm
        )
        assert read(tmp_path, b"x" * least, algorithm).algorithm == algorithm
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    pem = small.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert "at least 2048 bits, not 1024" in fault(tmp_path, pem)


def _pem_of(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "expected a public key that begins with -----BEGIN PUBLIC KEY-----"),
        (SECRET, "a file with a secret needs an algorithm in the options"),
        (b"-----BEGIN CERTIFICATE-----\n", "openssl pkey -pubout"),
        (b"-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----", "not a public key"),
        (_pem_of(ec.generate_private_key(ec.SECP256K1())), "no RSA, P-256"),
        (_pem_of(ed448.Ed448PrivateKey.generate()), "no RSA, P-256"),
        (b"{", "not JSON"),
        (b'{"kty": 1}', "its kty is none of"),
        (b'{"kty": "XX"}', "its kty is none of"),
        (b'{"kty": "RSA"}', "no key of its kind"),
        (b'{"kty": "RSA", "n": 1, "e": []}', "no key of its kind"),
        (b'{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}', "no key of its kind"),
        (b'{"kty": "EC", "crv": {}, "x": "AA", "y": "AA"}', "no key of its kind"),
        (b'{"kty": "oct", "k": "AA"}', "at least 32 bytes, not 1"),
        (b'{"kty": "oct", "kid": 7, "k": "AA"}', "kid is not text"),
        (b'{"kty": "oct", "alg": ["HS256"], "k": "%b"}' % (b"eHh4" * 12), "its alg is not text"),
        (b'{"kty": "oct", "use": "enc", "k": "%b"}' % (b"eHh4" * 12), "not for signatures"),
        (b'{"keys": [{"kty": "oct", "use": "enc"}]}', "none is for signatures"),
        (b'{"keys": []}', "a list of keys"),
        (b'{"keys": 1}', "a list of keys"),
        (b'{"keys": [1]}', "a list of keys"),
        (b'{"keys": [%b]}' % b",".join([b"{}"] * (MAX_KEYS + 1)), "more than 64"),
        (b"x" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    told = fault(tmp_path, content)
    assert why in told
    assert "nonsense" not in told


def _forms_of_a_public_key(algorithm: str) -> dict[str, bytes]:
    public = private_key(algorithm).public_key()
    pem, jwk = public_pem(algorithm), public_jwk(algorithm, "a")
    forms = {
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "a comment before PEM": b"# of our issuer\n" + pem,
        "PEM with a BOM": b"\xef\xbb\xbf" + pem,
        "PEM in UTF-16": pem.decode().encode("utf-16"),
        "SSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "SSH2": b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAADAQABAAABAQC",
        "a JWKS with a BOM": b"\xef\xbb\xbf" + key_set(jwk),
        "a list of JWKs": json.dumps([jwk]).encode(),
        "a list of JWKs below a blank line": b"\n" + json.dumps([jwk]).encode(),
    }
    if algorithm == "RS256":
        forms["DER of PKCS 1"] = public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return forms


@pytest.mark.req("IDENT-60", "IDENT-61")
@pytest.mark.parametrize("kind", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_public_key_in_another_form_never_becomes_a_secret(tmp_path: Path, kind: str) -> None:
    page = b"<!doctype html><title>404: there is nothing at this address</title>"
    forms = {**_forms_of_a_public_key(kind), "an error page": page}
    for form, content in forms.items():
        assert len(content) >= 32, form
        for algorithm in (None, "", kind):
            assert "expected a public key that begins" in fault(tmp_path, content, algorithm), form
        for algorithm in ("HS256", "HS384", "HS512"):
            why = "not a secret for" if len(content) >= 64 else "a secret for"
            assert why in fault(tmp_path, content, algorithm), form


@pytest.mark.req("IDENT-60")
@given(st.binary(max_size=200), st.sampled_from([None, "", "RS256", "ES256", "EdDSA", "none"]))
def test_nothing_is_taken_for_a_secret_unasked(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, algorithm: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        read_key_file(str(path), algorithm)


@pytest.mark.req("IDENT-62")
def test_a_secret_is_used_as_it_is(tmp_path: Path) -> None:
    for secret in (b" " + b"k" * 31 + b"\0", b"0\r\n" * 20 + b"x", b"sk" * 20, b"30" * 20):
        for end in (b"", b"\n", b"\r\n"):
            key = read(tmp_path, secret + end, "HS256")
            assert verifies(key, token(key=secret)), secret


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the key .*nowhere: No such file"):
        read_key_file(str(tmp_path / "nowhere"))


def test_what_the_options_say_must_agree_with_the_file(tmp_path: Path) -> None:
    jwk = json.dumps(public_jwk("RS256")).encode()
    assert "its alg is not RS512" in fault(tmp_path, jwk, "RS512")
    assert "for a file with one key" in fault(tmp_path, key_set(public_jwk("RS256")), "RS256")


@pytest.mark.req("IDENT-47")
def test_a_set_from_a_url_gives_public_keys_for_signatures(tmp_path: Path) -> None:
    document = {
        "keys": [
            public_jwk("RS256", "a"),
            {**public_jwk("ES256", "e"), "use": "enc"},
            {"kty": "oct", "k": "eHh4" * 12, "kid": "s"},
            {"kty": "RSA"},
            17,
            {**public_jwk("EdDSA", "b"), "use": "sig"},
        ]
    }
    keys, left_out = read_key_set(json.dumps(document).encode())
    assert [(key.kid, key.algorithm) for key in keys] == [("a", "RS256"), ("b", "EdDSA")]
    assert [reason.partition(":")[0] for reason in left_out] == ["key 2", "key 3", "key 4"]
    assert "secrets are not read from a URL" in left_out[0]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"<html>"]
)
def test_what_is_no_set_of_keys_is_refused(document: bytes) -> None:
    with pytest.raises(UnusableKey):
        read_key_set(document)


def test_a_set_is_bounded() -> None:
    keys, left_out = read_key_set(
        key_set(*[public_jwk("ES256", str(n)) for n in range(MAX_KEYS + 9)])
    )
    assert len(keys) == MAX_KEYS
    assert left_out == ["there are more than 64 keys"]


def test_keys_are_selected_by_name() -> None:
    def verify(signed: bytes, signature: bytes) -> bool:
        return False

    a, b, anonymous = (Key(kid, "RS256", verify) for kid in ("a", "b", None))
    assert select_keys((a, b, anonymous), "a", "RS256") == [a, anonymous]
    assert select_keys((a, b, anonymous), None, "RS256") == [a, b, anonymous]
    assert select_keys((a, b), "c", "RS256") == []
    assert select_keys((a, b, anonymous), None, "PS256") == []
