"""Opens sessions and upgrades for requests that were admitted."""

from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.json_text import encode_json
from trio_socketio.engine import polling as engine_polling
from trio_socketio.engine.handshake import Handshake, protocol_of
from trio_socketio.engine.ids import SID_RANDOM_CHARACTERS
from trio_socketio.engine.payloads import choose_payloads
from trio_socketio.engine.polling import PollingTransport
from trio_socketio.engine.revisions import REVISIONS
from trio_socketio.engine.session import Session
from trio_socketio.engine.upgrade import Candidate
from trio_socketio.engine.websocket import WebSocketTransport, read_frames
from trio_socketio.net.deflate import Deflate
from trio_socketio.net.frames import FrameReceiver

if TYPE_CHECKING:
    from trio_socketio.engine.ids import RandomText
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.revisions import Revision
    from trio_socketio.engine.session import OpenSession
    from trio_socketio.engine.sessions import SessionLog
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection
    from trio_socketio.net.deflate import Agreement
    from trio_socketio.option_checks import Network

_EXTENSIONS: Final = "Sec-WebSocket-Extensions"
_POLICY_VIOLATION: Final = 1008


class Owner(engine_polling.Owner, Protocol):
    """The owner of sessions."""

    ids: "RandomText"
    sessions: dict[str, Session]

    @property
    def session_log(self) -> "SessionLog":
        """Logs sessions."""

    def session_created(self, session: Session, /) -> None:
        """Register a session that is about to open."""


