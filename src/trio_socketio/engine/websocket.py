"""WebSocket: carries a session from its start, or takes it over from polling."""

from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.codec.engine_packet import PROBE_PING, PROBE_PONG
from trio_socketio.engine.deflating import DeflatingSession
from trio_socketio.net.deflate import DeflateReceiver, Inflater
from trio_socketio.net.frames import FrameReceiver, encode_frames
from trio_socketio.protocol.upgrade import Input, State, UpgradeMachine

if TYPE_CHECKING:
    from trio_socketio.engine.server import EngineServer
    from trio_socketio.engine.session import Session
    from trio_socketio.net.connection import Connection
    from trio_socketio.net.deflate import Agreement

_UPGRADE: Final = b"5"
_BAD_CANDIDATE: Final = 1002


class WebSocketTransport:
    """A WebSocket connection of a session.

    As a *candidate* it answers the probe and waits for the upgrade packet; then, or from the
    start, the frames go straight to the session.

    Spec: Engine.IO v4, "WebSocket" and "Upgrade".
    """

    __slots__ = ("_agreement", "_connection", "_frames", "_server", "_session")

    def __init__(
        self,
        server: "EngineServer",
        session: "Session",
        connection: "Connection",
        agreement: "Agreement | None" = None,
    ) -> None:
        self._server = server
        self._session = session
        self._connection = connection
        self._agreement = agreement
        max_bytes = server.options.max_http_buffer_size_bytes
        handlers = (session.receive_text, session.receive_frame, session.lose)
        if agreement is None:
            self._frames = FrameReceiver(connection, max_bytes, *handlers)
        else:
            inflater = Inflater(
                agreement.client_bits, max_bytes, takeover=agreement.client_takeover
            )
            self._frames = DeflateReceiver(connection, max_bytes, *handlers, inflater)

    def start(self) -> None:
        """Carry the session from its beginning."""
        self._session.websocket = self
        self._carry()

    def probe(self) -> None:
        """Wait for the probe, as a candidate."""
        session = self._session
        if session.upgrade is None:
            session.upgrade = UpgradeMachine(self._server.options.upgrade_timeout_s)
        session.upgrade.receive(Input.CANDIDATE_OPENED, trio.current_time())
        session.websocket = self
        self._server.deadlines.schedule(session)
        self._frames.set_handlers(
            self._receive_candidate_text, self._receive_candidate_binary, self._candidate_lost
        )

    def receive_data(self, data: bytes) -> None:
        """Frames that came together with the handshake."""
        if data:
            self._frames.receive_data(data)

    def pause(self, user_timeout_s: float) -> None:
        """Hand nothing more over."""
        self._frames.pause(user_timeout_s)

    def hold(self) -> None:
        """Hand nothing more over for the moment; a hang-up waits until it resumes."""
        self._frames.hold()

    def resume(self) -> None:
        """Hand over again, in the next turn."""
        self._frames.resume()

    def close(self, code: int) -> None:
        """Send a close frame and end."""
        self._frames.close(code)

    def fail_probe(self) -> None:
        """The candidate will not take over; polling goes on."""
        session, upgrade = self._session, self._session.upgrade
        self.close(_BAD_CANDIDATE)
        if upgrade is not None and upgrade.state in (State.CANDIDATE, State.PROBED):
            upgrade.receive(Input.PROBE_FAILED, trio.current_time())
            session.websocket = None

    def _receive_candidate_text(self, packet: bytes) -> None:
        session, upgrade = self._session, self._session.upgrade
        if upgrade is None or session.is_closed:
            return
        if upgrade.state is State.UPGRADED:
            session.receive_text(packet)  # came in one read with the upgrade packet
        elif packet == PROBE_PING:
            upgrade.receive(Input.PROBE_RECEIVED, trio.current_time())
            self._connection.write(encode_frames(PROBE_PONG))
            if session.polling is not None:
                session.polling.release()
        elif packet == _UPGRADE:
            upgrade.receive(Input.UPGRADE_RECEIVED, trio.current_time())
            self._take_over()
        else:
            self.fail_probe()

    def _receive_candidate_binary(self, data: bytes) -> None:
        upgrade = self._session.upgrade
        if upgrade is not None and upgrade.state is State.UPGRADED:
            self._session.receive_frame(data)
        else:
            self.fail_probe()

    def _candidate_lost(self, reason: str) -> None:
        upgrade = self._session.upgrade
        if upgrade is not None and upgrade.state is State.UPGRADED:
            self._session.lose(reason)
        else:
            self.fail_probe()

    def _take_over(self) -> None:
        session = self._session
        self._frames.set_handlers(session.receive_text, session.receive_frame, session.lose)
        if session.polling is not None:
            session.polling.release()
        self._carry()
        if session.paused:
            self.pause(self._server.options.ping_timeout_s)

    def _carry(self) -> None:
        session = self._session
        deflate = self._server.deflate
        if self._agreement is not None and deflate is not None:
            assert isinstance(session, DeflatingSession)  # the server has no others
            session.deflater = deflate.sender(self._agreement)
        session.carry_by(self._connection)
