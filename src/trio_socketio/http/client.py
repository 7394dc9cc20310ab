"""A client of HTTP/1.1, which sends one request at a time on a connection that is kept alive."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import h11
import trio

from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import (
    ConnectFailed,
    PayloadTooLarge,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.runtime.barrier import split_failure

log = logging.getLogger(__name__)

IDLE_S: Final = 2.0
"""A connection that was idle for longer is not used again. The server may be about to close it
(Node does after 5 s), and a POST that fails then may or may not have been received, so that it can
be neither given up nor repeated."""

CHUNK_BYTES: Final = 65536


class Dialer(Protocol):
    """Opens connections to one server."""

    @property
    def authority(self) -> str:
        """Host and port in the form of the Host header."""

    async def open_stream(self) -> trio.abc.Stream:
        """Open a new connection.

        Raises:
            ConnectFailed: the server cannot be reached.
        """

    def request_headers(self) -> list[tuple[str, str]]:
        """The headers of every request, besides those that describe its body."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response that was read to its end.

    Args:
        status: the HTTP status code.
        set_cookies: the values of its Set-Cookie headers.
        body: the body, which may be empty.
    """

    status: int
    set_cookies: list[str]
    body: bytes


class HttpConnection:
    """Holds at most one connection to the server, opened when it is needed.

    Args:
        dialer: opens the connections.
        max_body_bytes: the largest body of a response.
        shared: whether its requests are made for different people. Then it looks more closely,
            before each, for what the server may have sent behind the last answer.
    """

    def __init__(self, dialer: Dialer, max_body_bytes: int, *, shared: bool = False) -> None:
        self._dialer = dialer
        self._max_body_bytes = max_body_bytes
        self._shared = shared
        self._stream: trio.abc.Stream | None = None
        self._http = h11.Connection(h11.CLIENT)
        self._idle_since = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether it was idle for so long that it is not used again."""
        return trio.current_time() - self._idle_since > IDLE_S

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content_type: str = "text/plain;charset=UTF-8",
    ) -> Response:
        """Send a request and read its response. The caller bounds the time.

        Args:
            method: the HTTP method.
            target: path and query.
            body: text in UTF-8; None for a request without a body.
            headers: of this request alone.
            content_type: of the body.
        Raises:
            ConnectFailed: the server cannot be reached.
            SessionClosed: the server has closed the connection.
            RemoteProtocolError: the server does not speak HTTP, or its response is too large.
        """
        dialer = self._dialer
        sent = [("Host", dialer.authority), ("Accept-Encoding", "identity")]
        sent += [*dialer.request_headers(), *headers]
        if body is not None:
            sent.append(("Content-Type", content_type))
            sent.append(("Content-Length", str(len(body))))
        try:
            stream = await self._usable_stream()
            request = h11.Request(method=method, target=target, headers=sent)
            data = self._http.send(request) or b""
            if body is not None:
                data += self._http.send(h11.Data(data=body)) or b""
            data += self._http.send(h11.EndOfMessage()) or b""
            await stream.send_all(data)
            response = await self._read_response(stream)
        except trio.BrokenResourceError as error:
            raise SessionClosed("transport error") from error
        except h11.ProtocolError as error:
            raise RemoteProtocolError(f"the response is not HTTP: {error}") from None
        finally:
            http = self._http
            is_over = http.our_state is h11.DONE and http.their_state is h11.DONE
            if is_over and http.trailing_data == (b"", False):
                http.start_next_cycle()
                self._idle_since = trio.current_time()
            else:  # HTTP-65: what is left would be taken for the answer to the next request
                await self.aclose()
        return response

    async def aclose(self) -> None:
        """Close the connection at once, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await close_stream(stream)

    async def _usable_stream(self) -> trio.abc.Stream:
        stream = self._stream
        if stream is not None and (self.is_stale or not await self._is_silent(stream)):
            await self.aclose()
        if self._stream is None:
            self._stream = await self._dialer.open_stream()
            self._http = h11.Connection(h11.CLIENT)
        return self._stream

    async def _is_silent(self, stream: trio.abc.Stream) -> bool:
        """Whether nothing can be read from an idle connection (HTTP-65, HTTP-66)."""
        carrier = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        if isinstance(carrier, trio.SocketStream):
            if carrier.socket.is_readable():
                return False
            if carrier is stream:
                return True
        # TLS may hold what has come along with the answer, so nobody knows before it is read. This
        # is slower than the look at the socket by 0.2 to 0.4 ms.
        return not self._shared or not await _can_read(stream)

    async def _read_response(self, stream: trio.abc.Stream) -> Response:
        status, cookies, parts, size = 0, [], [], 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(CHUNK_BYTES)
                if not data and not status:
                    raise SessionClosed("transport error")
                self._http.receive_data(bytes(data))
            elif isinstance(event, h11.Response):
                status = event.status_code
                cookies = [
                    value.decode("latin-1")
                    for name, value in event.headers
                    if name == b"set-cookie"
                ]
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > self._max_body_bytes:
                    raise PayloadTooLarge(f"a body of more than {self._max_body_bytes} bytes")
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Response(status, cookies, b"".join(parts))
            elif isinstance(event, h11.ConnectionClosed):
                raise SessionClosed("transport error")


async def _can_read(stream: trio.abc.Stream) -> bool:
    """Whether something can be read at once. It is lost then."""
    heard = False

    async def listen() -> None:
        nonlocal heard
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(1)
        heard = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for _ in range(8):  # some streams pass a few checkpoints before they look
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return heard


async def close_stream(stream: trio.abc.Stream) -> None:
    """Close a stream at once. A failure is logged and not raised.

    The stream may be the program's own. All that was sent on it has been sent, so that a failure to
    close it changes nothing for the session.
    """
    try:
        await trio.aclose_forcefully(stream)
    except BaseException as error:
        failure, cancelled = split_failure(error)
        if failure is not None:  # CLI-18
            log.error("closing %r failed", stream, exc_info=failure)
        if cancelled is not None:
            raise cancelled from None


def refusal(status: int, body: bytes) -> ConnectFailed:
    """Make the error for a handshake that the server has not answered with success."""
    try:
        answer = decode_json(body)
    except RemoteProtocolError:
        answer = None
    said = answer.get("message") if type(answer) is dict else None
    if type(said) is not str:
        said = body.decode(errors="replace").strip()
    return ConnectFailed(
        f"the server answered {status}: {said[:200]}" if said else f"the server answered {status}"
    )
