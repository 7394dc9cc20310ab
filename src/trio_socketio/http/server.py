"""Accepts connections, bounds their number, and hands their requests to a router."""

import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

import trio

from trio_socketio.http.error_answers import ErrorHeaders, encode_error, no_headers
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.net.tls import TlsConnection
from trio_socketio.options import ServerOptions
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)

_RETRY: Final = (b"Retry-After", b"5")


class HttpServer:
    """The connections of one server. It owns no task: poller and deadlines drive it.

    Args:
        options: bounds and deadlines.
        poller, deadlines: shared by the whole server.
        on_request: called with every request, in its connection's turn.
        error_headers: of the errors that are answered before there is a request.
    """

    def __init__(
        self,
        options: ServerOptions,
        poller: Poller,
        deadlines: Deadlines,
        on_request: Callable[[Request], None],
        error_headers: ErrorHeaders = no_headers,
    ) -> None:
        self.poller = poller
        self.deadlines = deadlines
        self.output_bound_bytes = options.output_bound_bytes
        self.slow_client_s = options.slow_client_s
        self._options = options
        self._on_request = on_request
        self._error_headers = error_headers
        # Nothing is read of who comes too many, so that the origin is unknown.
        headers = [_RETRY, *error_headers(None)]
        self._busy_answer = encode_error(503, "too many connections", headers)
        self._connections: set[Connection] = set()
        self._per_address: dict[str, int] = {}
        self._refused = 0
        self.writes_dropped = 0
        self._empty = trio.Event()

    @property
    def connection_count(self) -> int:
        """Open connections, whatever they carry."""
        return len(self._connections)

    @property
    def refused_count(self) -> int:
        """Connections that were answered 503 for being too many."""
        return self._refused

    def accept(self, sock: socket.socket, address: str, context: ssl.SSLContext | None) -> None:
        """Take a connected socket; it is closed if that fails.

        Raises:
            Exception: the system or TLS cannot take one more: that one is lost, no other.
        """
        try:
            if context is None:
                connection = Connection(self, sock, address, secure=False)
            else:
                connection = TlsConnection(self, sock, address, context)
        except BaseException:
            sock.close()
            raise
        bound = self._options.max_connections_per_address
        there = self._per_address.get(address, 0)
        if len(self._connections) >= self._options.max_connections or (
            bound is not None and there >= bound and address
        ):
            self._refused += 1
            if context is None:
                try:
                    sock.send(self._busy_answer)
                except OSError:
                    log.debug("a refused client did not wait for its answer")
            sock.close()
            return
        self._connections.add(connection)
        if address:
            self._per_address[address] = there + 1
        try:
            connection.set_receiver(
                HttpReceiver(
                    connection,
                    self._on_request,
                    self._options.handshake_timeout_s,
                    self._options.keep_alive_s,
                    self._error_headers,
                )
            )
            self.poller.register(connection)  # out of memory, or of the user's epoll watches
        except BaseException:
            connection.abort()
            raise

    def connection_released(self, connection: Connection) -> None:
        """See Owner."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        address = connection.address
        if address:
            left = self._per_address[address] - 1
            if left:
                self._per_address[address] = left
            else:
                del self._per_address[address]

    async def wait_empty(self) -> None:
        """Wait until no connection is open."""
        while self._connections:
            self._empty = trio.Event()
            await self._empty.wait()

    def finish_all(self) -> None:
        """Send what was written on every connection, then close it."""
        for connection in list(self._connections):
            connection.finish()

    def abort_all(self) -> None:
        """Close every connection as it is."""
        for connection in list(self._connections):
            connection.abort()
