"""JSON as the wire carries it: one backend, its errors translated, its depth bounded."""

import re
from typing import Any, Final

import msgspec

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_DEPTH: Final = 512
"""Arrays and objects inside each other. Far above any real message and far enough below
Python's recursion limit that decoding, walking and encoding all stay clear of it."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_CONTAINERS: Final = frozenset((list, dict))

# An escape in JSON text: a surrogate pair, a surrogate on its own (group 1), or any other.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def decode_json(text: bytes) -> Any:
    """Read one JSON text.

    JavaScript strings may hold half of a surrogate pair, and ``JSON.stringify`` writes it as an
    escape; Python has no such text on the wire, so it arrives as U+FFFD.

    Args:
        text: UTF-8.
    Returns:
        dict, list, str, int, float, bool or None.
    Raises:
        RemoteProtocolError: not JSON, not UTF-8, a number out of range, or deeper than MAX_DEPTH.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        value = _decode_lone_surrogates(text, error)
    if len(text) > MAX_DEPTH and _may_be_deeper(text, value) and _is_deeper(value, MAX_DEPTH):
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep")
    return value


def encode_json(value: Any) -> bytes:
    """Write one JSON text; NaN and infinities become null, as ``JSON.stringify`` has it.

    Raises:
        LocalProtocolError: the value holds something JSON cannot carry, or is too deep.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise LocalProtocolError("a value to send is nested too deep for JSON") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"a value to send is not JSON: {error}") from error


def _decode_lone_surrogates(text: bytes, error: ValueError) -> Any:
    if b"\\u" not in text:
        raise RemoteProtocolError(f"malformed JSON: {error}") from None
    try:
        return _decode(_ESCAPE.sub(lambda m: b"\\ufffd" if m[1] else m[0], text))
    except RecursionError:
        raise RemoteProtocolError(f"JSON is nested more than {MAX_DEPTH} deep") from None
    except ValueError:
        raise RemoteProtocolError(f"malformed JSON: {error}") from None


def _may_be_deeper(text: bytes, value: Any) -> bool:
    """The quick looks, cheapest first: a flat array, then too few brackets."""
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
