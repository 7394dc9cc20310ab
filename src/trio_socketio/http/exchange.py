"""The HTTP/1.1 requests of one connection, one after the other.

A request is handed over when its head is complete. Its handler answers it, asks for its body
(`Request.read_body`), or takes the connection over (`Request.switch_protocols`). The next request
is not looked at before this one is answered; until then, a bounded amount is read ahead.

`HttpReceiver` drives the table of `protocol/http_exchange.py`. How a request is read and its answer
is written is the matter of its `Framing`.
"""

import logging
from collections.abc import Callable
from math import inf
from typing import Final

import h11

from trio_socketio.errors import PayloadTooLarge
from trio_socketio.http.error_answers import ErrorHeaders, encode_error, explain, no_headers
from trio_socketio.http.framing import Framing, PlainFraming
from trio_socketio.http.h11_framing import H11Framing
from trio_socketio.http.request import Headers, Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, Head, find_origin, parse_head
from trio_socketio.net.connection import Connection
from trio_socketio.protocol.connection import CLOSED
from trio_socketio.protocol.http_exchange import AT_REST, TRANSITIONS, Input, State, advance

log = logging.getLogger(__name__)

READ_AHEAD_BYTES: Final = 64 * 1024
STEPS_PER_TURN: Final = 16

# What every short request uses: a member of an enumeration takes 0.1 us to look up.
_BODY: Final = State.BODY
_ON_REQUEST: Final = TRANSITIONS[Input.REQUEST]
_ON_READ: Final = TRANSITIONS[Input.READ]
_ON_WHOLE: Final = TRANSITIONS[Input.WHOLE]
_ON_ANSWER: Final = TRANSITIONS[Input.ANSWER]

OnBody = Callable[[bytes | None], None]


def _ignore_body(_: bytes | None) -> None:
    """Stand in for the callback of a body that is not needed."""


