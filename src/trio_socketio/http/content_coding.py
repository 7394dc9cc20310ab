"""Content codings of HTTP: which one a client takes, and how it is made. Spec: RFC 9110, 8.4."""

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
_LAST_BLOCK: Final = b"\x03\x00"  # empty, with the mark of the last
_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ZLIB_HEAD: Final = b"\x78\x01"
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}  # as zlib names these formats


def choose_coding(accept_encoding: str) -> str | None:
    """The coding that the client likes best; None when that is none of ours.

    Items that are not well formed do not count, nor those after the first MAX_ITEMS.

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
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def encode_content(coding: str, body: bytes, level: int) -> bytes:
    """Compress a body by itself; takes no lock, so that a thread can do it."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, _WINDOW_BITS[coding])
    return deflate.compress(body) + deflate.flush()


class ContentCoder:
    """Compresses small bodies one after the other.

    To set up a compressor takes longer than to compress what a chat sends: one serves for all, and
    forgets each body before the next.

    Args:
        level: of zlib.
    """

    def __init__(self, level: int) -> None:
        self._raw = RawDeflate(level)

    def encode(self, coding: str, body: bytes) -> bytes:
        """The body in gzip or deflate. Spec: RFC 1952 and RFC 1950."""
        data = self._raw.compress(body) + _LAST_BLOCK
        if coding == "gzip":
            check = zlib.crc32(body).to_bytes(4, "little")
            return _GZIP_HEAD + data + check + (len(body) & 0xFFFFFFFF).to_bytes(4, "little")
        return _ZLIB_HEAD + data + zlib.adler32(body).to_bytes(4, "big")
