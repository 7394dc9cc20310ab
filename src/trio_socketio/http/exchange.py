"""HTTP/1.1 requests of one connection, in turn, over h11.

A request is handed over when its head is complete. Whoever takes it either answers, or asks for the
body (`Request.read_body`), or takes the connection away (`Request.switch_protocols`). The next
request is looked at when this one is answered; until then a bounded amount is read ahead.
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
"""A body that keeps coming at this rate is never cut off by a deadline."""

_CLOSE_LINE: Final = b"Connection: close\r\n"


class HttpReceiver:
    """Reads requests off a connection until it switches to another protocol or ends.

    Args:
        connection: freshly accepted.
        on_request: called with each request, in turn.
        handshake_timeout_s: for a head to arrive, counted from the connection's first moment or
            from the first byte of a later request; also the patience with a body that stalls.
        keep_alive_s: how long to wait for a next request.
        error_headers: of the errors that are answered here.
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
        self._body = bytearray()  # however small the chunks that it comes in
        self._body_began = 0.0
        self._ahead = 0  # bytes that h11 holds while an answer is pending
        self._busy = False
        self._is_first = True  # no request has come yet: the connection's own deadline runs
        self._chunks: ChunkFraming | None = None  # of the body of the request in hand
        self._switched = False
        self._resting = True  # h11 has no bytes, and waits for a new request
        self._head: Head | None = None  # of a request that was read without h11
        self._plain_body: bytes | None = None  # of the request in hand, if so read
        connection.set_deadline(trio.current_time() + handshake_timeout_s)

    def receive_data(self, data: bytes) -> None:
        """See Receiver."""
        if self._resting and self._request is None:
            self._head = head = parse_head(data, MAX_HEAD_BYTES)
            if head is not None:
                self._plain_body = data[head.size :]
                self._advance()
                return
        h11_ = self._h11
        self._resting = False
        if self._request is None:
            # HTTP-03: the time for a head is not begun anew by more of it.
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
                if self._ahead > READ_AHEAD_BYTES:
                    self.connection.pause_reading(self._keep_alive_s)
        h11_.receive_data(data)
        self._advance()

    def receive_more(self) -> None:
        """See Receiver: an answer was given outside our own loop."""
        self._advance()

    def connection_lost(self, reason: str) -> None:
        """See Receiver."""
        request, self._request = self._request, None
        if request is not None and not request.answered:
            request.answered = True
            if request.on_abort is not None:
                request.on_abort()

    def _advance(self) -> None:
        """Take events out of h11 for as long as there are any and nobody has to be waited for."""
        if self._busy:
            return  # an answer given from inside the loop: the loop goes on by itself
        self._busy = True
        steps = STEPS_PER_TURN
        try:
            while not (self._switched or self.connection.closed) and self._step():
                steps -= 1
                if steps == 0:  # others want their turn
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
        """Answer 413 with nothing, as the reference does (EIO4-80)."""
        on_body, self._on_body = self._on_body, None
        request, self._request = self._request, None  # the answer is ours
        origin = None
        if on_body is not None and request is not None:
            origin = request.headers.get("origin")
            request.answered = True
            on_body(None)
        self._refuse(PayloadTooLarge.http_status, "", origin)

    def _step(self) -> bool:
        if self._head is not None:
            self._begin_plain(self._head)
            return False
        request = self._request
        if self._plain_body is not None and self._on_body is not None:  # it was asked for late
            on_body, self._on_body = self._on_body, None
            on_body(self._plain_body)
            return False
        if request is not None and self._on_body is None:
            return False  # its answer is pending
        if request is None and self._h11.our_state is self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        if self._h11.their_state is h11.IDLE:
            return self._begin()
        event = self._h11.next_event()
        if type(event) is h11.Data:
            self._take(event.data)
        elif type(event) is h11.EndOfMessage:
            self._complete()
        else:  # nothing more has come, or nothing will
            return False
        return True

    def _begin(self) -> bool:
        """Take the head of a request out of h11; whether there was one."""
        data = self._h11.trailing_data[0]
        try:
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
        """See Request."""
        request = self._request
        if request is None:
            return  # the peer went away before it was asked
        self._on_body = on_body
        length = request.headers.get("content-length", "0")
        if int(length) > max_bytes:
            if self._busy:
                raise PayloadTooLarge  # to whoever handed the request over
            self._refuse_body()
            return
        if not self._busy:  # what was read ahead belongs to the body, or the body is there
            self.connection.call_again()
        if self._plain_body is not None:
            return
        self._max_body_bytes = max_bytes
        self._body_began = trio.current_time()
        self.connection.set_deadline(self._body_began + self._handshake_timeout_s)
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.connection.write(self._h11.send(go_on) or b"")

    def _take(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._max_body_bytes:
            raise PayloadTooLarge
        self._body += data
        patience = self._handshake_timeout_s + len(self._body) / MIN_BODY_BYTES_PER_S
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
        """See Request."""
        if request is not self._request or self.connection.closed:
            return  # the peer went away, or is being answered an error already
        self._request = None
        self._on_body = None
        if self._plain_body is not None:
            self._respond_plain(request, status, headers, body)
            return
        h11_ = self._h11
        unread = h11_.their_state is h11.SEND_BODY and self._body_is_expected(request)
        response = h11.Response(
            status_code=status,
            reason=PHRASES[status],
            headers=[
                *headers,
                *([(b"Content-Length", b"%d" % len(body))] if status != 304 else ()),
                *([(b"Connection", b"close")] if unread or _is_upgrade(request) else ()),
            ],
        )
        parts = [h11_.send(response) or b""]
        if body and request.method != "HEAD":
            parts.append(h11_.send(h11.Data(data=body)) or b"")
        parts.append(h11_.send(h11.EndOfMessage()) or b"")
        self.connection.write(b"".join(parts))
        if unread or h11_.our_state is not h11.DONE:
            self.connection.finish()
            return
        self._wait_for_next()
        if not self._busy:
            self.connection.call_again()

    def _wait_for_next(self) -> None:
        """Give the peer its time: for a request, or for the rest of one that has begun."""
        patience = self._handshake_timeout_s if self._ahead else self._keep_alive_s
        self.connection.set_deadline(trio.current_time() + patience)

    def _respond_plain(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """What h11 would send."""
        self._plain_body = None
        closes = _is_upgrade(request)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if status == 304:  # has no body, and its length would be told of the one that it stands for
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
        """See Request."""
        self._request = None
        self._switched = True
        connection = self.connection
        connection.resume_reading()  # requests before this one may have held it
        head = [b"HTTP/1.1 101 Switching Protocols"]
        head += [b"%b: %b" % header for header in headers]
        connection.set_deadline(float("inf"))
        connection.write(b"\r\n".join(head) + b"\r\n\r\n")
        return connection, self._h11.trailing_data[0]

    def _refuse(self, status: int, reason: str, origin: str | None = None) -> None:
        """Answer what cannot be read as a request, or a body that is too long; then close.

        The origin is that of the page that asks; a request that is in hand knows it better.
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
