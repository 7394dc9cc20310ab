"""Framing: where the body of a request ends, and how its answer is written.

A request that came whole and in the common form was read without h11 (see request_head.py), and
belongs to the `PlainFraming` of its connection; any other belongs to its `H11Framing`. The peer
cannot tell which: `tests/http/test_framing.py` compares their answers.
"""

from collections.abc import Callable
from typing import Protocol

from trio_socketio.http.error_answers import START_LINES
from trio_socketio.http.request import FixedHeaders, Headers, Request, encode_headers


class Framing(Protocol):
    """Reads the body of the current request, and frames its answer."""

    def begin_body(self, max_bytes: int) -> None:
        """Prepare for the body, which the handler has asked for.

        Args:
            max_bytes: the bound of a body whose length was not given in its head.
        """

    def read_on(self, on_whole: Callable[[bytes], None]) -> bool:
        """Take the next step towards the whole body.

        Args:
            on_whole: called with the body when it is whole.
        Returns:
            Whether another step may follow; otherwise more bytes have to come first.
        Raises:
            h11.RemoteProtocolError: the body is malformed.
            PayloadTooLarge: it is longer than max_bytes.
        """

    def frame_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> tuple[bytes, bool]:
        """Frame an answer, as Request.respond describes it.

        Returns:
            What to send, and whether the next request may follow.
        """

    def is_kept(self, request: Request) -> bool:
        """End an answer that somebody else has framed.

        Returns:
            Whether the next request may follow.
        """


class PlainFraming:
    """The framing of all requests of a connection that were read without h11.

    Attributes:
        body: what followed the head of the current request, which is all of its body.
    """

    __slots__ = ("body",)

    def __init__(self) -> None:
        self.body = b""

    def begin_body(self, max_bytes: int) -> None:
        """Do nothing: the whole body has come."""

    def read_on(self, on_whole: Callable[[bytes], None]) -> bool:
        on_whole(self.body)
        return True

    def frame_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> tuple[bytes, bool]:
        self.body = b""  # nothing is kept while the connection rests
        lines = headers.lines if type(headers) is FixedHeaders else encode_headers(headers)
        # What follows a request for another protocol need not be HTTP.
        close = b"Connection: close\r\n" if "upgrade" in request.headers else b""
        if status == 304:  # without a Content-Length: HTTP-62
            return b"%b%b%b\r\n" % (START_LINES[304], lines, close), not close
        start, size = START_LINES[status], len(body)
        data = b"%b%bContent-Length: %d\r\n%b\r\n%b" % (start, lines, size, close, body)
        return data, not close

    def is_kept(self, request: Request) -> bool:
        self.body = b""
        return "upgrade" not in request.headers
