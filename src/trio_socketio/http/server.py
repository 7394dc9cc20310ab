"""A group of connections on which HTTP is spoken."""

from collections.abc import Callable
from typing import Final

from trio_socketio.http.error_answers import ErrorHeaders, encode_error, no_headers
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.options import HttpOptions
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.net.traffic import Traffic
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.poller import Poller

_RETRY: Final = (b"Retry-After", b"5")


def open_http_connections(
    poller: Poller,
    deadlines: Deadlines,
    limits: ConnectionLimits,
    options: HttpOptions,
    on_request: Callable[[Request], None],
    error_headers: ErrorHeaders = no_headers,
    traffic: Traffic | None = None,
    apart: Traffic | None = None,
    *,
    preferred: bool = False,
) -> Connections:
    """Create a group of connections that speak HTTP.

    Args:
        poller: the runtime's.
        deadlines: the runtime's.
        limits: the bounds of the group.
        options: how requests are read.
        on_request: called with each request, in its connection's turn.
        error_headers: gives the headers of errors that are answered before there is a request.
        traffic: the numbers to which the group adds; None for numbers of its own.
        apart: as Connections takes it.
        preferred: as Connections takes it.
    """

    def serve(connection: Connection) -> None:
        connection.set_receiver(
            HttpReceiver(
                connection,
                on_request,
                options.handshake_timeout_s,
                options.keep_alive_s,
                error_headers,
            )
        )

    busy = encode_busy(error_headers)
    return Connections(poller, deadlines, limits, serve, busy, traffic, apart, preferred=preferred)


def encode_busy(error_headers: ErrorHeaders) -> bytes:
    """Write the answer to a connection that is refused because too many are open.

    The request is not read, so the origin of its page is unknown.
    """
    return encode_error(503, "too many connections", [_RETRY, *error_headers(None)])
