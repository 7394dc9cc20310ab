"""One connection on the control socket: a backend, an operator's terminal, a script."""

import logging
import re
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.codec.json_rpc import (
    NULL,
    Code,
    Response,
    decode_messages,
    encode_error,
    encode_request,
)
from trio_socketio.control.backend_calls import BackendCalls
from trio_socketio.control.call_queue import CallQueue, Nursery, pause
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.dispatcher import Call
from trio_socketio.control.failures import overloaded, too_large, unavailable
from trio_socketio.control.hub import Hub
from trio_socketio.control.outlet import Outlet
from trio_socketio.control.standing import MAX_FAULTS, Standing
from trio_socketio.control.tokens import LOCAL, Grant
from trio_socketio.errors import ControlError
from trio_socketio.net.connection import Connection
from trio_socketio.net.lines import LineReceiver
from trio_socketio.protocol.control_peer import Input, Life

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_UNKNOWN_LINE_BYTES: Final = 8192
"""The longest line of a peer that has not given its token yet."""
_LAST_CALLS_S: Final = 60.0
"""The time that a peer's calls may take after it has sent its last line."""
_LEFT: Final = "transport close"
"""Why a peer has gone that has closed its connection in order."""
_HTTP: Final = re.compile(rb"[A-Z]+ \S+ HTTP/\d(\.\d)?\r?").fullmatch
_NOT_HTTP: Final = (
    "this is a control socket, which speaks JSON-RPC 2.0 with one message per line; over HTTP, the "
    "same methods are called with POST /rpc on the admin port"
)


