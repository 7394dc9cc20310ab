"""One connection on the control socket: a backend, an operator's terminal, a script."""

import logging
import re
from functools import partial
from math import inf
from typing import Any, Final, Protocol

import trio
from msgspec import Raw

from trio_socketio.codec.json_rpc import (
    NULL,
    Code,
    Message,
    Response,
    decode_messages,
    encode_error,
    encode_request,
)
from trio_socketio.control.api import Greeting
from trio_socketio.control.call_queue import CallQueue, Nursery
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.dispatcher import Call, Dispatcher
from trio_socketio.control.failures import overloaded, too_large, unauthorized, unavailable
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.outgoing_calls import OutgoingCalls
from trio_socketio.control.tokens import LOCAL, Grant
from trio_socketio.errors import ControlError, LocalProtocolError, SessionClosed
from trio_socketio.net.connection import Connection
from trio_socketio.net.lines import LineReceiver

log = logging.getLogger(__name__)

_UNKNOWN_LINE_BYTES: Final = 8192
"""The longest line of a peer that has not given its token yet."""
_MAX_REFUSALS: Final = 3
"""The number of wrong tokens and other faults after which such a peer is closed."""
_HTTP: Final = re.compile(rb"[A-Z]+ \S+ HTTP/\d(\.\d)?\r?").fullmatch
_NOT_HTTP: Final = (
    "this is a control socket, which speaks JSON-RPC 2.0 with one message per line; over HTTP, the "
    "same methods are called with POST /rpc on the admin port"
)


class Hub(Protocol):
    """The parts that all peers share; see ControlService."""

    @property
    def dispatcher(self) -> Dispatcher:
        """The methods."""

    @property
    def options(self) -> ControlOptions:
        """The bounds."""

    @property
    def calls(self) -> Nursery:
        """Runs the calls that have to wait."""

    def find_grant(self, secret: str) -> Grant | None:
        """Return the grant of a token; None if there is no such token."""

    def greeting(self, *, needs_token: bool) -> Greeting:
        """Return the greeting for a new peer."""

    def peer_lost(self, peer: "Peer") -> None:
        """Forget a peer whose connection has ended."""


