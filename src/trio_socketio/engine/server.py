"""The sessions of one path: who may open one, who may reach one, and their end."""

import logging
import secrets
from math import inf
from typing import TYPE_CHECKING

import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.json_text import encode_json
from trio_socketio.engine.compression import Compression
from trio_socketio.engine.deflating import DeflatingSession
from trio_socketio.engine.handshake import (
    BAD_HANDSHAKE_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_PROTOCOL,
    Handshake,
    Refusal,
    is_websocket_upgrade,
    protocol_of,
    websocket_headers,
    websocket_refusal,
)
from trio_socketio.engine.ids import SID_RANDOM_CHARACTERS, RandomText
from trio_socketio.engine.jsonp import is_index, name_page
from trio_socketio.engine.payloads import choose_payloads
from trio_socketio.engine.polling import PollingTransport
from trio_socketio.engine.session import OpenSession, Session
from trio_socketio.engine.session_v3 import SessionV3
from trio_socketio.engine.websocket import WebSocketTransport
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.http.cors import Cors
from trio_socketio.net.deflate import Deflate
from trio_socketio.net.frames import FrameReceiver

if TYPE_CHECKING:
    from trio_socketio.engine.hooks import HookWorkers
    from trio_socketio.engine.newcomers import Newcomers
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection
    from trio_socketio.options import ServerOptions
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)

_EXTENSIONS = "Sec-WebSocket-Extensions"


