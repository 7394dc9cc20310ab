"""Keys of every kind, and tokens that are signed with them."""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from trio_socketio.im.identity.identity import Attempt

SECRET = b"a secret of tests, as long as HS512 demands, and then some, and more"
ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "RS512", "PS256", "ES256", "ES384", "ES512",
              "EdDSA")  # fmt: skip


def private_key(algorithm: str) -> Any:
    """The key that signs; one for all algorithms of a kind."""
    if algorithm.startswith("HS"):
        return SECRET
    return _key("RS256" if algorithm[:2] in ("RS", "PS") else algorithm)


def other_key(algorithm: str) -> Any:
    """Another key of the same kind."""
    return b"another-" * 8 if algorithm.startswith("HS") else _key(algorithm, 2)


@cache
def _key(algorithm: str, number: int = 1) -> Any:
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(algorithm: str) -> bytes:
    key = private_key(algorithm)
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(algorithm: str) -> bytes:
    key = private_key(algorithm)
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public_jwk(algorithm: str, kid: str | None = None, key: Any = None) -> dict[str, Any]:
    public = (private_key(algorithm) if key is None else key).public_key()
    writer: Any = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}[algorithm[0]]
    if algorithm == "EdDSA":
        writer = OKPAlgorithm
    jwk: dict[str, Any] = writer.to_jwk(public, as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "alg": algorithm} | ({} if kid is None else {"kid": kid})


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def write_key(folder: Path, algorithm: str) -> str:
    """A file with the key that verifies; its path."""
    path = folder / f"{algorithm}.key"
    path.write_bytes(SECRET if algorithm.startswith("HS") else public_pem(algorithm))
    return str(path)


def token(
    algorithm: str = "HS256",
    *,
    key: Any = None,
    kid: str | None = None,
    headers: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **claims: Any,
) -> str:
    """A token of ann that is valid for an hour, unless the claims say otherwise."""
    now = int(time.time())
    all_claims = {"sub": "ann", "exp": now + 3600, "iat": now} | claims
    for name in without:
        del all_claims[name]
    head = dict(headers or {}) | ({} if kid is None else {"kid": kid})
    # Not jwt.encode: it refuses to write claims that a server has to refuse.
    return jwt.PyJWS().encode(
        json.dumps(all_claims).encode(),
        private_key(algorithm) if key is None else key,
        algorithm,
        headers=head,
    )


def attempt(text: str, **changes: Any) -> Attempt:
    """An attempt with a token."""
    given: dict[str, Any] = {
        "namespace": "/chat",
        "token": text,
        "auth": {},
        "address": "203.0.113.9",
        "socket": "s" * 20,
        "asked_at_s": time.time(),
    }
    return Attempt(**given | changes)
