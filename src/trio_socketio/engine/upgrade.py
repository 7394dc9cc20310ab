"""The upgrade of a session from polling to WebSocket.

A WebSocket that names a session is its *candidate*: it answers the probe, and replaces the polling
transport when the upgrade packet comes. The table of the states is in `protocol/upgrade.py`.
"""

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.codec.engine_packet import PROBE_PING, PROBE_PONG
from trio_socketio.protocol.session import Input as SessionInput
from trio_socketio.protocol.upgrade import Input, State, UpgradeMachine

if TYPE_CHECKING:
    from trio_socketio.engine.polling import PollingTransport
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.session import Owner, Session
    from trio_socketio.engine.websocket import WebSocketTransport

log = logging.getLogger(__name__)

_UPGRADE: Final = b"5"
_NORMAL: Final = 1000
_BAD_CANDIDATE: Final = 1002


class Candidate:
    """A WebSocket that is to take a session over from polling.

    Args:
        owner: the engine.
        session: is open, and carried by polling.
        reader: reads the session's packets from the WebSocket.
        polling: carries the session until the upgrade.
        websocket: carries it afterwards.

    Spec: Engine.IO v4, "Upgrade".
    """

    __slots__ = ("_code", "_machine", "_owner", "_polling", "_reader", "_session", "_websocket")

    def __init__(
        self,
        owner: "Owner",
        session: "Session",
        reader: "Reader",
        polling: "PollingTransport",
        websocket: "WebSocketTransport",
    ) -> None:
        self._owner = owner
        self._session = session
        self._reader = reader
        self._polling = polling
        self._websocket = websocket
        self._code = _NORMAL
        self._machine = UpgradeMachine(owner.options.upgrade_timeout_s)
        self._machine.receive(Input.CANDIDATE_OPENED, trio.current_time())
        websocket.frames.set_handlers(self._receive_text, self._receive_binary, self._lose)

    @property
    def is_probed(self) -> bool:
        """Whether the probe was answered and the upgrade packet has not come."""
        return self._machine.state is State.PROBED

    def next_deadline(self) -> float:
        """When the upgrade packet has to be here."""
        return self._machine.expires_at

    def fail(self) -> None:
        """Close the WebSocket. Polling goes on, and another candidate may come (EIO4-52)."""
        log.debug("%s stays on polling: its WebSocket has failed", self._session)
        self._websocket.close(_BAD_CANDIDATE)
        if self._machine.state in (State.CANDIDATE, State.PROBED):
            self._owner.counts.upgrades_failed += 1
            self._machine.receive(Input.PROBE_FAILED, trio.current_time())
            self._session._upgrade = None

    def resume(self) -> None:
        """Go on with a POST that was held back when the WebSocket took over."""
        if self._machine.state is State.UPGRADED:
            self._polling.resume()

    def close(self, code: int) -> None:
        """Close the WebSocket, unless the client may need it to hear of the end.

        Once its probe was answered, a client sends no further GET. Its upgrade packet is on the
        way, and without this WebSocket it would never be told why the session ends (EIO4-124).
        """
        self._code = code
        if self._machine.state is State.CANDIDATE:
            self._websocket.close(code)

    def sever(self, code: int) -> None:
        """Close the WebSocket at once; one that has taken over is the session's transport."""
        if self._machine.state is not State.UPGRADED:  # LEASE-52
            self._websocket.sever(code)

    def discard(self) -> None:
        """Close the WebSocket, or refuse a POST that was being received when it took over."""
        if self._machine.state is State.UPGRADED:
            self._polling.discard()
        else:
            self._websocket.close(self._code)

    def _receive_text(self, packet: bytes) -> None:
        session, machine = self._session, self._machine
        if session.is_closed:
            return
        if machine.state is State.UPGRADED:
            self._reader.receive_text(packet)  # it came in one read with the upgrade packet
        elif packet == PROBE_PING:  # EIO4-48, EIO3-19
            machine.receive(Input.PROBE_RECEIVED, trio.current_time())
            self._websocket.send(PROBE_PONG)
            self._polling.release()  # EIO4-49
        elif packet == _UPGRADE:  # EIO4-50, EIO4-53: also without a probe, as in the reference
            machine.receive(Input.UPGRADE_RECEIVED, trio.current_time())
            self._take_over()
        else:
            self.fail()

    def _receive_binary(self, data: bytes) -> None:
        if self._machine.state is State.UPGRADED:
            self._reader.receive_frame(data)
        else:
            self.fail()

    def _lose(self, reason: str) -> None:
        if self._machine.state is State.UPGRADED:
            self._session.lose(reason)
        else:
            self.fail()

    def _take_over(self) -> None:
        session, websocket = self._session, self._websocket
        reader = self._reader
        websocket.frames.set_handlers(reader.receive_text, reader.receive_frame, session.lose)
        waiting = self._polling.retire()
        for packet in waiting:  # EIO4-119: in order, each once
            websocket.send(packet)
        if not session.is_open:  # EIO4-124
            websocket.close(self._code)
            session._end(SessionInput.FLUSHED)
            return
        session._earlier = self._polling.traffic
        self._owner.counts.upgraded += 1
        session._carry_by(websocket)
        log.debug("%s has changed from polling to WebSocket", session)
        if not self._polling.inbox.is_receiving:
            session._upgrade = None  # otherwise it stays, to resume or refuse the unfinished POST
        if session.paused:
            websocket.pause(self._owner.options.ping_timeout_s)
