"""The keys that JWTs are verified with. Each is bound to one algorithm when it is read.

A token names an algorithm itself, and whoever forges one can name any. If that name decided, a
token could be signed with HS256 and the text of a public RSA key as the secret, or with "none".
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import ConfigurationError, RemoteProtocolError
from trio_socketio.secret_files import read_secret_file

try:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )
    from jwt.algorithms import Algorithm, get_default_algorithms
    from jwt.exceptions import PyJWTError
except ImportError as error:  # a program that verifies no JWT can do without
    raise ConfigurationError("JWTs need PyJWT: pip install 'trio-socketio[server]'") from error

MAX_FILE_BYTES: Final = 65536
MAX_KEYS: Final = 64
"""How many keys of one file or answer are taken."""
MIN_RSA_BITS: Final = 2048

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The algorithms for secrets, each with the shortest secret. Spec: RFC 7518, section 3.2."""

ALGORITHMS: Final = (*_SECRET_BYTES, *_RSA, *_OF_CURVE.values(), "EdDSA")
_IMPLEMENTED: Final[Mapping[str, Algorithm]] = get_default_algorithms()

_FORMS: Final = (
    "expected a public key that begins with -----BEGIN PUBLIC KEY-----, such as openssl pkey "
    "-pubout writes, a JWK, or a set of JWKs; a file with a secret needs an algorithm in the "
    "options: HS256, HS384 or HS512"
)
_SECRET_LOOKS: Final = (
    (re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff"), "begins with a byte order mark"),
    (re.compile(rb".*---- ?BEGIN ", re.DOTALL), "has a line with BEGIN, as a key in text form has"),
    (re.compile(rb"\s*(?:ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)"), "begins as a public key of SSH does"),
    (re.compile(rb"\s*[\[<]"), "begins as a list of JSON or a web page does"),
    # A SEQUENCE of DER: a long one, or a short one that begins with the identifier of a kind of
    # key, whose tag is no printable character.
    (re.compile(rb"0(?:[\x81-\x84]|.0.\x06)", re.DOTALL), "is in DER form, as a public key may be"),
)
"""Forms that no secret may have: a public key that became a secret would let everybody sign."""


class Key(NamedTuple):
    """A key that signatures are verified with.

    Args:
        kid: its name; None if it has none.
        algorithm: the only one that it is used with.
        verify: called with the signed bytes and the signature.
        material: the key itself, to tell keys without names apart; None if that is not needed.
    """

    kid: str | None
    algorithm: str
    verify: Callable[[bytes, bytes], bool]
    material: bytes | None = None

    def __repr__(self) -> str:
        return f"<Key {self.kid!r} for {self.algorithm}>"


class UnusableKey(ValueError):
    """A key cannot be used. The message never shows it."""


def read_key_file(path: str, algorithm: str | None = None, kid: str | None = None) -> list[Key]:
    """Read the keys of a file: a public key as PEM, a JWK, a set of them, or a secret.

    Args:
        path: of the file.
        algorithm: that the key is for; None means what the file says, or else what is usual for the
            key: RS256, or what belongs to its curve. A file that holds a secret as it is is read
            for HS256, HS384 and HS512 only.
        kid: its name; None means what the file says.
    Raises:
        ConfigurationError: it cannot be read, or holds no key that can be used.
    """
    content = read_secret_file(path, "the key", MAX_FILE_BYTES)
    text = content.strip()
    try:
        if text.startswith(b"-----BEGIN"):
            return [_read_pem(text, algorithm, kid)]
        if text.startswith(b"{"):
            return _read_json(text, algorithm, kid)
        return [_read_secret(content, algorithm, kid)]
    except UnusableKey as error:
        raise ConfigurationError(f"the key {path} cannot be used: {error}") from None


def read_key_set(document: bytes) -> tuple[list[Key], list[str]]:
    """Read the answer of a JWKS URL. Only public keys are taken.

    Returns:
        The keys, and why others were left out.
    Raises:
        UnusableKey: it is not a set of keys, or holds none that can be used.

    Spec: RFC 7517, section 5.
    """
    found = _decode_object(document).get("keys")
    if type(found) is not list:
        raise UnusableKey("it is not a set of keys: it has no list keys")
    keys: list[Key] = []
    left_out = [f"there are more than {MAX_KEYS} keys"] if len(found) > MAX_KEYS else []
    for number, jwk in enumerate(found[:MAX_KEYS]):
        try:
            if type(jwk) is not dict:
                raise UnusableKey("it is not an object")
            if jwk.get("use", "sig") != "sig":
                continue  # for encryption
            if jwk.get("kty") == "oct":
                raise UnusableKey("it is a secret, and secrets are not read from a URL")
            keys.append(_read_jwk(jwk, None, None))
        except UnusableKey as error:
            left_out.append(f"key {number}: {error}")
    if not keys:
        raise UnusableKey(f"it has no key that can be used ({'; '.join(left_out[:3])})")
    return keys, left_out


def select_keys(keys: Iterable[Key], kid: str | None, algorithm: str) -> list[Key]:
    """Return the keys that a token may be signed with (IDENT-12, IDENT-13).

    Args:
        keys: all keys.
        kid: that the token names. Keys without a name are taken for any; a token without one may be
            signed with any key.
        algorithm: that the token names.
    """
    return [
        key
        for key in keys
        if key.algorithm == algorithm and (kid is None or key.kid is None or key.kid == kid)
    ]


def _read_json(content: bytes, algorithm: str | None, kid: str | None) -> list[Key]:
    document = _decode_object(content)
    if "keys" not in document:
        if document.get("use", "sig") != "sig":
            raise UnusableKey("its use is not sig: it is not for signatures")
        return [_read_jwk(document, algorithm, kid)]
    if algorithm is not None or kid is not None:
        raise UnusableKey("algorithm and kid are for a file with one key, and it is a set")
    found = document["keys"]
    if type(found) is not list or not found or not all(type(one) is dict for one in found):
        raise UnusableKey("keys has to be a list of keys")
    if len(found) > MAX_KEYS:
        raise UnusableKey(f"it has more than {MAX_KEYS} keys")
    keys = [_read_jwk(one, None, None) for one in found if one.get("use", "sig") == "sig"]
    if not keys:
        raise UnusableKey("it has no key whose use is sig: none is for signatures")
    return keys


def _decode_object(content: bytes) -> dict[str, Any]:
    try:
        document = decode_json(content)
    except RemoteProtocolError:
        raise UnusableKey("it is not JSON") from None
    if type(document) is not dict:
        raise UnusableKey("it is not an object of JSON")
    return document


def _read_jwk(jwk: dict[str, Any], algorithm: str | None, kid: str | None) -> Key:
    named = jwk.get("alg")
    if named is not None and type(named) is not str:
        raise UnusableKey("its alg is not text")
    if named is not None and algorithm is not None and named != algorithm:
        raise UnusableKey(f"its alg is not {algorithm}")
    algorithm = algorithm or named
    kid = jwk.get("kid") if kid is None else kid
    if kid is not None and type(kid) is not str:
        raise UnusableKey("its kid is not text")
    if "d" in jwk:
        raise UnusableKey(_PRIVATE)
    kinds = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}
    usual = kinds.get(jwk["kty"]) if type(jwk.get("kty")) is str else None
    if usual is None:
        raise UnusableKey(f"its kty is none of {', '.join(kinds)}")
    try:
        # Any algorithm of the kind can read the key; _bind says which one it is for.
        reader: Any = _IMPLEMENTED[usual]
        if usual == "ES256":
            reader = _IMPLEMENTED[_OF_JWK_CURVE.get(jwk.get("crv", ""), "ES256")]
        public = reader.from_jwk(jwk)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        raise UnusableKey("its numbers are no key of its kind") from None
    if usual == "HS256":
        return _bind_secret(public, algorithm, kid)
    return _bind(public, algorithm, kid)