class Peer:
    """A connection that carries lines of JSON-RPC 2.0 in both directions.

    Args:
        hub: the parts that all peers share.
        connection: was just accepted.
        name: for the log.
        nursery: where its calls that wait run.
        on_gone: called once, when nothing can be sent to it any more.
        is_local: whether it is at a Unix socket, and so needs no token.

    Attributes:
        backend: the calls of the server to it.
        standing: how far its life has gone, and who it is.
    """

    __slots__ = (
        "_connection",
        "_hub",
        "_lines",
        "_on_gone",
        "_outlet",
        "_queue",
        "_reason",
        "backend",
        "name",
        "standing",
    )

    def __init__(
        self,
        hub: Hub,
        connection: Connection,
        name: str,
        nursery: Nursery,
        on_gone: "Callable[[Peer], None]",
        *,
        is_local: bool,
    ) -> None:
        self.name = name
        self._hub = hub
        self._connection = connection
        self._on_gone = on_gone
        self._reason = ""  # of its end
        self._outlet = Outlet(connection)
        options = hub.options
        self._lines = LineReceiver(
            connection,
            self._receive_line,
            self._lost,
            _UNKNOWN_LINE_BYTES,
            self._too_long,
            partial(self._end, _LEFT),
        )
        self._queue = CallQueue(nursery, self._call_done)
        self.standing = Standing(hub.access, name)
        self.backend = BackendCalls(self, self._outlet, self.standing, options)
        connection.set_receiver(self._lines)
        if is_local:
            self._identify(LOCAL)
        else:  # CONTROL-13
            connection.set_deadline(trio.current_time() + options.auth_timeout_s)
        self._outlet.write(encode_request("hello", hub.greeting(needs_token=not is_local), None))

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"

    # -- the peer's messages

    def _receive_line(self, line: bytes) -> None:
        if not line or line.isspace() or not self.standing.is_read:
            return
        faults = self.standing.faults
        self._take_line(line)
        if self._queue.is_idle:
            self._check_identity(faults)

    def _take_line(self, line: bytes) -> None:
        options, dispatcher = self._hub.options, self._hub.dispatcher
        try:
            messages, is_batch = decode_messages(line, options.max_batch)
        except ControlError as error:
            if _HTTP(line):  # CONTROL-27
                # The lines that follow are headers, and then a body that a page may have chosen.
                self._outlet.write(
                    encode_error(NULL, ControlError(Code.INVALID_REQUEST, _NOT_HTTP))
                )
                self.close("it speaks HTTP")
            else:
                self._outlet.write(encode_error(NULL, error))
            return
        calls: list[Call] = []
        for message in messages:
            if isinstance(message, Response):
                self.backend.receive(message)
            else:
                calls.append(message)
        if not calls:
            return
        if not is_batch and self._queue.is_idle and dispatcher.is_plain(calls[0]):
            self._outlet.write(dispatcher.answer_now(calls[0], self))
            return
        if self._queue.count >= self._most:  # CONTROL-26
            full = overloaded(f"{self._queue.count} calls of this peer wait for their answers")
            self._outlet.write(dispatcher.refuse(calls, full, is_batch=is_batch))
            return
        self._queue.add(partial(self._answer, calls, is_batch=is_batch))
        if self._queue.count >= self._most and not self.backend.pending:
            self._lines.pause()  # CONTROL-23

    @property
    def _most(self) -> int:
        """The bound on its calls under way; before it is identified, one batch."""
        return 1 if self.standing.life is Life.GREETED else self._hub.options.max_in_flight

    def _too_long(self) -> None:
        """Tell the peer how long a line may be, and close it (CONTROL-20)."""
        most = self._lines.max_line_bytes
        until = "" if self.standing.has_identity else " before a token is given"
        told = f"a line may have at most {most} bytes{until}"
        self._outlet.write(encode_error(NULL, too_large(told, max_line_bytes=most)))
        self.close(f"it has sent more than that: {told}")

    async def _answer(self, calls: list[Call], *, is_batch: bool) -> None:
        dispatcher = self._hub.dispatcher
        faults = self.standing.faults
        if is_batch:
            self._outlet.write(await dispatcher.answer_batch(calls, self, pause))
        else:
            self._outlet.write(await dispatcher.answer(calls[0], self))
        self._check_identity(faults)

    def _call_done(self) -> None:
        if self.standing.life is Life.ENDING:
            self._part()
        elif self._queue.count < self._most:
            self._lines.resume()

    # -- the peer's identity

    @property
    def grant(self) -> Grant | None:
        """The current permissions of the peer."""
        return self.standing.grant

    def authenticate(self, secret: str) -> Grant:
        """Take a token, whose grant replaces that of the Unix socket."""
        if self.standing.life is Life.GONE:
            raise _gone()
        grant = self.standing.find_grant(secret)
        self._identify(grant)
        log.info("%s has the token %s", self.name, grant.name)
        return grant

    def _identify(self, grant: Grant) -> None:
        self.standing.identify(grant)
        self._lines.max_line_bytes = self._hub.options.max_line_bytes
        if self.standing.life is Life.KNOWN:
            self._connection.set_deadline(inf)

    def _check_identity(self, faults: int) -> None:
        """Count a line after which it is not known who the peer is; end the peer after some.

        Args:
            faults: how many had been counted before the line.
        """
        standing = self.standing
        if standing.life is Life.GREETED:  # CONTROL-77
            if standing.faults == faults:
                standing.faults += 1
            if standing.faults >= MAX_FAULTS:
                self._end("it has not said who it is")

    def connected(self) -> BackendPeer:
        """Return the calls of the server to this peer."""
        if self.standing.life is not Life.KNOWN:  # CONTROL-24
            raise _gone()
        return self.backend

    def ask(self, request: bytes) -> None:
        """Send a request, and read on, so that its answer comes."""
        self._lines.resume()  # or it would wait behind calls that the peer has made itself
        self._outlet.write(request)

    # -- its end

    def close(self, reason: str) -> None:
        """Send what was written, then close the connection."""
        if self.standing.life is not Life.GONE:
            self.standing.log_end(logging.WARNING, "is disconnected", reason)
            self._connection.finish(heard_all=self._lines.has_ended)
            self.leave(reason)

    def leave(self, reason: str) -> None:
        """Give up what the peer waits for, and what waits for it: nothing can be sent to it."""
        if self.standing.life is not Life.GONE:
            self.standing.advance(Input.LEAVE)
            self.backend.end(reason)
            self._outlet.close()
            self._queue.cancel()
            self._on_gone(self)

    def _lost(self, reason: str) -> None:
        level = logging.INFO if reason == _LEFT else logging.WARNING
        self.standing.log_end(level, "has ended", reason)
        self.leave(reason)

    def _end(self, reason: str) -> None:
        """Read no more, and part when all calls that were read are answered (CONTROL-73)."""
        if self.standing.is_read:
            self.standing.advance(Input.END)
            self._reason = reason
            self._lines.pause()
            self.backend.end(reason)
            self._connection.set_deadline(trio.current_time() + _LAST_CALLS_S)
            # Not now: the error that is being answered must leave first.
            self._connection.owner.poller.defer(self._part)

    def _part(self) -> None:
        if self.standing.life is Life.ENDING and not self._queue.count:
            if self._reason == _LEFT:
                self._connection.finish(heard_all=True)
                self._lost(_LEFT)
            else:
                self.close(self._reason)


def _gone() -> ControlError:
    return unavailable("the connection has ended")
