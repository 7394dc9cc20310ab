"""The sessions of one path: who may open one, who may reach one, and their end."""

import logging
import secrets
from typing import TYPE_CHECKING, NamedTuple

import trio

from trio_socketio.engine.admission import PlainAdmission
from trio_socketio.engine.compression import Compression
from trio_socketio.engine.handshake import (
    BAD_HANDSHAKE_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
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
from trio_socketio.engine.ids import RandomText
from trio_socketio.engine.jsonp import is_index, name_page
from trio_socketio.engine.opening import Opening
from trio_socketio.engine.polling import PollingTransport
from trio_socketio.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_socketio.engine.admission import Admission
    from trio_socketio.engine.hooks import Engine, HookWorkers
    from trio_socketio.engine.newcomers import Newcomers
    from trio_socketio.engine.options import EngineOptions, RequestHooks
    from trio_socketio.engine.session import OpenSession, Session
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.runtime.options import ConnectionLimits
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)


class EngineParts(NamedTuple):
    """What the engines of one server share.

    Args:
        poller, deadlines, limits: of the runtime.
        workers: do what takes long.
        cors: of the server.
        trusted_proxies: networks of the proxies that are believed.
        hooks, asked: of the program.
        node: 4 characters that every sid starts with.
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


class EngineServer:
    """Engine.IO at one path (EIO4-01).

    It holds 13 attributes, as it is what its parts and the floor above meet in: nine of them are
    parts or what parts share.

    Args:
        options: see EngineOptions.
        parts: shared by the engines of the server.
        open_session: called with every new session.

    Attributes:
        packets_dropped: packets for sessions that were gone or too far behind.
        newcomers: bounds sessions that have joined nothing; None where there is nothing to join.
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
        self.ids = RandomText()
        self.sessions: dict[str, Session] = {}
        self.newcomers: Newcomers | None = None
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
        self._all_ended = trio.Event()

    # -- requests

    def receive_request(self, request: "Request") -> None:
        """Take a request whose path is ours."""
        upgrade = is_websocket_upgrade(request)
        if "j" in request.query:
            name_page(request)  # EIO3-27
        if not self.cors.allows(request):  # EIO4-60
            self.refuse(request, FORBIDDEN, upgrade=upgrade)
        elif request.method == "OPTIONS" and self.cors.is_configured:
            self.cors.answer_preflight(request)
        else:
            session = self.sessions.get(request.query.get("sid", ""))
            if session is not None:
                session._liveness.receive_request()
            self.admission.receive(request, upgrade=upgrade)

    def verify(self, request: "Request", *, upgrade: bool) -> Refusal | None:
        """The checks of the reference, in its order (EIO4-11).

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
            if session is None or session.is_closed:
                return UNKNOWN_SID  # EIO4-04
            if not upgrade and transport != session.transport:
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
            if self._opening.is_closed or not is_index(query.get("j", "0")):
                return BAD_REQUEST  # EIO3-24
            if not protocol:
                return UNSUPPORTED_PROTOCOL  # EIO4-02, EIO4-08, EIO4-26, EIO3-01, EIO3-02
        return None

    def refuse(
        self, request: "Request", refusal: Refusal, context: str = "", *, upgrade: bool
    ) -> None:
        """See Gate."""
        self.admission.request_refused(request, refusal, context)
        if upgrade:
            refusal.answer_upgrade(request)  # EIO4-10
        else:
            refusal.answer(request, self.admission.headers(request))  # EIO4-09

    def serve(self, request: "Request", *, upgrade: bool) -> None:
        """See Gate."""
        sid = request.query.get("sid")
        if self.newcomers is not None and not sid:
            refusal = self.newcomers.refuse(request)
            if refusal is not None:
                self.refuse(request, refusal, upgrade=upgrade)
                return
        if upgrade:
            self._serve_upgrade(request, sid)
        elif sid:
            self._serve_poll(request, self.sessions[sid])
        else:
            self._opening.open_polling(request)

    def _serve_upgrade(self, request: "Request", sid: str | None) -> None:
        headers = websocket_headers(request)
        if headers is None or request.method != "GET":
            self.refuse(request, websocket_refusal(request), upgrade=True)
        elif sid:
            self._opening.open_candidate(request, headers, self.sessions[sid])
        else:
            self._opening.open_websocket(request, headers)

    def _serve_poll(self, request: "Request", session: "Session") -> None:
        polling = session._transport
        if not isinstance(polling, PollingTransport):  # cannot be: verify saw that it is polling
            BAD_REQUEST.answer(request, self.admission.headers(request))
        elif request.method == "GET":
            polling.receive_get(request)
        else:
            polling.inbox.receive_post(request)

    # -- sessions

    def session_created(self, session: "Session") -> None:
        """See opening.Owner."""
        self.sessions[session.sid] = session
        if self.newcomers is not None:
            self.newcomers.add(session)

    def session_ended(self, session: "Session") -> None:
        """See session.Owner."""
        if self.newcomers is not None:
            self.newcomers.remove(session)
        self.sessions.pop(session.sid, None)
        if not self.sessions:
            self._all_ended.set()

    def contain(self, session: "Session", error: BaseException) -> None:
        """A packet raised: the peer's fault closes its session, ours closes it and is logged."""
        if isinstance(error, RemoteProtocolError):
            log.debug("a session is closed: %s", error)
            session.lose("parse error")
        else:
            log.error("a session failed and is closed", exc_info=error)
            session.lose("transport error")

    # -- the end

    async def wait_ended(self) -> None:
        """Wait until there is no session: the last polling clients have fetched their close."""
        while self.sessions:
            self._all_ended = trio.Event()
            await self._all_ended.wait()

    def open_no_more(self) -> None:
        """Refuse new sessions from now on: the server stops."""
        self._opening.is_closed = True

    def close_all(self, reason: str, *, code: int) -> None:
        """Open no more sessions and end all there are. Marks only."""
        self._opening.is_closed = True
        for session in list(self.sessions.values()):
            session.close(reason, code=code)


def new_node_name() -> str:
    """4 characters for sids, new at every start. A cluster checks that no two nodes share one."""
    return secrets.token_urlsafe(3)
