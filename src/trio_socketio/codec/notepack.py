"""MessagePack as notepack.io writes and reads it, which official peers use in JavaScript.

notepack.io 2 has three extensions of its own, all of type 0: undefined (fixext 1), a Date (fixext
8), an ArrayBuffer (ext 8 to 32). notepack.io 3 writes undefined as nil, a Date as MessagePack's own
timestamp, and an ArrayBuffer as binary.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from trio_socketio.codec.attachments import must_deconstruct
from trio_socketio.codec.builtin_values import to_builtins
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

_SCALARS: Final = frozenset((str, int, float, bool, bytes, type(None)))
_is_text: Final = frozenset((str,)).issuperset

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_any: Final = msgspec.msgpack.Decoder().decode

# -- writing


def encode_value(value: Any) -> bytes:
    """Encode a value as JSON would represent it, except that binary, NaN and infinities stay.

    Raises:
        LocalProtocolError: the value cannot be sent.
    """
    return encode_plain(to_plain(value))


def to_plain(value: Any) -> Any:
    """Rebuild a value as JSON would represent it, except that binary, NaN and infinities stay.

    Raises:
        LocalProtocolError: the value cannot be sent, or is nested too deep.
    """
    if type(value) in _SCALARS or _is_flat(value):
        return value
    must_deconstruct(value)  # called only because it bounds the depth
    # Dates and the like become text, as in JSON: notepack 2 does not read MessagePack's own
    # timestamps.
    return to_builtins(value, value)


def _is_flat(value: Any) -> bool:
    """Whether a value is what most packets have: a few plain arguments, and objects of such."""
    if type(value) is not list and type(value) is not tuple:
        return False
    for item in value:
        if type(item) not in _SCALARS and not (
            type(item) is dict
            and _is_text(map(type, item))
            and _SCALARS.issuperset(map(type, item.values()))
        ):
            return False
    return True


def encode_plain(value: Any) -> bytes:
    """Encode a value that holds nothing but what MessagePack knows.

    Raises:
        LocalProtocolError: it holds something else, such as an integer of more than 64 bits.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise LocalProtocolError("a value to send is nested too deep for MessagePack") from None
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise LocalProtocolError(f"a value to send is not MessagePack: {error}") from error


# -- reading


def decode_extension(code: int, data: memoryview) -> Any:
    """Decode one of notepack's extensions (MSGPACK-02), which are told apart by their size.

    Raises:
        RemoteProtocolError: notepack has no such extension, or the date is out of range.
    """
    if code != 0:
        raise RemoteProtocolError(f"MessagePack extension {code} is unknown")
    if len(data) == 1:
        return None
    if len(data) != 8:
        return bytes(data)
    seconds, milliseconds = divmod(int.from_bytes(data, signed=True), 1000)
    nanoseconds = (milliseconds * 1_000_000).to_bytes(4)
    # MessagePack's own timestamp of 12 bytes: msgspec checks its range and makes the datetime.
    try:
        moment = _decode_any(b"\xc7\x0c\xff" + nanoseconds + seconds.to_bytes(8, signed=True))
    except ValueError:
        raise RemoteProtocolError("a date is out of range") from None
    return date_text(moment)


def date_text(moment: Any) -> str:
    """Return the text that JavaScript gives a date in JSON.

    Args:
        moment: a datetime in UTC.
    """
    text: str = moment.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


# -- before reading

may_hold_small_buffer: Final = re.compile(rb"\xc7[\x01\x08]\x00", re.DOTALL).search
"""Finds what may be an ArrayBuffer of 1 or 8 bytes, which notepack 2 writes as ext 8.

msgspec gives the hook the type of an extension and its data, but not its form, so that such a
buffer would look like undefined or a Date. It must be replaced first.
"""

# The size in bytes of a whole value, by its first byte; 0 if more than that must be read.
_FIXED: Final = [1] * 256
_FIXED[0x80:0xA0] = [0] * 32
_FIXED[0xA0:0xC0] = range(1, 33)
_FIXED[0xC4:0xE0] = (*[0] * 6, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, *[0] * 7)
# How many bytes the length has that follows the first byte.
_LENGTH_BYTES: Final = {
    0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4,
    0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4,
}  # fmt: skip
_EXT_8: Final = 0xC7


def replace_small_buffers(message: bytes) -> bytes:
    """Replace ArrayBuffers in a message by plain binary; a malformed message stays malformed."""
    copied = 0
    parts: list[bytes] = []
    for start, at in _heads(message):
        if message[start] == _EXT_8 and message[at : at + 1] == b"\0":
            parts += (message[copied:start], b"\xc4", message[start + 1 : at])
            copied = at + 1
    return b"".join((*parts, message[copied:]))


def holds_more_values(message: bytes, bound: int) -> bool:
    """Whether a message holds more values than bound; containers and keys count too."""
    # Each value has at least one byte.
    return len(message) > bound and next(islice(_heads(message), bound, None), None) is not None


def _heads(message: bytes) -> Iterator[tuple[int, int]]:
    """Find every value of a message: the index where it begins, and that where its length ends.

    A container is only a head before its items, so the walk need not know how values nest.
    """
    at = 0
    while at < len(message):
        first = message[at]
        if _FIXED[first]:
            yield at, at + 1
            at += _FIXED[first]
            continue
        start, at = at, at + 1 + _LENGTH_BYTES.get(first, 0)
        yield start, at
        if 0xA0 <= first < 0xDC:  # neither an array nor a map, whose items follow
            at += int.from_bytes(message[start + 1 : at])
            if 0xC7 <= first <= 0xC9:  # an extension has its type before its data
                at += 1
