"""The lines of the log about refused requests: the reasons, and what to do about them.

Clients get the messages of the reference. The log says more, because its reader can change the
server.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.engine.handshake import (
    BAD_HANDSHAKE_METHOD,
    FORBIDDEN,
    STOPPING,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_PROTOCOL,
    WRONG_WEBSOCKET,
    Refusal,
)
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.engine.options import TRANSPORTS
from trio_socketio.engine.sessions import shorten, show_address
from trio_socketio.engine.unjoined import TOO_FAST
from trio_socketio.http.forwarded import forwarded
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.engine.forwarding import Forwarding
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.http.request import Request
    from trio_socketio.net.driving import Timetable
    from trio_socketio.option_checks import Network

log = logging.getLogger(__name__)

MAX_SHOWN: Final = 120
"""The most characters of a value from a client that are logged."""


class Refusing(Protocol):
    """The engine that refuses a request."""

    options: "EngineOptions"

    @property
    def node(self) -> str:
        """The 4 characters that the sids of this server start with."""

    @property
    def forwarding(self) -> "Forwarding | None":
        """Passes on what belongs to other nodes."""


class RefusalLog:
    """Logs refused requests, and sums up those that come too fast (LOG-21).

    Args:
        trusted_proxies: networks of the proxies whose forwarding headers are believed.
        deadlines: those of the runtime.
    """

    def __init__(
        self,
        trusted_proxies: "tuple[Network, ...]" = (),
        deadlines: "Timetable | None" = None,
    ) -> None:
        self._trusted_proxies = trusted_proxies
        self._lines = SampledLog(log, logging.INFO, REFUSALS, deadlines)

    def refused_origin(self, request: "Request") -> None:
        """Log that a page of a foreign origin was refused."""
        kind = "foreign origins refused"
        if self._lines.admits(kind):
            # The origin is not written as an option to copy: the author of the page has chosen it.
            origin = shorten(request.headers.get("origin", ""), MAX_SHOWN)
            self._write(
                request,
                kind,
                f"its page has the foreign origin {origin!r}; to let pages of an origin connect, "
                "name it with --cors-origin, [cors] origins or cors_origins",
                origin=origin,
            )

    def refused(self, engine: Refusing, request: "Request", refusal: Refusal, context: str) -> None:
        """Log that a request was refused.

        Args:
            engine: the engine that refused it.
            request: the request.
            refusal: the answer to the client.
            context: the hook that failed, as the "connection_error" event names it.
        """
        kind = _CONTEXTS.get(context) or _KINDS.get(refusal.code, _MALFORMED)
        if refusal is STOPPING:
            kind = _STOPPING
        elif refusal.retry_after_s is not None:
            kind = _FAST if refusal.reason == TOO_FAST else _FULL
        if self._lines.admits(kind):
            self._write(request, kind, _EXPLAIN[kind](engine, request, refusal))

    def flush(self) -> None:
        """Write the sums of the lines that were only counted, because the server stops."""
        self._lines.flush()

    def _write(self, request: "Request", kind: str, why: str, **more: str) -> None:
        address = show_address(forwarded(request, self._trusted_proxies)[0])
        fields = {"refusal": kind, "address": address, **more}
        log.info("refused a request from %s: %s", address, why, extra={"fields": fields})


_TRANSPORT: Final = "unknown transports refused"
_SID: Final = "unknown sessions refused"
_METHOD: Final = "methods that open no session refused"
_MALFORMED: Final = "malformed requests refused"
_HOOK: Final = "requests refused by allow_request"
_MIDDLEWARE: Final = "requests refused by middleware of the engine"
_ID: Final = "requests without a new id refused"
_PROTOCOL: Final = "unsupported protocols refused"
_FULL: Final = "sessions that have joined nothing refused"
_FAST: Final = "addresses that open sessions too fast refused"
_STOPPING: Final = "sessions refused because the server stops"

_KINDS: Final = {
    UNKNOWN_TRANSPORT.code: _TRANSPORT,
    UNKNOWN_SID.code: _SID,
    BAD_HANDSHAKE_METHOD.code: _METHOD,
    FORBIDDEN.code: _HOOK,
    UNSUPPORTED_PROTOCOL.code: _PROTOCOL,
}
_CONTEXTS: Final = {"MIDDLEWARE_FAILURE": _MIDDLEWARE, "ID_GENERATION_ERROR": _ID}


def _show(request: "Request", name: str) -> str:
    """Return a parameter of the query for the log."""
    return repr(shorten(request.query.get(name, ""), MAX_SHOWN))


def _explain_transport(engine: Refusing, request: "Request", _: Refusal) -> str:
    if request.query.get("transport") in TRANSPORTS:
        return f"transport={_show(request, 'transport')} is not among [engine] transports"
    return (
        f"transport={_show(request, 'transport')} is not a transport; if the client is not one of "
        "Socket.IO, another program uses this path"
    )


def _explain_sid(engine: Refusing, request: "Request", _: Refusal) -> str:
    sid = request.query.get("sid", "")
    what = f"session {shorten_sid(sid)} is unknown: "
    if sid.startswith(engine.node):
        return f"{what}it has ended"
    if engine.forwarding is not None:
        return f"{what}its node has ended, or has not answered"
    return (
        f"{what}it belongs to another node, or to this one before a restart; a load balancer "
        "must send all requests of a session to the same node (sticky sessions)"
    )


def _explain_protocol(engine: Refusing, request: "Request", _: Refusal) -> str:
    eio = request.query.get("EIO", "")
    if request.query.get("sid"):
        return f"EIO={_show(request, 'EIO')} is not the revision of its session"
    if eio in ("3", "") and not engine.options.allow_eio3:
        return (
            f"EIO={eio!r} means socket.io-client 1.x or 2.x; to serve it, use --allow-eio3 "
            "([engine] allow_eio3)"
        )
    return f"EIO={_show(request, 'EIO')} is not a revision of Engine.IO that this server speaks"


def _explain_method(engine: Refusing, request: "Request", _: Refusal) -> str:
    return f"{request.method} without a sid: only a GET opens a session"


def _explain_full(engine: Refusing, request: "Request", refusal: Refusal) -> str:
    name = "max_unjoined_sessions"
    if refusal.status == 429:
        name += "_per_address"
    bound = getattr(engine.options, name)
    return f"{refusal.message} ({bound}): see --{name.replace('_', '-')} ({name})"


def _explain_fast(engine: Refusing, request: "Request", refusal: Refusal) -> str:
    rate, burst = engine.options.session_rate_per_address, engine.options.session_burst_per_address
    return (
        f"it opens more than {rate:g} sessions a second ({burst} at once); it may come back in "
        f"{refusal.retry_after_s} s: see [engine] session_rate_per_address; if a proxy stands "
        "between, name it in trusted_proxies"
    )


def _explain_malformed(engine: Refusing, request: "Request", refusal: Refusal) -> str:
    if refusal is WRONG_WEBSOCKET:
        return "it asks for a version of WebSocket other than 13"
    return (
        f"{request.method} with transport={_show(request, 'transport')} does not fit its session, "
        "or is not a valid WebSocket handshake"
    )


_EXPLAIN: Final[dict[str, Callable[[Refusing, "Request", Refusal], str]]] = {
    _TRANSPORT: _explain_transport,
    _SID: _explain_sid,
    _METHOD: _explain_method,
    _MALFORMED: _explain_malformed,
    _HOOK: lambda engine, request, refusal: f"allow_request refused it: {refusal.message!r}",
    _MIDDLEWARE: lambda engine, request, refusal: (
        f"middleware of the engine refused it: {refusal.message!r}"
    ),
    _ID: lambda engine, request, refusal: "generate_id did not return a new id for its session",
    _PROTOCOL: _explain_protocol,
    _STOPPING: lambda engine, request, refusal: "the server is stopping and opens no more sessions",
    _FULL: _explain_full,
    _FAST: _explain_fast,
}
