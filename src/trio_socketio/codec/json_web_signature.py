"""JSON Web Signatures in their compact form, which is the form of a JWT on the wire.

PyJWT would do this as well, but it looks at every character of a token in Python, which takes three
times as long as all the rest of a login, and longer with a longer token.
"""

import re
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import RemoteProtocolError

_COMPACT: Final = re.compile(r"([\w-]+)\.[\w-]+\.[\w-]*", re.ASCII).fullmatch
_HEADERS: Final = 64
"""How many headers are remembered. Those of an issuer are all the same, for each of its keys."""
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST: Final = (_ALPHABET, b"", _ALPHABET[::16], _ALPHABET[::4])
"""The last characters of base64url, by its length modulo 4: the bits to spare are zero. No text
has a length of one more than a multiple of 4."""
_PADDING: Final = (b"", b"", b"==", b"=")
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From base64url to base64, whose own characters become one that is in neither alphabet."""


class SignedToken(msgspec.Struct, frozen=True):
    """A token that was taken apart. Nothing of it is verified yet.

    Args:
        header: says with which key and algorithm it claims to be signed.
        payload: what is signed, decoded.
        signing_input: the bytes over which the signature is made.
        signature: the signature; empty for ``alg: none``.
    """

    header: Mapping[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


def is_compact(token: str) -> bool:
    """Whether a token is a JWT, good or bad: three parts, the first of which names an algorithm.

    Other kinds of tokens have three parts, too.
    """
    parts = _COMPACT(token)
    if parts is None:
        return False
    try:
        return "alg" in _decode_header(parts[1].encode("ascii"))
    except RemoteProtocolError:
        return False


def decode_compact(token: str) -> SignedToken:
    """Take a token apart.

    Args:
        token: its size was bounded by the caller.
    Raises:
        RemoteProtocolError: it does not have this form, or a part is not written in the one way
            that there is to write it. The message does not show the token.

    Spec: RFC 7515, section 7.1.
    """
    text = token.encode("ascii", "replace")  # what cannot be encoded becomes "?", which is refused
    signing_input, _, signature = text.rpartition(b".")
    header, _, payload = signing_input.partition(b".")
    if not payload:
        raise RemoteProtocolError("a JWT is three parts of base64url with dots between them")
    return SignedToken(
        _decode_header(header),
        _decode_base64url(payload),
        signing_input,
        _decode_base64url(signature),
    )


@lru_cache(_HEADERS)
def _decode_header(part: bytes) -> Mapping[str, Any]:
    """Decode the header of a token; it is not changed by anybody."""
    try:
        header = decode_json(_decode_base64url(part))
    except RemoteProtocolError:
        raise RemoteProtocolError("the header of the JWT is not JSON") from None
    if type(header) is not dict:
        raise RemoteProtocolError("the header of the JWT is not an object")
    return header


def decode_claims(payload: bytes) -> dict[str, Any]:
    """Decode the payload of a token whose signature was verified.

    Raises:
        RemoteProtocolError: it is not a JSON object.
    """
    try:
        claims = decode_json(payload)
    except RemoteProtocolError:
        raise RemoteProtocolError("the claims of the JWT are not JSON") from None
    if type(claims) is not dict:
        raise RemoteProtocolError("the claims of the JWT are not an object")
    return claims


def _decode_base64url(part: bytes) -> bytes:
    """Decode base64url without padding."""
    if part and part[-1] not in _LAST[len(part) % 4]:
        # Otherwise several tokens would have the same signature, and PyJWT refuses them as well.
        raise RemoteProtocolError("a part of the JWT is not base64url in its canonical form")
    try:
        return a2b_base64(part.translate(_FROM_URL) + _PADDING[len(part) % 4], strict_mode=True)
    except ValueError:
        raise RemoteProtocolError("a part of the JWT is not base64url") from None
