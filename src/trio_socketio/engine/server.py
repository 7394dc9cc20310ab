"""Decides who may open or reach the sessions of one path, and ends them."""

import logging
import secrets
from typing import TYPE_CHECKING, NamedTuple

import trio

from trio_socketio.engine.admission import PlainAdmission
from trio_socketio.engine.compression import Compression
from trio_socketio.engine.handshake import (
    BAD_HANDSHAKE_METHOD,
    BAD_REQUEST,
    FOREIGN_ORIGIN,
    FOREIGN_SID,
    STOPPING,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_PROTOCOL,
    Refusal,
    is_websocket_upgrade,
    protocol_of,
    websocket_headers,
    websocket_refusal,
)
from trio_socketio.engine.hook_admission import HookedAdmission, needs_hooks
from trio_socketio.engine.ids import RandomText, is_foreign_sid
from trio_socketio.engine.jsonp import is_index, name_page
from trio_socketio.engine.opening import Opening
from trio_socketio.engine.polling import PollingTransport
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.session import CLOSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.admission import Admission
    from trio_socketio.engine.counts import EngineCounts
    from trio_socketio.engine.forwarding import Forwarding
    from trio_socketio.engine.hooks import Engine, HookWorkers
    from trio_socketio.engine.options import EngineOptions, RequestHooks
    from trio_socketio.engine.refusals import RefusalLog
    from trio_socketio.engine.session import OpenSession, Session
    from trio_socketio.engine.sessions import SessionLog
    from trio_socketio.engine.transport import Transport
    from trio_socketio.engine.unjoined import Unjoined
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.runtime.options import ConnectionLimits
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)


class EngineParts(NamedTuple):
    """The parts that the engines of one server share, which has 13 attributes for that reason.

    Args:
        poller, deadlines, limits: of the runtime.
        workers: run async hooks and jobs that take long.
        cors: the rules for pages of other origins.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.
        hooks: middleware and listeners that the program registered.
        asked: further hooks, which were given as options.
        node: the 4 characters that every sid starts with.
        session_log, refusal_log: log sessions and refused requests.
        counts: the numbers to which they add.
        forwarding: passes on what belongs to other nodes; None if nothing is passed on.
    """

    poller: "Poller"
    deadlines: "Deadlines"
    limits: "ConnectionLimits"
    workers: "HookWorkers"
    cors: "Cors"
    trusted_proxies: "tuple[Network, ...]"
    hooks: "Engine"
    asked: "RequestHooks"
    node: str
    session_log: "SessionLog"
    refusal_log: "RefusalLog"
    counts: "EngineCounts"
    forwarding: "Forwarding | None" = None


