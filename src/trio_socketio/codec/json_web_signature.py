"""JSON Web Signatures in their compact form, which is the form of a JWT on the wire.

PyJWT would do this as well, but it looks at every character of a token in Python, which takes three
times as long as all the rest of a login, and longer with a longer token.
"""

import re
from binascii import a2b_base64
from binascii import b2a_base64 as _encode
from typing import Any, Final, NamedTuple

from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import RemoteProtocolError

_COMPACT: Final = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]*)", re.ASCII).fullmatch
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


class SignedToken(NamedTuple):
    """A token that was taken apart. Nothing of it is verified yet.

    Args:
        header: says with which key and algorithm it claims to be signed.
        payload: what is signed, decoded.
        signing_input: the bytes over which the signature is made.
        signature: the signature; empty for ``alg: none``.
    """

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


def is_compact(token: str) -> bool:
    """Whether a token has the form of a JWT: three parts of base64url with dots between them."""
    return _COMPACT(token) is not None


def decode_compact(token: str) -> SignedToken:
    """Take a token apart.

    Args:
        token: its size was bounded by the caller.
    Raises:
        RemoteProtocolError: it does not have this form, or its signature is not written in the one
            way that there is to write it. The message does not show the token.

    Spec: RFC 7515, section 7.1.
    """
    parts = _COMPACT(token)
    if parts is None:
        raise RemoteProtocolError("a JWT is three parts of base64url with dots between them")
    head, body, signature = (part.encode("ascii") for part in parts.groups())
    try:
        header = decode_json(_decode_base64url(head))
    except RemoteProtocolError:
        raise RemoteProtocolError("the header of the JWT is not JSON") from None
    if type(header) is not dict:
        raise RemoteProtocolError("the header of the JWT is not an object")
    decoded = _decode_base64url(signature)
    if _encode(decoded, newline=False).rstrip(b"=").translate(_TO_URL) != signature:
        # Otherwise several tokens would have the same signature. The other parts are signed as
        # they are written.
        raise RemoteProtocolError("the signature of the JWT is not in its canonical form")
    return SignedToken(header, _decode_base64url(body), b"%b.%b" % (head, body), decoded)


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
    if len(part) % 4 == 1:
        raise RemoteProtocolError("a part of the JWT is not base64url")
    return a2b_base64(part.translate(_FROM_URL) + b"=" * (-len(part) % 4))
