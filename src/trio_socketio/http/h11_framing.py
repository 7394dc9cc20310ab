"""Requests that h11 reads: everything but whole requests of the common form."""

from collections.abc import Callable
from math import inf

import h11
import trio

from trio_socketio.http.chunks import ChunkFraming
from trio_socketio.http.error_answers import PHRASES
from trio_socketio.http.incoming_body import IncomingBody
from trio_socketio.http.request import Headers, Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, Head, check_head, read_head
from trio_socketio.net.connection import Connection


class H11Framing:
    """The framing of all requests of a connection that were not read without h11.

    It also holds what is read ahead of an answer, whichever way its request was read.

    Args:
        connection: given the deadlines of bodies, and the calls for them.
        timeout_s: how far a body may fall behind.

    Attributes:
        ahead_bytes: how many bytes are held while no body is being read.
    """

    __slots__ = ("_body", "_chunks", "_connection", "_h11", "_timeout_s", "ahead_bytes")

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._timeout_s = timeout_s
        self._body: IncomingBody | None = None  # the one that is being read
        self._chunks: ChunkFraming | None = None  # that of the current body, if it is chunked
        self.ahead_bytes = 0

    def receive(self, data: bytes) -> None:
        """Hold the next bytes.

        Raises:
            h11.RemoteProtocolError: the chunks of the current body are malformed.
        """
        if self._chunks is not None:
            self._chunks.receive(data)
        self.ahead_bytes += len(data)
        self._h11.receive_data(data)

    def held(self) -> bytes:
        """Return the bytes that belong to no part of a request that was read."""
        return self._h11.trailing_data[0]

    def read_head(self, held: bytes) -> Head | None:
        """Read the head of the next request.

        Args:
            held: the result of held().
        Returns:
            None if the head is not complete.
        Raises:
            h11.RemoteProtocolError: it cannot be read, or is refused.
        """
        # h11 refuses what is not a request of HTTP/1 (HTTP-11, HTTP-12, HTTP-26, HTTP-50, HTTP-51,
        # HTTP-54); check_head and read_head refuse more.
        event = self._h11.next_event()
        if type(event) is not h11.Request:
            return None
        rest = self.held()
        self.ahead_bytes = len(rest)
        check_head(held[: len(held) - len(rest)])
        head = read_head(event)
        if "transfer-encoding" in head.headers:
            self._chunks = ChunkFraming()
            self._chunks.receive(rest)
        return head

    def begin_body(self, max_bytes: int) -> None:
        self._body = body = IncomingBody(max_bytes, self._timeout_s, trio.current_time())
        self._connection.set_deadline(body.deadline)
        if self._h11.they_are_waiting_for_100_continue:  # HTTP-18; never with HTTP/1.0: HTTP-64
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self._connection.write(self._h11.send(go_on) or b"")

    def read_on(self, on_whole: Callable[[bytes], None]) -> bool:
        body = self._body
        assert body is not None
        event = self._h11.next_event()  # knows where the body ends: HTTP-55, HTTP-56
        if type(event) is h11.Data:  # the same in whatever chunks it comes: HTTP-20
            body.add(event.data)
            self._connection.set_deadline(body.deadline)
            return True
        if type(event) is not h11.EndOfMessage:
            return False
        self._body = self._chunks = None
        self.ahead_bytes = len(self.held())
        self._connection.set_deadline(inf)
        on_whole(body.joined())
        return True

    def frame_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> tuple[bytes, bool]:
        h11_ = self._h11
        # What follows a request for another protocol need not be HTTP; and an unread body stands
        # before the next request, so there can be none (HTTP-63).
        unread = h11_.their_state is h11.SEND_BODY and _body_is_expected(request)
        closes = unread or "upgrade" in request.headers
        response = h11.Response(
            status_code=status,
            reason=PHRASES[status],
            headers=[
                *headers,
                # To HEAD too (HTTP-61), but not with 304, which has no body to count (HTTP-62).
                *([(b"Content-Length", b"%d" % len(body))] if status != 304 else ()),
                *([(b"Connection", b"close")] if closes else ()),
            ],
        )
        parts = [h11_.send(response) or b""]
        if body and request.method != "HEAD":  # HTTP-17
            parts.append(h11_.send(h11.Data(data=body)) or b"")
        h11_.send(h11.EndOfMessage())  # writes nothing, as the length was told
        # h11 is DONE if both sides keep the connection (HTTP-16, HTTP-59, HTTP-60).
        kept = not closes and h11_.our_state is h11.DONE
        if kept:
            if h11_.their_state is h11.SEND_BODY:
                h11_.next_event()  # the end of a request that has no body
            h11_.start_next_cycle()
        return b"".join(parts), kept

    def is_kept(self, request: Request) -> bool:
        # h11 need not see the answer itself: any will do to take it to the next request.
        return self.frame_answer(request, 204, (), b"")[1]


def _body_is_expected(request: Request) -> bool:
    return (
        request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    )
