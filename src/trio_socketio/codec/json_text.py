"""JSON as it is on the wire. Errors of msgspec are translated here, and depth is bounded."""

import re
from typing import Any, Final

import msgspec

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_DEPTH: Final = 512
"""The most arrays and objects that may be nested. It is far above what any real message has, and
so far below Python's recursion limit that decoding, walking and encoding never come near it."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_CONTAINERS: Final = frozenset((list, dict))

# Matches an escape in JSON text: a surrogate pair, a lone surrogate (group 1), or any other one.
# The others must be consumed too: in \\ud800, which is an escaped backslash and plain text, the
# second backslash would match otherwise.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]").search


def decode_json(text: bytes) -> Any:
    """Decode one JSON text.

    A JavaScript string may hold half of a surrogate pair, which ``JSON.stringify`` writes as an
    escape. UTF-8 cannot encode it, so it is decoded as U+FFFD (SIO5-47).

    Args:
        text: UTF-8.
    Returns:
        dict, list, str, int, float, bool or None.
    Raises:
        RemoteProtocolError: the text is not JSON or not UTF-8, a number is out of range, or the
            value is nested deeper than MAX_DEPTH.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        value = _decode_lone_surrogates(text, error)
    # SIO5-45. The cheapest test comes first: a text of MAX_DEPTH bytes cannot be nested deeper.
    if len(text) > MAX_DEPTH and _may_be_deeper(text, value) and _is_deeper(value, MAX_DEPTH):
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep")
    return value


def encode_json(value: Any) -> bytes:
    """Encode a value as JSON; NaN and the infinities become null, as with ``JSON.stringify``.

    Raises:
        LocalProtocolError: the value holds something that JSON cannot carry, or is nested too deep.
    """
    try:
        return _encode(value)  # msgspec writes NaN and the infinities as null (SIO5-46)
    except RecursionError:
        raise LocalProtocolError("a value to send is nested too deep for JSON") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"a value to send is not JSON: {error}") from error


def replace_lone_surrogates(text: bytes) -> bytes:
    """Replace each escaped half of a surrogate pair by U+FFFD, as decode_json reads it."""
    if _SURROGATE(text) is None:
        return text
    return _ESCAPE.sub(lambda m: b"\\ufffd" if m[1] else m[0], text)


def _decode_lone_surrogates(text: bytes, error: ValueError) -> Any:
    if b"\\u" not in text:
        raise RemoteProtocolError(f"malformed JSON: {error}") from None
    try:
        return _decode(replace_lone_surrogates(text))
    except RecursionError:
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep") from None
    except ValueError:
        raise RemoteProtocolError(f"malformed JSON: {error}") from None


def _may_be_deeper(text: bytes, value: Any) -> bool:
    """Whether a walk is needed: not for a flat array, nor for a text with too few brackets."""
    if type(value) is list and _CONTAINERS.isdisjoint(map(type, value)):
        return False
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node if type(node) is list else node.values())
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True