_OF_JWK_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PRIVATE: Final = "it is a private key; whoever verifies tokens needs the public one alone"


def _read_pem(content: bytes, algorithm: str | None, kid: str | None) -> Key:
    if b"PRIVATE KEY-----" in content:
        raise UnusableKey(_PRIVATE)
    if not content.startswith(b"-----BEGIN PUBLIC KEY-----"):
        raise UnusableKey(_FORMS)
    try:
        public = load_pem_public_key(content)
    except Exception:  # cryptography raises errors of several kinds
        raise UnusableKey("it is not a public key in PEM form") from None
    return _bind(public, algorithm, kid)


def _bind(public: object, algorithm: str | None, kid: str | None) -> Key:
    """Bind a public key to the algorithm that it is for."""
    possible: tuple[str, ...]
    if isinstance(public, RSAPublicKey):
        possible, usual = _RSA, "RS256"
        if public.key_size < MIN_RSA_BITS:
            raise UnusableKey(f"an RSA key has at least {MIN_RSA_BITS} bits, not {public.key_size}")
    elif isinstance(public, EllipticCurvePublicKey) and public.curve.name in _OF_CURVE:
        usual = _OF_CURVE[public.curve.name]
        possible = (usual,)
    elif isinstance(public, Ed25519PublicKey):
        possible, usual = ("EdDSA",), "EdDSA"
    else:
        raise UnusableKey("it is no RSA, P-256, P-384, P-521 or Ed25519 key")
    algorithm = algorithm or usual
    if algorithm not in possible:
        raise UnusableKey(f"it is for {' or '.join(possible)}, not {algorithm!r}")
    material = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(kid, algorithm, partial(_verify, _IMPLEMENTED[algorithm], public), material)