class EngineServer:
    """Engine.IO at one path.

    Args:
        options: see ServerOptions.
        poller, deadlines: shared by the whole server.
        open_session: called with every new session.
        node: 4 characters that every sid starts with.
        workers: do what takes long.
    """

    def __init__(
        self,
        options: "ServerOptions",
        poller: "Poller",
        deadlines: "Deadlines",
        open_session: OpenSession,
        node: str,
        workers: "HookWorkers",
    ) -> None:
        self.options = options
        self.workers = workers
        self.cors = Cors(options, workers)
        self.poller = poller
        self.deadlines = deadlines
        self.ids = RandomText()
        self.packets_dropped = 0
        self.sessions: dict[str, Session] = {}
        self._open_session = open_session
        self._node = node
        self._upgrades = (
            ["websocket"] if options.allow_upgrades and "websocket" in options.transports else []
        )
        self.compression: Compression | None = None
        self.compress_from_bytes: float = inf  # bodies of that size are offered to it
        if options.http_compression is not None:
            self.compression = Compression(options.http_compression, workers, poller)
            self.compress_from_bytes = options.http_compression.threshold_bytes
        self.deflate: Deflate | None = None
        self._session_type = Session
        if options.per_message_deflate is not None:
            self.deflate = Deflate(options.per_message_deflate)
            self._session_type = DeflatingSession
        self._initial_packet = _encode_message(options.initial_packet)
        self.newcomers: Newcomers | None = None  # where clients are to join something
        self._closing = False
        self._all_ended = trio.Event()

    def headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        return self.cors.headers(request)

    def packet_headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """What an answer carries that is no error."""
        return self.cors.headers(request)

    def receive_request(self, request: "Request") -> None:
        """Take a request whose path is ours."""
        upgrade = is_websocket_upgrade(request)
        if "j" in request.query:
            name_page(request)
        if not self.cors.allows(request):
            self._refuse(request, FORBIDDEN, upgrade=upgrade)
        elif request.method == "OPTIONS" and self.cors.is_configured:
            self.cors.answer_preflight(request)
        else:
            session = self.sessions.get(request.query.get("sid", ""))
            if session is not None:
                session.receive_request()
            self._receive(request, upgrade=upgrade)

    def _receive(self, request: "Request", *, upgrade: bool) -> None:
        refusal = self._verify(request, upgrade=upgrade)
        if refusal is not None:
            self._refuse(request, refusal, upgrade=upgrade)
        else:
            self._serve(request, upgrade=upgrade)

    def _refuse(
        self, request: "Request", refusal: Refusal, context: str = "", *, upgrade: bool
    ) -> None:
        if upgrade:
            refusal.answer_upgrade(request)
        else:
            refusal.answer(request, self.headers(request))

    def _serve(self, request: "Request", *, upgrade: bool) -> None:
        if self.newcomers is not None and not request.query.get("sid"):
            refusal = self.newcomers.refuse(request)
            if refusal is not None:
                self._refuse(request, refusal, upgrade=upgrade)
                return
        if upgrade:
            self._receive_upgrade(request)
        elif request.query.get("sid"):
            self._receive_poll(request, self.sessions[request.query["sid"]])
        else:
            self._open_polling(request)

    def _verify(self, request: "Request", *, upgrade: bool) -> Refusal | None:
        """The checks of the reference, in its order.

        Spec: Engine.IO v4, "Query parameters" and "Handshake".
        """
        query = request.query
        transport = query.get("transport", "")
        if transport not in self.options.transports:
            return UNKNOWN_TRANSPORT
        sid = query.get("sid")
        protocol = protocol_of(request, self.options)
        if sid:
            session = self.sessions.get(sid)
            if session is None or session.is_closed:
                return UNKNOWN_SID
            if not upgrade and transport != session.transport:
                return BAD_REQUEST
            if upgrade and (transport != "websocket" or not self.options.allow_upgrades):
                return BAD_REQUEST
            if request.method not in ("GET", "POST"):
                return BAD_REQUEST
            if protocol != session.protocol:
                return UNSUPPORTED_PROTOCOL
        else:
            if request.method != "GET":
                return BAD_HANDSHAKE_METHOD
            if (transport == "websocket") is not upgrade:
                return BAD_REQUEST
            if self._closing or not is_index(query.get("j", "0")):
                return BAD_REQUEST
            if not protocol:
                return UNSUPPORTED_PROTOCOL
        return None

    def _receive_poll(self, request: "Request", session: Session) -> None:
        polling = session.polling
        if polling is None:  # cannot be: its transport is polling
            BAD_REQUEST.answer(request, self.headers(request))
        elif request.method == "GET":
            polling.receive_get(request)
        else:
            polling.receive_post(request)

    def _open_polling(self, request: "Request") -> None:
        session = self._create_session(request)
        payloads = choose_payloads(session.protocol, request.query)
        session.polling = PollingTransport(self, session, payloads)
        session.polling.receive_get(request)
        self._start(session, self._upgrades)

    def _receive_upgrade(self, request: "Request") -> None:
        headers = websocket_headers(request)
        if headers is None or request.method != "GET":
            self._refuse(request, websocket_refusal(request), upgrade=True)
            return
        agreement = None
        if self.deflate is not None and protocol_of(request, self.options) == Session.protocol:
            agreement = self.deflate.negotiate(request.headers.get(_EXTENSIONS.lower(), ""))
            if agreement is not None:
                headers.append((_EXTENSIONS.encode(), agreement.answer))
        sid = request.query.get("sid")
        if not sid:
            session = self._create_session(request)
            session.prepare_websocket(request.query)
            headers += self._switching_headers(request)
            connection, ahead = request.switch_protocols(headers)
            if session.protocol == 3 and not connection.is_blocked:
                connection.flush()  # as the reference: clients of that age expect nothing with it
            transport = WebSocketTransport(self, session, connection, agreement)
            transport.start()
            self._start(session, [])
        else:
            session = self.sessions[sid]
            headers += self._switching_headers(request)
            connection, ahead = request.switch_protocols(headers)
            if session.websocket is not None or not session.is_open:
                self._refuse_candidate(connection)
                return
            session.prepare_websocket(request.query)
            transport = WebSocketTransport(self, session, connection, agreement)
            transport.probe()
        transport.receive_data(ahead)

    def _switching_headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """What a 101 answer carries besides its own."""
        return []

    def _refuse_candidate(self, connection: "Connection") -> None:
        """A session has one WebSocket: a second is closed, as the reference does, after 101."""
        FrameReceiver(connection, 0, _ignore, _ignore, _ignore).close(1008)

    def _create_session(self, request: "Request") -> Session:
        is_old = protocol_of(request, self.options) != Session.protocol
        kind = SessionV3 if is_old else self._session_type
        session = kind(self, self._new_sid(request), Handshake(request, self.options))
        self.sessions[session.sid] = session
        if self.newcomers is not None:
            self.newcomers.add(session)
        return session

    def _new_sid(self, request: "Request") -> str:
        return self._node + self.ids.draw(SID_RANDOM_CHARACTERS)

    def _start(self, session: Session, upgrades: list[str]) -> None:
        """Send the open packet, then let the listener in.

        Spec: Engine.IO v4, "Handshake".
        """
        options = self.options
        handshake = {
            "sid": session.sid,
            "upgrades": upgrades,
            "pingInterval": round(options.ping_interval_s * 1000),
            "pingTimeout": round(options.ping_timeout_s * 1000),
            "maxPayload": options.max_http_buffer_size_bytes,
        }
        session.send(Outgoing(b"0" + encode_json(handshake)))
        if self._initial_packet is not None:
            session.send(self._initial_packet)
        try:
            session.listener = self._open_session(session)
        except BaseException:
            session.lose("transport error")  # after a hook there is no connection's barrier
            raise
        self.deadlines.schedule(session)

    def session_ended(self, session: Session) -> None:
        """See Session: nothing of it is left."""
        if self.newcomers is not None:
            self.newcomers.remove(session)
        self.sessions.pop(session.sid, None)
        if not self.sessions:
            self._all_ended.set()
        self.deadlines.forget(session)

    def contain(self, session: Session, error: BaseException) -> None:
        """A packet raised: the peer's fault closes its session, ours closes it and is logged."""
        if isinstance(error, RemoteProtocolError):
            log.debug("a session is closed: %s", error)
            session.lose("parse error")
        else:
            log.error("a session failed and is closed", exc_info=error)
            session.lose("transport error")

    async def wait_ended(self) -> None:
        """Wait until there is no session: the last polling clients have fetched their close."""
        while self.sessions:
            self._all_ended = trio.Event()
            await self._all_ended.wait()

    def open_no_more(self) -> None:
        """Refuse new sessions from now on: the server stops."""
        self._closing = True

    def close_all(self, reason: str, *, code: int) -> None:
        """Open no more sessions and end all there are. Marks only."""
        self._closing = True
        for session in list(self.sessions.values()):
            session.close(reason, code=code)


def _encode_message(message: str | bytes | None) -> Outgoing | None:
    if message is None:
        return None
    if isinstance(message, str):
        return Outgoing(b"4" + message.encode())
    return Outgoing(b"", (message,))


def _ignore(_: object) -> None:
    """Nothing is handed over by a WebSocket that is refused."""


def new_node_name() -> str:
    """4 characters for sids, new at every start. A cluster checks that no two nodes share one."""
    return secrets.token_urlsafe(3)