class Peer:
    """A connection that carries lines of JSON-RPC 2.0 in both directions.

    Args:
        hub: the parts that all peers share.
        connection: was just accepted.
        name: for the log.

    Attributes:
        grant: the permissions of the peer; None before it has given a token.
    """

    __slots__ = (
        "_asked",
        "_connection",
        "_hub",
        "_lines",
        "_queue",
        "_refusals",
        "_timeouts",
        "grant",
        "name",
    )

    def __init__(self, hub: Hub, connection: Connection, name: str) -> None:
        self.name = name
        self._hub = hub
        self._connection = connection
        self.grant: Grant | None = None if connection.address else LOCAL
        self._refusals = 0
        self._timeouts = 0  # deadlines that have passed since its last answer
        options = hub.options
        bound = options.max_line_bytes if self.grant else _UNKNOWN_LINE_BYTES
        self._lines = LineReceiver(
            connection, self._receive_line, self._lost, bound, self._too_long
        )
        self._queue = CallQueue(hub.calls, self._call_done)
        self._asked = OutgoingCalls("the backend", options.backends.max_in_flight)
        connection.set_receiver(self._lines)
        if self.grant is None:  # CONTROL-13
            connection.set_deadline(trio.current_time() + options.auth_timeout_s)
        greeting = hub.greeting(needs_token=self.grant is None)
        self._write(encode_request("hello", greeting, None))  # CONTROL-06

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"

    # -- the peer's messages

    def _receive_line(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        try:
            messages, is_batch = decode_messages(line, self._hub.options.max_batch)
        except ControlError as error:
            if _HTTP(line):  # CONTROL-27
                # Headers follow, and then a body that a foreign page may have had a browser send.
                self._turn_away(ControlError(Code.INVALID_REQUEST, _NOT_HTTP), "it speaks HTTP")
                return
            self._write(encode_error(NULL, error))
            self._refused("it sends messages that are not JSON-RPC")
            return
        calls = self._take_answers(messages)
        dispatcher = self._hub.dispatcher
        if not calls:
            return
        if not is_batch and self._queue.is_idle and dispatcher.is_plain(calls[0]):
            self._write_answer(dispatcher.answer_now(calls[0], self))
            return
        if self._queue.count >= self._hub.options.max_in_flight:  # CONTROL-26
            full = overloaded(f"{self._queue.count} calls of this peer are under way already")
            self._write_answer(dispatcher.refuse(calls, full, is_batch=is_batch))
            return
        self._queue.add(partial(self._answer, calls, is_batch=is_batch))
        if self._queue.count >= self._hub.options.max_in_flight and not self._asked:
            self._lines.pause()  # CONTROL-23

    def _too_long(self) -> None:
        """Tell the peer how long a line may be, and close it (CONTROL-20)."""
        most = self._lines.max_line_bytes
        until = "" if self.grant is not None else " before a token is given"
        told = f"a line may have at most {most} bytes{until}"
        self._turn_away(too_large(told, max_line_bytes=most), f"it has sent more than that: {told}")

    def _turn_away(self, error: ControlError, reason: str) -> None:
        self._write(encode_error(NULL, error))
        self.close(reason)

    def _take_answers(self, messages: list[Message]) -> list[Call]:
        calls: list[Call] = []
        for message in messages:
            if isinstance(message, Response):
                self._asked.receive(message)
            else:
                calls.append(message)
        return calls

    async def _answer(self, calls: list[Call], *, is_batch: bool) -> None:
        dispatcher = self._hub.dispatcher
        if is_batch:
            self._write_answer(await dispatcher.answer_batch(calls, self))
        else:
            self._write_answer(await dispatcher.answer(calls[0], self))

    def _call_done(self) -> None:
        if self._queue.count < self._hub.options.max_in_flight:
            self._lines.resume()

    def _write_answer(self, answer: bytes | None) -> None:
        if answer is not None:
            self._write(answer)

    def _write(self, message: bytes) -> None:
        self._connection.write(message + b"\n")

    # -- the peer's identity

    def authenticate(self, secret: str) -> Grant:
        """Take a token, whose grant replaces that of the Unix socket."""
        grant = self._hub.find_grant(secret)
        if grant is None:
            log.warning("%s has given a wrong token", self.name)
            self._refused("it gives wrong tokens")
            raise unauthorized("there is no such token")
        self.become(grant)
        log.info("%s has the token %s", self.name, grant.name)
        return grant

    def become(self, grant: Grant) -> None:
        """Give the peer the permissions of a grant from now on."""
        self.grant = grant
        self._refusals = 0
        self._lines.max_line_bytes = self._hub.options.max_line_bytes
        self._connection.set_deadline(inf)

    def _refused(self, reason: str) -> None:
        if self.grant is None:
            self._refusals += 1
            if self._refusals >= _MAX_REFUSALS:
                # Not at once, because the error has to be sent first.
                self._connection.owner.poller.defer(lambda: self.close(reason))

    def connected(self) -> BackendPeer:
        """Return this connection, on which the server can call back."""
        return self

    # -- calls of the server

    @property
    def pending(self) -> int:
        """The number of calls that it has not answered yet."""
        return len(self._asked)

    async def call(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Call a method of the peer, and wait for its result.

        Raises:
            ControlError: the peer answered with an error, or not in time, or has gone, or the
                call cannot be sent.
        """
        try:
            number = self._asked.expect()
            self._lines.resume()  # otherwise its answer would wait behind its own calls
            try:
                request = encode_request(method, params, number)
                if len(request) > self._hub.options.max_line_bytes:  # CONTROL-34
                    raise too_large(f"{method} does not fit into a line of {self.name}")
            except BaseException:
                self._asked.forget([number])
                raise
            self._write(request)
            (answer,) = await self._wait(number, timeout_s)
        except SessionClosed:
            raise unavailable("the backend has gone") from None
        except LocalProtocolError as error:
            raise too_large(f"{method} cannot be sent: {error}") from None
        if isinstance(answer, ControlError):
            raise answer
        return answer

    async def _wait(self, number: int, timeout_s: float) -> list[Raw | ControlError]:
        try:
            answers = await self._asked.wait([number], timeout_s)
        except ControlError:
            self._timeouts += 1
            if self._timeouts >= self._hub.options.backends.max_timeouts:  # CONTROL-35
                self.close(f"it has let {self._timeouts} deadlines pass without an answer")
            raise
        self._timeouts = 0
        return answers

    # -- its end

    def close(self, reason: str) -> None:
        """Send what was written, then close the connection."""
        if not self._connection.closed:
            log.warning("%s is disconnected: %s", self.name, reason)
            self._connection.finish()
            self.end(reason)

    def _lost(self, reason: str) -> None:
        level = logging.INFO if reason == "transport close" else logging.WARNING
        log.log(level, "%s has ended: %s", self.name, reason)
        self.end(reason)

    def end(self, reason: str) -> None:
        """Abandon the calls in both directions, because the connection has ended."""
        self._asked.close(reason)
        self._queue.cancel()
        self._hub.peer_lost(self)
