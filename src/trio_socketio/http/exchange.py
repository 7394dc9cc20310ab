"""The HTTP/1.1 requests of one connection, one after the other.

A request is handed over when its head is complete. Whoever takes it answers it, asks for its body
(`Request.read_body`), or takes the connection over (`Request.switch_protocols`). The next request
is not looked at before this one is answered; until then, a bounded amount is read ahead.
"""

from collections.abc import Callable
from typing import Final

import h11
import trio

from trio_socketio.errors import PayloadTooLarge
from trio_socketio.http.chunks import ChunkFraming
from trio_socketio.http.error_answers import (
    PHRASES,
    ErrorHeaders,
    encode_error,
    explain,
    no_headers,
)
from trio_socketio.http.request import Headers, Request
from trio_socketio.http.request_head import (
    MAX_HEAD_BYTES,
    Head,
    check_head,
    find_origin,
    parse_head,
    read_head,
)
from trio_socketio.net.connection import Connection

READ_AHEAD_BYTES: Final = 64 * 1024
STEPS_PER_TURN: Final = 16
MIN_BODY_BYTES_PER_S: Final = 500
"""A body that arrives at this rate is not cut off by a deadline."""

_CLOSE_LINE: Final = b"Connection: close\r\n"


class HttpReceiver:
    """Reads requests off a connection until it switches to another protocol or ends.

    Args:
        connection: a connection that was just accepted.
        on_request: called with each request, one after the other.
        handshake_timeout_s: how long a head may take to arrive, from the connection's first moment
            or from the first byte of a later request; and how far a body may fall behind
            MIN_BODY_BYTES_PER_S.
        keep_alive_s: how long to wait for the next request.
        error_headers: gives the headers of the errors that are answered here.
    """

    __slots__ = (
        "_ahead",
        "_body",
        "_body_began",
        "_busy",
        "_chunks",
        "_error_headers",
        "_h11",
        "_handshake_timeout_s",
        "_head",
        "_is_first",
        "_keep_alive_s",
        "_max_body_bytes",
        "_on_body",
        "_on_request",
        "_plain_body",
        "_request",
        "_resting",
        "_switched",
        "connection",
    )

    def __init__(
        self,
        connection: Connection,
        on_request: Callable[[Request], None],
        handshake_timeout_s: float,
        keep_alive_s: float,
        error_headers: ErrorHeaders = no_headers,
    ) -> None:
        self.connection = connection
        self._on_request = on_request
        self._handshake_timeout_s = handshake_timeout_s
        self._keep_alive_s = keep_alive_s
        self._error_headers = error_headers
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._request: Request | None = None  # the one that is being read or answered
        self._on_body: Callable[[bytes | None], None] | None = None
        self._max_body_bytes = 0
        self._body = bytearray()  # one buffer, as a list of tiny chunks would take far more memory
        self._body_began = 0.0
        self._ahead = 0  # bytes that h11 holds while an answer is pending
        self._busy = False  # _advance is running
        self._is_first = True  # no request has come yet, and the connection's first deadline runs
        self._chunks: ChunkFraming | None = None  # the framing of the current body, if chunked
        self._switched = False
        self._resting = True  # h11 holds no bytes, and waits for a new request
        self._head: Head | None = None  # the head of a request that was read without h11
        self._plain_body: bytes | None = None  # the body of the current request, if read so
        connection.set_deadline(trio.current_time() + handshake_timeout_s)

    def receive_data(self, data: bytes) -> None:
        if self._resting and self._request is None:
            self._head = head = parse_head(data, MAX_HEAD_BYTES)
            if head is not None:
                self._plain_body = data[head.size :]
                self._advance()
                return
        h11_ = self._h11
        self._resting = False
        if self._request is None:
            # HTTP-03: only the first bytes of a head begin its time, and more of them do not.
            if not self._is_first and not h11_.trailing_data[0]:
                self.connection.set_deadline(trio.current_time() + self._handshake_timeout_s)
        else:
            if self._chunks is not None:
                try:
                    self._chunks.receive(data)
                except h11.RemoteProtocolError as error:
                    self._refuse(error.error_status_hint, str(error))
                    return
            if self._on_body is None:
                self._ahead += len(data)
                if self._ahead > READ_AHEAD_BYTES:  # HTTP-29
                    self.connection.pause_reading(self._keep_alive_s)
        h11_.receive_data(data)
        self._advance()

    def receive_more(self) -> None:
        self._advance()

    def connection_lost(self, reason: str) -> None:
        request, self._request = self._request, None
        if request is not None and not request.answered:
            request.answered = True
            if request.on_abort is not None:
                request.on_abort()

    def _advance(self) -> None:
        """Take steps until bytes or an answer must be waited for, or others need their turn."""
        if self._busy:
            return  # the request was answered inside the loop below, which goes on by itself
        self._busy = True
        steps = STEPS_PER_TURN
        try:
            while not (self._switched or self.connection.closed) and self._step():
                steps -= 1
                if steps == 0:  # other connections need their turn
                    self.connection.hold_reading()
                    self.connection.call_again()
                    return
            if self._switched:
                return
            if self._request is None or self._on_body or self._ahead <= READ_AHEAD_BYTES:
                self.connection.resume_reading()
            else:
                self.connection.pause_reading(self._keep_alive_s)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, explain(error))
        except PayloadTooLarge:
            self._refuse_body()
        finally:
            self._busy = False

    def _refuse_body(self) -> None:
        """Answer 413 without a body, as the reference does (EIO4-80)."""
        on_body, self._on_body = self._on_body, None
        request, self._request = self._request, None  # on_body cannot answer it any more
        origin = None
        if on_body is not None and request is not None:
            origin = request.headers.get("origin")
            request.answered = True
            on_body(None)
        self._refuse(PayloadTooLarge.http_status, "", origin)

    def _step(self) -> bool:
        """Take the next step with the bytes at hand; return whether another one may follow."""
        if self._head is not None:
            self._begin_plain(self._head)
            return False
        request = self._request
        # The body of a request that was read without h11 is at hand when it is asked for.
        if self._plain_body is not None and self._on_body is not None:
            on_body, self._on_body = self._on_body, None
            on_body(self._plain_body)
            return False
        if request is not None and self._on_body is None:
            return False  # the answer is pending, and the next request has to wait (HTTP-15)
        if request is None and self._h11.our_state is self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        if self._h11.their_state is h11.IDLE:
            return self._begin()
        event = self._h11.next_event()  # knows where the body ends: HTTP-55, HTTP-56
        if type(event) is h11.Data:
            self._take(event.data)
        elif type(event) is h11.EndOfMessage:
            self._complete()
        else:  # h11 needs more data, or the request is complete
            return False
        return True

    def _begin(self) -> bool:
        """Take the head of a request out of h11; return whether it was complete and acceptable."""
        data = self._h11.trailing_data[0]
        try:
            # h11 refuses what is not a request of HTTP/1 (HTTP-11, HTTP-12, HTTP-26, HTTP-50,
            # HTTP-51, HTTP-54); check_head and read_head refuse more.
            event = self._h11.next_event()
            if type(event) is not h11.Request:
                self._resting = not data
                return False
            rest = self._h11.trailing_data[0]
            self._ahead = len(rest)
            check_head(data[: len(data) - len(rest)])
            head = read_head(event)
            chunks = None
            if "transfer-encoding" in head.headers:
                chunks = ChunkFraming()
                chunks.receive(rest)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, explain(error), find_origin(data))
            return False
        self._chunks = chunks
        self._take_on(Request(self, head.method, head.target, head.headers))
        return True

    def _begin_plain(self, head: Head) -> None:
        self._head = None
        self._ahead = 0
        self._take_on(Request(self, head.method, head.target, head.headers))
        on_body, self._on_body = self._on_body, None
        if on_body is not None:
            on_body(self._plain_body)

    def _take_on(self, request: Request) -> None:
        self._request = request
        self._is_first = False
        self.connection.set_deadline(float("inf"))
        self._on_request(request)

    def read_body(self, max_bytes: int, on_body: Callable[[bytes | None], None]) -> None:
        request = self._request
        if request is None:
            return  # the peer has gone in the meantime
        self._on_body = on_body
        length = request.headers.get("content-length", "0")
        if int(length) > max_bytes:
            if self._busy:
                raise PayloadTooLarge  # _advance, which handed the request over, answers it
            self._refuse_body()
            return
        if not self._busy:  # bytes that were read ahead are part of the body, or all of it
            self.connection.call_again()
        if self._plain_body is not None:
            return
        self._max_body_bytes = max_bytes
        self._body_began = trio.current_time()
        self.connection.set_deadline(self._body_began + self._handshake_timeout_s)
        if self._h11.they_are_waiting_for_100_continue:  # HTTP-18; never with HTTP/1.0: HTTP-64
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.connection.write(self._h11.send(go_on) or b"")

    def _take(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._max_body_bytes:
            raise PayloadTooLarge
        self._body += data
        patience = self._handshake_timeout_s + len(self._body) / MIN_BODY_BYTES_PER_S  # HTTP-28
        self.connection.set_deadline(self._body_began + patience)

    def _complete(self) -> None:
        on_body, self._on_body = self._on_body, None
        body = bytes(self._body)
        self._body.clear()
        self._chunks = None
        self._ahead = len(self._h11.trailing_data[0])
        if on_body is not None:
            self.connection.set_deadline(float("inf"))
            on_body(body)

    def respond(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        if request is not self._request or self.connection.closed:
            return  # the peer has gone, or was sent an error instead
        self._request = None
        self._on_body = None
        if self._plain_body is not None:
            self._respond_plain(request, status, headers, body)
            return
        h11_ = self._h11
        # An unread body stands before the next request, so there can be none (HTTP-63).
        unread = h11_.their_state is h11.SEND_BODY and self._body_is_expected(request)
        response = h11.Response(
            status_code=status,
            reason=PHRASES[status],
            headers=[
                *headers,
                # To HEAD too (HTTP-61), but not with 304, which has no body to count (HTTP-62).
                *([(b"Content-Length", b"%d" % len(body))] if status != 304 else ()),
                *([(b"Connection", b"close")] if unread or _is_upgrade(request) else ()),
            ],
        )
        parts = [h11_.send(response) or b""]
        if body and request.method != "HEAD":  # HTTP-17
            parts.append(h11_.send(h11.Data(data=body)) or b"")
        parts.append(h11_.send(h11.EndOfMessage()) or b"")
        self.connection.write(b"".join(parts))
        # h11 is DONE if both sides keep the connection (HTTP-16, HTTP-59, HTTP-60).
        if unread or h11_.our_state is not h11.DONE:
            self.connection.finish()
            return
        self._wait_for_next()
        if not self._busy:
            self.connection.call_again()

    def _wait_for_next(self) -> None:
        """Set the deadline for the next request, or for the rest of one that has begun already."""
        patience = self._handshake_timeout_s if self._ahead else self._keep_alive_s
        self.connection.set_deadline(trio.current_time() + patience)

    def _respond_plain(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """Answer a request that was read without h11, with the bytes that h11 would send."""
        self._plain_body = None
        closes = _is_upgrade(request)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if status == 304:  # without a Content-Length: HTTP-62
            self.connection.write(b"HTTP/1.1 304 %b\r\n%b\r\n" % (PHRASES[304], lines))
        else:
            self.connection.write(
                b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b\r\n%b"
                % (status, PHRASES[status], lines, len(body), _CLOSE_LINE if closes else b"", body)
            )
        if closes:
            self.connection.finish()
            return
        self._wait_for_next()
        if self._ahead and not self._busy:
            self.connection.call_again()

    def _body_is_expected(self, request: Request) -> bool:
        return (
            request.headers.get("content-length", "0") != "0"
            or "transfer-encoding" in request.headers
        )

    def switch_protocols(self, headers: Headers) -> tuple[Connection, bytes]:
        self._request = None
        self._switched = True
        connection = self.connection
        connection.resume_reading()  # it may be held, if many requests came before this one
        head = [b"HTTP/1.1 101 Switching Protocols"]
        head += [b"%b: %b" % header for header in headers]
        connection.set_deadline(float("inf"))
        connection.write(b"\r\n".join(head) + b"\r\n\r\n")
        return connection, self._h11.trailing_data[0]

    def _refuse(self, status: int, reason: str, origin: str | None = None) -> None:
        """Answer what cannot be read as a request, or a body that is too long; then close.

        Args:
            status: the status of the answer.
            reason: its body, for a person.
            origin: the origin of the page that sent it, for the CORS headers (HTTP-25); a request
                whose head was read has its own.
        """
        request, self._request = self._request, None
        self._on_body = None
        answered = request is not None and request.answered
        if request is not None and not answered:
            origin = request.headers.get("origin")
            request.answered = True
            if request.on_abort is not None:
                request.on_abort()
        if not answered and self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.connection.write(encode_error(status, reason, self._error_headers(origin)))
        self.connection.finish()


def _is_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers
