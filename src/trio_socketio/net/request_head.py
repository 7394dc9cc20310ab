"""Requests of the common shape, read without h11.

h11 costs 30 to 40 us a request, which is most of a long-polling round trip. What is read here is a
part of what h11 accepts, and means the same: `tests/net/test_request_head.py` feeds both. Anything
unusual is left to h11: a request that is not whole, another method or version, transfer codings,
`Expect`, `Connection: close`, repeated headers.
"""

import re
from typing import Final, NamedTuple

# One way to match each byte: no backtracking, whatever is sent.
_HEAD: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[ \t!-~\x80-\xff]*\r\n){1,64})\r\n"
)
_LEFT_TO_H11: Final = frozenset(("transfer-encoding", "expect", "http2-settings"))
_MAX_LENGTH_DIGITS: Final = 9


class Head(NamedTuple):
    """The head of a whole request.

    Args:
        method: GET or POST.
        target: path and query, ASCII.
        headers: names in lower case.
        size: bytes of the head; the body is what follows.
    """

    method: str
    target: str
    headers: dict[str, str]
    size: int


def parse_head(data: bytes, max_bytes: int) -> Head | None:
    """Read a request that data holds whole, with nothing after it.

    Args:
        data: all that has arrived.
        max_bytes: the largest head.
    Returns:
        None when it is not such a request, or not of the common shape.

    Spec: RFC 9112, sections 2 to 6.
    """
    match = _HEAD.match(data)
    if match is None or match.end() > max_bytes:
        return None
    headers: dict[str, str] = {}
    for line in match[3].decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers or name in _LEFT_TO_H11:
            return None
        headers[name] = value.strip(" \t")
    length = headers.get("content-length", "0")
    if (
        "host" not in headers
        or not length.isdigit()
        or not length.isascii()
        or len(length) > _MAX_LENGTH_DIGITS
        or match.end() + int(length) != len(data)
        or not _stays_open(headers)
    ):
        return None
    return Head(match[1].decode(), match[2].decode(), headers, match.end())


def _stays_open(headers: dict[str, str]) -> bool:
    """Whether the connection is kept, or becomes a WebSocket."""
    connection = headers.get("connection")
    if "upgrade" in headers:
        return connection == "Upgrade" and headers["upgrade"].lower() == "websocket"
    return connection is None or connection.lower() == "keep-alive"
