"""Answers to what cannot be read as a request: their bytes, and what they do not repeat."""

from http import HTTPStatus

import h11
import pytest

from trio_socketio.http.error_answers import (
    PHRASES,
    START_LINES,
    encode_error,
    explain,
    no_headers,
)

INFORMED = {101, 200, 204, 304, 308}
REFUSED = {400, 401, 403, 404, 405, 409, 413, 415, 426, 429, 431}
FAILED = {500, 501, 503, 504, 505}

# Python still has the name that RFC 9110 has replaced.
RENAMED = {413: b"Content Too Large"}


def test_each_status_has_the_phrase_of_rfc_9110() -> None:
    assert set(PHRASES) == INFORMED | REFUSED | FAILED
    for status, phrase in PHRASES.items():
        assert phrase == RENAMED.get(status, HTTPStatus(status).phrase.encode()), status
        assert START_LINES[status] == b"HTTP/1.1 %d %b\r\n" % (status, phrase)


def test_an_error_says_why_and_that_the_connection_closes() -> None:
    assert encode_error(431, "too many headers") == (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 16\r\n"
        b"Connection: close\r\n\r\n"
        b"too many headers"
    )


def test_an_error_without_a_reason_has_no_type() -> None:
    assert encode_error(413, "", [(b"Vary", b"Origin")]) == (
        b"HTTP/1.1 413 Content Too Large\r\n"
        b"Vary: Origin\r\n"
        b"Content-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_a_status_without_a_phrase_is_sent_with_that_of_400() -> None:
    assert encode_error(499, "").startswith(b"HTTP/1.1 499 Bad Request\r\n")


def test_a_reason_is_sent_in_ascii() -> None:
    head, _, body = encode_error(400, "é").partition(b"\r\n\r\n")
    assert body == b"\\xe9"
    assert b"\r\nContent-Length: 4\r\n" in head


def test_no_page_is_named_unless_somebody_says_so() -> None:
    assert no_headers("http://a.example") == no_headers(None) == ()


@pytest.mark.req("HTTP-24")
@pytest.mark.parametrize(
    ("message", "explained"),
    [
        ("no request line received", "no request line received"),
        ("illegal request line: b'Zq7'", "illegal request line"),
        ("illegal chunk header: bytearray(b'Zq7')", "illegal chunk header"),
        ("malformed chunk footer: b\"Zq'7\" (expected b'\\r\\n')", "malformed chunk footer"),
        ("bad Content-Length", "bad Content-Length"),
    ],
)
def test_what_an_error_quotes_is_left_out(message: str, explained: str) -> None:
    assert explain(h11.RemoteProtocolError(message)) == explained
