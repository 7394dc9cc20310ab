"""Content codings of HTTP: chooses one that a client accepts, and encodes bodies.

Spec: RFC 9110, section 8.4.
"""

import re
import zlib
from typing import Final

from trio_socketio.net.deflate import RawDeflate

CODINGS: Final = ("gzip", "deflate")
MAX_ITEMS: Final = 32

_ITEM: Final = re.compile(
    r"[ \t]*([-!#$%&'*+.^_`|~0-9A-Za-z]+)[ \t]*"
    r"(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
).fullmatch
_LAST_BLOCK: Final = b"\x03\x00"  # an empty block that is marked as the last one
_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ZLIB_HEAD: Final = b"\x78\x01"
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}  # as zlib names these formats


def choose_coding(accept_encoding: str) -> str | None:
    """Choose the coding that a client prefers.

    Items that are not well formed are ignored, and so are those after the first MAX_ITEMS.

    Args:
        accept_encoding: the value of the header; empty if there is none.
    Returns:
        One of CODINGS; None if the client accepts neither, or prefers the body as it is.

    Spec: RFC 9110, section 12.5.3.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.split(",", MAX_ITEMS)[:MAX_ITEMS]:
        match = _ITEM(item)
        if match is not None:
            name = match[1].lower()
            weights.setdefault("gzip" if name == "x-gzip" else name, float(match[2] or 1))
    others = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None  # EIO4-73


def encode_content(coding: str, body: bytes, level: int) -> bytes:
    """Compress a body with a compressor of its own, so that it can be done in any thread."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, _WINDOW_BITS[coding])
    return deflate.compress(body) + deflate.flush()


class ContentCoder:
    """Compresses small bodies one after the other.

    To set up a compressor takes 55 us, and to compress a message of 1 KB 9 us. So one compressor is
    used for all bodies; it forgets each of them before the next, so that the size of one tells
    nothing about another.

    Args:
        level: the level of zlib.
    """

    def __init__(self, level: int) -> None:
        self._raw = RawDeflate(level)

    def encode(self, coding: str, body: bytes) -> bytes:
        """Compress a body as gzip or deflate. Spec: RFC 1952 and RFC 1950."""
        data = self._raw.compress(body) + _LAST_BLOCK
        if coding == "gzip":
            check = zlib.crc32(body).to_bytes(4, "little")
            return _GZIP_HEAD + data + check + (len(body) & 0xFFFFFFFF).to_bytes(4, "little")
        return _ZLIB_HEAD + data + zlib.adler32(body).to_bytes(4, "big")