class Opening:
    """Opens the sessions of one engine, each with its transport, reader and revision.

    Args:
        owner: the engine.
        open_session: called with every new session; returns its listener.
        node: the 4 characters that every sid starts with.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.

    Attributes:
        is_closed: whether no further session may be opened; `EngineServer.verify` looks at it.
    """

    def __init__(
        self,
        owner: Owner,
        open_session: "OpenSession",
        node: str,
        trusted_proxies: "tuple[Network, ...]",
    ) -> None:
        options = owner.options
        self.is_closed = False
        self._owner = owner
        self._open_session = open_session
        self._node = node
        self._trusted_proxies = trusted_proxies
        self._upgrades = (
            ["websocket"] if options.allow_upgrades and "websocket" in options.transports else []
        )
        deflate = options.per_message_deflate
        self._deflate = None if deflate is None else Deflate(deflate)
        self._initial_packet = _encode_message(options.initial_packet)

    def open_polling(self, request: "Request") -> None:
        """Open a session that starts on polling."""
        session, revision = self._create_session(request)
        reader = revision.create_reader(session)
        payloads = choose_payloads(revision.protocol, request.query)
        owner = self._owner
        transport = PollingTransport(owner, session, reader, payloads)
        session._carry_by(transport)
        owner.counts.session_opened("polling")
        transport.receive_get(request)
        self._start(session, self._upgrades)

    def open_websocket(self, request: "Request", headers: list[tuple[bytes, bytes]]) -> None:
        """Open a session that starts on WebSocket.

        Args:
            request: a valid handshake.
            headers: those of its 101 answer.
        """
        agreement = self._negotiate(request, headers)
        session, revision = self._create_session(request)
        headers += self._owner.admission.switching_headers(request)
        connection, ahead = request.switch_protocols(headers)
        connection.count_apart()
        # As in the reference the 101 answer leaves alone: old clients expect nothing with it.
        if revision.opens_apart and not connection.is_blocked:
            connection.flush()
        reader = revision.create_reader(session)
        transport = self._create_websocket(
            request, connection, session, revision, reader, agreement
        )
        session._carry_by(transport)
        self._owner.counts.session_opened("websocket")
        self._start(session, [])
        if ahead:
            transport.frames.receive_data(ahead)

    def open_candidate(
        self, request: "Request", headers: list[tuple[bytes, bytes]], session: Session
    ) -> None:
        """Open a WebSocket that is to take over a session from polling.

        Args:
            request: a valid handshake that names the session.
            headers: those of its 101 answer.
            session: the session.
        """
        agreement = self._negotiate(request, headers)
        headers += self._owner.admission.switching_headers(request)
        connection, ahead = request.switch_protocols(headers)
        connection.count_apart()
        polling = session._transport
        if (
            session._upgrade is not None
            or not session.is_open
            or not isinstance(polling, PollingTransport)
        ):
            # EIO4-28, EIO4-120: a session has one WebSocket. As in the reference, a second one is
            # closed after the 101 answer.
            FrameReceiver(connection, 0, _ignore, _ignore, _ignore).close(_POLICY_VIOLATION)
            return
        revision = REVISIONS[session.protocol]
        reader = revision.create_reader(session)
        transport = self._create_websocket(
            request, connection, session, revision, reader, agreement
        )
        session._upgrade = Candidate(self._owner, session, reader, polling, transport)
        session.reschedule()
        if ahead:
            transport.frames.receive_data(ahead)

    def _negotiate(
        self, request: "Request", headers: list[tuple[bytes, bytes]]
    ) -> "Agreement | None":
        """Agree on compression if the client offers it, which adds a header."""
        if self._deflate is None:
            return None
        agreement = self._deflate.negotiate(request.headers.get(_EXTENSIONS.lower(), ""))
        if agreement is not None:
            headers.append((_EXTENSIONS.encode(), agreement.answer))
        return agreement

    def _create_websocket(
        self,
        request: "Request",
        connection: "Connection",
        session: Session,
        revision: "Revision",
        reader: "Reader",
        agreement: "Agreement | None",
    ) -> WebSocketTransport:
        deflate = self._deflate
        deflater = None if agreement is None or deflate is None else deflate.sender(agreement)
        frames = read_frames(
            connection,
            self._owner.options.max_http_buffer_size_bytes,
            reader.receive_text,
            reader.receive_frame,
            session.lose,
            agreement,
        )
        encode = revision.choose_encoder(request.query, deflater)
        return WebSocketTransport(connection, frames, encode)

    def _create_session(self, request: "Request") -> "tuple[Session, Revision]":
        owner = self._owner
        revision = REVISIONS[protocol_of(request, owner.options)]
        sid = self._node + owner.ids.draw(SID_RANDOM_CHARACTERS)  # EIO4-34
        sid = owner.admission.name_session(request, sid)
        heartbeat = revision.create_heartbeat(owner.options, trio.current_time())
        session = Session(
            owner, sid, Handshake(request, self._trusted_proxies), revision.protocol, heartbeat
        )
        owner.session_created(session)
        return session, revision

    def _start(self, session: Session, upgrades: list[str]) -> None:
        """Send the open packet, then give the session its listener.

        The open packet comes first whatever the listener sends when it is made.

        Spec: Engine.IO v4, "Handshake".
        """
        options = self._owner.options
        handshake = {  # EIO4-32, EIO3-04
            "sid": session.sid,
            "upgrades": upgrades,  # EIO4-33
            "pingInterval": round(options.ping_interval_s * 1000),
            "pingTimeout": round(options.ping_timeout_s * 1000),
            "maxPayload": options.max_http_buffer_size_bytes,
        }
        session.send(Outgoing(b"0" + encode_json(handshake)))
        if self._initial_packet is not None:
            session.send(self._initial_packet)  # EIO4-65
        self._owner.session_log.opened(session)
        try:
            session.listener = self._open_session(session)
        except BaseException:
            # After an async hook no connection stands behind this call that would be closed for the
            # error, and the session would stay open without a listener.
            session.lose("transport error")
            raise
        session.reschedule()
        if session.is_open:  # open_session may have closed it at once
            self._owner.admission.session_opened(session)


def _encode_message(message: str | bytes | None) -> Outgoing | None:
    if message is None:
        return None
    if isinstance(message, str):
        return Outgoing(b"4" + message.encode())
    return Outgoing(b"", (message,))


def _ignore(_: object) -> None:
    """Ignore what comes over a WebSocket that is refused."""
