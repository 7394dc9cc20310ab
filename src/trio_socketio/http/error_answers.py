"""Answers to what cannot be read as a request. They repeat nothing that the peer sent (HTTP-24)."""

import re
from collections.abc import Callable
from typing import Final

from trio_socketio.http.request import Headers, encode_headers

ErrorHeaders = Callable[[str | None], Headers]
"""Gives the headers that let pages of an origin read an error; None stands for an unknown one."""

PHRASES: Final = {
    101: b"Switching Protocols",
    200: b"OK",
    204: b"No Content",
    304: b"Not Modified",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}

START_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, phrase) for status, phrase in PHRASES.items()
}
"""The beginning of an answer, by its status."""

_TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_QUOTED: Final = re.compile(r"[:(]? *\b(?:bytearray\()?b['\"]")
"""Matches where the message of an h11 error begins to quote the peer."""


def no_headers(_: str | None) -> Headers:
    """Give no headers, so that no page of another origin can read an error."""
    return ()


def explain(error: Exception) -> str:
    """Return the message of an h11 error without the bytes of the peer that it quotes."""
    return _QUOTED.split(str(error), maxsplit=1)[0]  # HTTP-24


def encode_error(status: int, reason: str, headers: Headers = ()) -> bytes:
    """Encode a whole answer, after which the connection is closed.

    Args:
        status: one of PHRASES; any other is sent with the phrase of 400.
        reason: the body, in ASCII; with an empty one there is no content type.
        headers: further headers, such as those of CORS (HTTP-25).
    """
    body = reason.encode("ascii", "backslashreplace")
    every = [*([_TEXT] if body else []), *headers, (b"Content-Length", b"%d" % len(body))]
    lines = encode_headers(every)
    phrase = PHRASES.get(status, PHRASES[400])
    return b"HTTP/1.1 %d %b\r\n%bConnection: close\r\n\r\n%b" % (status, phrase, lines, body)