class EngineServer:
    """Engine.IO at one path (EIO4-01).

    It has 19 attributes, because its parts and the floor above meet here: thirteen of them are
    parts, or are shared by parts.

    Args:
        options: see EngineOptions.
        parts: shared by the engines of the server.
        open_session: called with every new session; returns its listener.

    Attributes:
        forwarding: passes on what belongs to other nodes; None if nothing is passed on.
        node: the 4 characters that every sid starts with.
        packets_dropped: the number of packets for sessions that were gone or too far behind.
        session_joined: called when the client of a session has joined something.
        sessions: by sid.
        unjoined: bounds the sessions that have joined nothing; None where there is nothing to join.
    """

    def __init__(
        self,
        options: "EngineOptions",
        parts: EngineParts,
        open_session: "OpenSession",
    ) -> None:
        self.options = options
        self.limits = parts.limits
        self.poller = poller = parts.poller
        self.deadlines = parts.deadlines
        self.cors = parts.cors
        self.node = parts.node
        self.session_log = parts.session_log
        self.refusal_log = parts.refusal_log
        self.counts = parts.counts
        self.forwarding = parts.forwarding
        self.ids = RandomText()
        self.sessions: dict[str, Session] = {}
        self.unjoined: Unjoined | None = None
        self.session_joined: Callable[[Session], None] = _ignore
        self.packets_dropped = 0
        self.compression: Compression | None = None
        if options.http_compression is not None:
            self.compression = Compression(options.http_compression, parts.workers, poller)
        hooks, asked, proxies = parts.hooks, parts.asked, parts.trusted_proxies
        self.admission: Admission = (
            HookedAdmission(self, parts.workers, hooks, asked, proxies)
            if needs_hooks(hooks, asked, options)
            else PlainAdmission(self)
        )
        self._opening = Opening(self, open_session, parts.node, proxies)
        self._waiting_ended = trio.lowlevel.ParkingLot()

    # -- requests

    def receive_request(self, request: "Request") -> None:
        """Take a request whose path is that of this engine."""
        # First, because the node that has the session does all of this, with its own rules: FWD-01.
        if self.forwarding is not None and self.forwarding.forward(request, self):
            return
        upgrade = is_websocket_upgrade(request)
        query = request.query
        if "j" in query:
            name_page(request)  # EIO3-27; first, because the check of origins goes by it
        # Only pages have an origin.
        if "origin" in request.headers and not self.cors.allows(request):  # EIO4-60
            self.refuse(request, FOREIGN_ORIGIN, upgrade=upgrade)
        elif request.method == "OPTIONS" and self.cors.is_configured:
            self.cors.answer_preflight(request)
        else:
            session = self.sessions.get(query.get("sid", ""))
            if session is not None:
                session._liveness.receive_request()  # EIO4-83
                if request.is_forwarded:
                    session.handshake.is_forwarded = True  # FWD-33
            self.admission.receive(request, upgrade=upgrade)

    def verify(self, request: "Request", *, upgrade: bool) -> Refusal | None:
        """Return why a request is not allowed, or None.

        The checks and their order are the reference's (EIO4-11).

        Spec: Engine.IO v4, "Query parameters" and "Handshake".
        """
        query = request.query
        transport = query.get("transport", "")
        if transport not in self.options.transports:
            return UNKNOWN_TRANSPORT  # EIO4-02, EIO4-03, EIO4-26, EIO4-61
        sid = query.get("sid")
        protocol = protocol_of(request, self.options)
        if sid:
            session = self.sessions.get(sid)
            if session is None or session._life.state is CLOSED:
                # EIO4-04, OPS-47
                return FOREIGN_SID if is_foreign_sid(sid, self.node) else UNKNOWN_SID
            if not upgrade and transport != session._transport.name:
                return BAD_REQUEST  # EIO4-06, EIO4-51, EIO4-123
            if upgrade and (transport != "websocket" or not self.options.allow_upgrades):
                return BAD_REQUEST  # EIO4-62
            if request.method not in ("GET", "POST"):
                return BAD_REQUEST  # EIO4-25
            if protocol != session.protocol:
                return UNSUPPORTED_PROTOCOL  # EIO4-12, EIO3-03
        else:
            if request.method != "GET":
                return BAD_HANDSHAKE_METHOD  # EIO4-05
            if (transport == "websocket") is not upgrade:
                return BAD_REQUEST  # EIO4-06
            if self._opening.is_closed:
                return STOPPING  # OPS-48
            if not is_index(query.get("j", "0")):
                return BAD_REQUEST  # EIO3-24
            if not protocol:
                return UNSUPPORTED_PROTOCOL  # EIO4-02, EIO4-08, EIO4-26, EIO3-01, EIO3-02
        return None

    def refuse(
        self,
        request: "Request",
        refusal: Refusal,
        context: str = "",
        *,
        upgrade: bool,
    ) -> None:
        """Answer a request with an error, count and log it, and inform the admission."""
        self.counts.request_refused(refusal)
        if refusal is FOREIGN_ORIGIN:
            self.refusal_log.refused_origin(request)
        else:
            self.refusal_log.refused(self, request, refusal, context)
        self.admission.request_refused(request, refusal, context)
        if upgrade:
            refusal.answer_upgrade(request)  # EIO4-10
        else:
            refusal.answer(request, self.admission.headers(request))  # EIO4-09

    def refuse_foreign(self, request: "Request") -> None:
        """Answer that the session is unknown: the node that has it has not answered."""
        if "j" in request.query:
            name_page(request)
        # FWD-30: balancers would send a request again that was answered 502 or 503.
        self.refuse(request, FOREIGN_SID, upgrade=is_websocket_upgrade(request))

    def serve(self, request: "Request", *, upgrade: bool) -> None:
        """Open a session for an admitted request, or hand it to the session that it names."""
        sid = request.query.get("sid")
        if self.unjoined is not None and not sid:
            refusal = self.unjoined.refuse(request)
            if refusal is not None:
                self.refuse(request, refusal, upgrade=upgrade)
                return
        if upgrade:
            self._serve_upgrade(request, sid)
        elif sid:
            self._prefer(request, sid)  # RUN-51
            polling = self.sessions[sid]._transport
            if not isinstance(polling, PollingTransport):  # for mypy: verify has seen that it is
                BAD_REQUEST.answer(request, self.admission.headers(request))
            elif request.method == "GET":
                polling.receive_get(request)
            else:
                polling.inbox.receive_post(request)
        else:
            self._opening.open_polling(request)

    def _serve_upgrade(self, request: "Request", sid: str | None) -> None:
        headers = websocket_headers(request)
        if headers is None or request.method != "GET":
            self.refuse(request, websocket_refusal(request), upgrade=True)
        elif sid:
            self._prefer(request, sid)  # RUN-50
            self._opening.open_candidate(request, headers, self.sessions[sid])
        else:
            self._opening.open_websocket(request, headers)

    def _prefer(self, request: "Request", sid: str) -> None:
        """Have the connection of a request come before newcomers if its client has joined."""
        if self.unjoined is not None and self.sessions[sid] not in self.unjoined:
            self.poller.prefer(request.connection)

    # -- sessions

    def session_created(self, session: "Session") -> None:
        """Register a session that is about to open."""
        self.sessions[session.sid] = session
        if self.unjoined is not None:
            self.unjoined.add(session)

    def bound_unjoined(self, unjoined: "Unjoined") -> None:
        """Have the sessions bounded that have joined nothing."""
        self.unjoined = unjoined
        self.session_joined = unjoined.remove

    def session_closed(self, session: "Session", transport: "Transport") -> None:
        """Log that a session closes."""
        self.session_log.closed(session, transport)

    def session_ended(self, session: "Session") -> None:
        """Forget a session of which nothing is left."""
        self.session_joined(session)
        self.sessions.pop(session.sid, None)
        if not self.sessions:
            self._waiting_ended.unpark_all()

    def contain(self, session: "Session", error: BaseException) -> None:
        """Close a session in which an exception was raised.

        What the client did wrong is a "parse error". Anything else is a defect of ours, and is
        logged.
        """
        if isinstance(error, RemoteProtocolError):
            log.debug("a session is closed because its client broke the protocol: %s", error)
            session.lose("parse error")
        else:
            log.error("a session is closed because its listener failed", exc_info=error)
            session.lose("transport error")

    # -- the end

    async def wait_ended(self) -> None:
        """Wait until there is no session.

        A polling session ends when its client has fetched the close packet, or its time for that is
        over.
        """
        while self.sessions:
            await self._waiting_ended.park()

    def open_no_more(self) -> None:
        """Refuse new sessions from now on: the server stops."""
        self._opening.is_closed = True

    def close_all(self, reason: str, *, code: int) -> None:
        """Refuse new sessions, and close all that exist. Only marks them; see Session.close."""
        self._opening.is_closed = True
        for session in list(self.sessions.values()):
            session.close(reason, code=code)


def _ignore(_: "Session") -> None:
    """Stand in for Unjoined.remove, where there is nothing to join."""


def new_node_name() -> str:
    """Return 4 characters for sids, random at every start."""
    return secrets.token_urlsafe(3)