class HttpReceiver:
    """Reads requests off a connection until it switches to another protocol or ends.

    It has 23 methods, because a request can be answered in one piece, in several that somebody else
    has framed, or by another protocol.

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
        "_error_headers",
        "_framing",
        "_h11",
        "_handshake_timeout_s",
        "_in_turn",
        "_keep_alive_s",
        "_on_body",
        "_on_request",
        "_plain",
        "_request",
        "_state",
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
        self._state = State.FRESH
        self._request: Request | None = None  # the one that is pending
        self._plain = PlainFraming()
        self._framing: Framing = self._plain  # that of the pending request
        self._on_body: OnBody = _ignore_body
        self._h11: H11Framing | None = None  # made for the first bytes that need it
        self._in_turn = False  # the connection's turn is running, and goes on after an answer
        connection.set_deadline(connection.owner.deadlines.now() + handshake_timeout_s)

    @property
    def is_at_rest(self) -> bool:
        """Whether every request was answered, and nothing of the next one has come."""
        return self._state in AT_REST

    # -- reading

    def receive_data(self, data: bytes) -> None:
        """Take a turn: go on until bytes or an answer must be waited for, or others have theirs."""
        self._in_turn = True
        try:
            if self._state in AT_REST and data:
                head = parse_head(data, MAX_HEAD_BYTES)
                if head is not None:
                    self._plain.body = body = data[head.size :]
                    self._hand_over(head, self._plain)
                    if self._state is _BODY:
                        self._hand_over_body(body)
                    return  # nothing is held that could follow
                self._begin_head()
            if data:
                self._hold(data)
            for _ in range(STEPS_PER_TURN):
                if self.connection.closed or not self._step():
                    break
            else:  # other connections need their turn
                self.connection.hold_reading()
                self.connection.call_again()
                return
            self._read_or_pause()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, explain(error))
        except PayloadTooLarge:
            self._refuse_body()
        finally:
            self._in_turn = False

    def receive_more(self) -> None:
        self.receive_data(b"")

    def connection_lost(self, reason: str) -> None:
        self._state = advance(self._state, Input.END)
        request = self._release_request()
        if request is not None:
            _abort(request)

    def _begin_head(self) -> None:
        """Take note that a head has begun, which has its time from now on.

        The first one has what is left of the connection's time instead (HTTP-03).
        """
        is_later = self._state is State.RESTING
        self._state = advance(self._state, Input.BYTES)
        if is_later:
            now = self.connection.owner.deadlines.now()
            self.connection.set_deadline(now + self._handshake_timeout_s)

    def _hold(self, data: bytes) -> None:
        if self._h11 is None:
            self._h11 = H11Framing(self.connection, self._handshake_timeout_s)
        self._h11.receive(data)

    def _step(self) -> bool:
        """Take the next step with the bytes at hand; return whether another one may follow."""
        if self._state is State.HEAD and self._h11 is not None:
            return self._read_head(self._h11)
        if self._state is _BODY:
            return self._framing.read_on(self._hand_over_body)
        return False  # an answer is pending, and the next request has to wait (HTTP-15)

    def _read_head(self, framing: H11Framing) -> bool:
        """Hand the next request over; return whether its head was complete and acceptable."""
        held = framing.held()
        try:
            head = framing.read_head(held)
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # RUN-44: h11's frames refer to the error, and to us
            self._refuse(error.error_status_hint, explain(error), find_origin(held))
            return False
        if head is None:
            return False
        self._hand_over(head, framing)
        return True

    def _read_or_pause(self) -> None:
        """Read on, unless as much is held behind a pending answer as may be (HTTP-29)."""
        if self._state is State.ANSWERING or self._state is State.COMPLETE:
            if self._h11 is not None and self._h11.ahead_bytes > READ_AHEAD_BYTES:
                self.connection.pause_reading(self._keep_alive_s)
                return
        elif self._state is State.SWITCHED:
            return
        self.connection.resume_reading()

    # -- the request that is pending

    def _hand_over(self, head: Head, framing: Framing) -> None:
        self._state = _ON_REQUEST[self._state]
        self._framing = framing
        method, target, headers, _ = head
        self._request = request = Request(self, method, target, headers)
        self.connection.set_deadline(inf)
        self._on_request(request)

    def _hand_over_body(self, body: bytes) -> None:
        self._state = _ON_WHOLE[self._state]
        self._on_body(body)

    def release(self) -> None:
        """Ask for the answer to the pending request now, if there is one."""
        if self._request is not None:
            self._request.release()

    def _release_request(self) -> Request | None:
        """Forget the pending request; nothing is kept for it any more."""
        request, self._request = self._request, None
        self._on_body = _ignore_body
        return request

    def read_body(self, max_bytes: int, on_body: OnBody) -> None:
        request = self._request
        if request is None:
            return  # the peer has gone in the meantime
        self._state = _ON_READ[self._state]
        self._on_body = on_body
        if int(request.headers.get("content-length", "0")) > max_bytes:
            if self._in_turn:
                raise PayloadTooLarge  # receive_data, which handed the request over, answers it
            self._refuse_body()
            return
        if not self._in_turn:  # bytes that were read ahead are part of the body, or all of it
            self.connection.call_again()
        self._framing.begin_body(max_bytes)

    def respond(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        connection = self.connection
        if request is not self._request or connection.life is CLOSED:
            return  # the peer has gone, or was sent an error instead
        data, kept = self._framing.frame_answer(request, status, headers, body)
        connection.write(data)
        self._end_answer(kept=kept)

    def pass_on(self, request: Request, data: bytes, *, is_last: bool, closes: bool) -> None:
        connection = self.connection
        if request is self._request and connection.life is not CLOSED:  # else the peer has gone
            connection.write(data)
            if is_last:
                self._end_answer(kept=not closes and self._framing.is_kept(request))

    def _end_answer(self, *, kept: bool) -> None:
        connection = self.connection
        self._request = None
        self._on_body = _ignore_body
        if not kept:
            self._state = advance(self._state, Input.END)
            connection.finish()
            return
        self._state = _ON_ANSWER[self._state]
        if self._h11 is not None and self._h11.ahead_bytes:
            self._begin_head()
            if not self._in_turn:
                connection.call_again()
        else:
            connection.set_deadline(connection.owner.deadlines.now() + self._keep_alive_s)

    def switch_protocols(self, headers: Headers) -> tuple[Connection, bytes]:
        connection, held = self.take_over()
        head = [b"HTTP/1.1 101 Switching Protocols"]
        head += [b"%b: %b" % header for header in headers]
        connection.write(b"\r\n".join(head) + b"\r\n\r\n")
        return connection, held

    def take_over(self) -> tuple[Connection, bytes]:
        connection = self.connection
        if self._state is not State.ENDED:  # else the peer has gone, and nothing is sent
            self._state = advance(self._state, Input.SWITCH)
        self._release_request()
        connection.resume_reading()  # it may be held, if many requests came before this one
        return connection, b"" if self._h11 is None else self._h11.held()

    # -- refusing

    def _refuse(self, status: int, reason: str, origin: str | None = None) -> None:
        """Answer what cannot be read as a request; then close.

        Args:
            status: the status of the answer.
            reason: its body, for a person.
            origin: the origin of the page that sent it, for the CORS headers (HTTP-25); a request
                whose head was read has its own.
        """
        log.debug("refused a request from %s: %d, %s", self.connection.address, status, reason)
        self._state = advance(self._state, Input.REFUSE)
        request = self._release_request()
        if request is not None:
            origin = request.headers.get("origin")
            _abort(request)
        self._send_error(status, reason, origin)

    def _refuse_body(self) -> None:
        """Answer 413 without a body, as the reference does (EIO4-80); then close."""
        log.debug("refused a request from %s: its body is too large", self.connection.address)
        self._state = advance(self._state, Input.REFUSE)
        on_body = self._on_body
        request = self._release_request()
        assert request is not None  # the one whose handler has asked for the body
        request.answered = True  # on_body cannot answer it any more
        on_body(None)
        self._send_error(PayloadTooLarge.http_status, "", request.headers.get("origin"))

    def _send_error(self, status: int, reason: str, origin: str | None) -> None:
        self.connection.write(encode_error(status, reason, self._error_headers(origin)))
        self.connection.finish()


def _abort(request: Request) -> None:
    """Tell whoever has the request that it cannot be answered any more."""
    if not request.answered:
        request.answered = True
        if request.on_abort is not None:
            request.on_abort()