def _read_secret(content: bytes, algorithm: str | None, kid: str | None) -> Key:
    """Read a file that holds a secret as it is.

    Whatever form a public key has that is not known here, it must not become a secret: everybody
    has it, and could sign tokens with it.
    """
    if algorithm not in _SECRET_BYTES:  # IDENT-60
        raise UnusableKey(f"{_FORMS}, not {algorithm!r}" if algorithm else _FORMS)
    for look, why in _SECRET_LOOKS:  # IDENT-61
        if look.match(content) is not None:
            raise UnusableKey(f"it is not a secret for {algorithm}: it {why}")
    return _bind_secret(content, algorithm, kid)


def _bind_secret(secret: bytes, algorithm: str | None, kid: str | None) -> Key:
    algorithm = algorithm or "HS256"
    least = _SECRET_BYTES.get(algorithm)
    if least is None:
        raise UnusableKey(f"a secret is for {' or '.join(_SECRET_BYTES)}, not {algorithm!r}")
    if len(secret) < least:
        raise UnusableKey(
            f"a secret for {algorithm} has at least {least} bytes, not {len(secret)}, such as "
            "those of: openssl rand -hex 32"
        )
    return Key(kid, algorithm, _hmac_verifier(f"sha{algorithm[2:]}", secret))


def _hmac_verifier(name: str, secret: bytes) -> Callable[[bytes, bytes], bool]:
    """Return what compares signatures with the HMACs of a secret (RFC 2104, section 4).

    The secret is hashed once, and the hashes are copied for each token. The module hmac takes six
    times as long, because OpenSSL looks for the algorithm whenever it is asked.
    """
    size = hashlib.new(name).block_size
    key = (hashlib.new(name, secret).digest() if len(secret) > size else secret).ljust(size, b"\0")
    inner = hashlib.new(name, bytes(byte ^ 0x36 for byte in key))
    outer = hashlib.new(name, bytes(byte ^ 0x5C for byte in key))

    def verify(signed: bytes, signature: bytes) -> bool:
        first, second = inner.copy(), outer.copy()
        first.update(signed)
        second.update(first.digest())
        return hmac.compare_digest(second.digest(), signature)

    return verify


def _verify(implemented: Algorithm, key: Any, signed: bytes, signature: bytes) -> bool:
    try:
        return implemented.verify(signed, key, signature)
    except Exception:  # such as a signature whose length is wrong
        return False
