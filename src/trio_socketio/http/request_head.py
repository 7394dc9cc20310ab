"""Reads requests of the common form without h11, and checks what h11 has read.

h11 takes 30 to 40 us for a request, which is most of a long-polling round trip. `parse_head` reads
a part of what h11 accepts, with the same meaning; `tests/http/test_request_head.py` gives the same
requests to both. Anything unusual is left to h11: a request that is not whole, another method or
version, transfer codings, `Expect`, `Connection: close`, repeated headers.

What h11 reads is checked by `check_head` and `read_head`, because h11 accepts control characters in
values, lines that end in LF alone, and a head of any size if it arrives whole.
"""

import re
from typing import Final, NamedTuple

import h11

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 64

# There is only one way to match each byte, so this does not backtrack, whatever is sent.
_HEAD: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[ \t!-~\x80-\xff]*\r\n){1,64})\r\n"
)
_UNSAFE: Final = re.compile(rb"(?<!\r)\n|\r[^\n]|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
"""Finds a bare LF or CR, a folded header, or any other control character but the tab."""

_TARGET: Final = re.compile(r"(?:/|[A-Za-z][-+.0-9A-Za-z]*://([^/?#]+)(?:[/?#]|\Z)).*").fullmatch
_HOST: Final = re.compile(
    r"(?:[-._~!$&'()*+,;=%0-9A-Za-z]*|\[[-._~%:0-9A-Za-z]+\])(?::[0-9]*)?"
).fullmatch
_ORIGIN: Final = re.compile(rb"\norigin:[ \t]*([!-~]+)[ \t]*(?=\r\n)", re.IGNORECASE).findall

_LEFT_TO_H11: Final = frozenset(("transfer-encoding", "expect", "http2-settings"))
_MAX_LENGTH_DIGITS: Final = 9


class Head(NamedTuple):
    """The head of a request.

    Args:
        method: the method; GET or POST if it was read by parse_head.
        target: the target as it was sent, in ASCII.
        headers: by their names in lower case.
        size: the length of the head in bytes; 0 if it was read by h11.
    """

    method: str
    target: str
    headers: dict[str, str]
    size: int


def parse_head(data: bytes, max_bytes: int) -> Head | None:
    """Read the head of a request that is whole, with nothing after it.

    Args:
        data: all that has arrived.
        max_bytes: the largest head.
    Returns:
        None if data is not one whole request of the common form.

    Spec: RFC 9112, sections 2 to 6.
    """
    match = _HEAD.match(data)
    if match is None or (size := match.end()) > max_bytes:
        return None
    method, target, block = match.groups()
    lines = block.decode("latin-1").split("\r\n")
    del lines[-1]  # empty: it is what follows the last line
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    length = headers.get("content-length", "0")
    if (
        len(headers) != len(lines)  # a header is repeated
        or not _LEFT_TO_H11.isdisjoint(headers)
        or _HOST(headers.get("host", "/")) is None
        or not length.isdigit()
        or not length.isascii()
        or len(length) > _MAX_LENGTH_DIGITS
        or size + int(length) != len(data)
    ):
        return None
    connection = headers.get("connection")
    if "upgrade" in headers:
        if connection != "Upgrade" or headers["upgrade"].lower() != "websocket":
            return None
    elif connection is not None and connection.lower() != "keep-alive":
        return None
    # Not Head(...), which is a call of Python for each request.
    return tuple.__new__(Head, (method.decode(), target.decode(), headers, size))


def check_head(head: bytes) -> None:
    """Refuse a head that is too large, or that h11 accepts and other programs read differently.

    Raises:
        h11.RemoteProtocolError: the head is refused.

    Spec: RFC 9112, sections 2.2 and 5; RFC 9110, section 5.5; RFC 6585, section 5.
    """
    if len(head) > MAX_HEAD_BYTES:  # HTTP-01
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    if _UNSAFE(head) is not None:  # HTTP-04, HTTP-05, HTTP-52
        raise h11.RemoteProtocolError("the head has a control character or a folded line")


def read_head(event: h11.Request) -> Head:
    """Take the head of a request over from h11.

    Raises:
        h11.RemoteProtocolError: h11 accepts the request, but it is refused.

    Spec: RFC 9112, sections 2 to 6.
    """
    if len(event.headers) > MAX_HEADERS:  # HTTP-02
        raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
    if event.http_version not in (b"1.0", b"1.1"):  # HTTP-14
        raise h11.RemoteProtocolError("HTTP/1.1 is spoken here", error_status_hint=505)
    if event.method == b"CONNECT":  # HTTP-13
        raise h11.RemoteProtocolError("this is not a proxy", error_status_hint=405)
    headers: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    if "transfer-encoding" in headers and (
        "content-length" in headers or event.http_version < b"1.1"
    ):
        raise h11.RemoteProtocolError("where the body ends is ambiguous")  # HTTP-10, HTTP-53
    if event.http_version < b"1.1":
        headers.pop("upgrade", None)  # HTTP-09
    method, target = event.method.decode("ascii"), event.target.decode("ascii")
    if not (method == "OPTIONS" and target == "*"):
        match = _TARGET(target)
        if match is None:
            raise h11.RemoteProtocolError("the target is not a path or a URL")  # HTTP-07
        if match[1] is not None:
            headers["host"] = match[1]  # HTTP-08: the Host header does not count then
    if _HOST(headers.get("host", "")) is None:  # HTTP-06
        raise h11.RemoteProtocolError("the host is not a name or an address")
    return Head(method, target, headers, 0)


def find_origin(head: bytes) -> str | None:
    """Find the origin in a head that could not be read, as far as it has arrived.

    Returns:
        None if it names no origin, or several.
    """
    end = head.find(b"\r\n\r\n")
    origins = _ORIGIN(head if end < 0 else head[: end + 2])
    return origins[0].decode("ascii") if len(origins) == 1 else None
