"""The upgrade of a session from polling to WebSocket.

A WebSocket that names a session is its *candidate*: it answers the probe, and replaces the polling
transport when the upgrade packet comes. The table of the states is in `protocol/upgrade.py`.
"""

import logging
from math import inf
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
    from trio_socketio.net.connection import Connection
    from trio_socketio.runtime.deadlines import Deadlines, Entry

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

    __slots__ = (
        "_code",
        "_machine",
        "_owner",
        "_parting",
        "_polling",
        "_reader",
        "_session",
        "_websocket",
    )

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
        self._parting: Parting | None = None
        self._machine = UpgradeMachine(owner.options.upgrade_timeout_s)
        self._machine.receive(Input.CANDIDATE_OPENED, trio.current_time())
        websocket.frames.set_handlers(self._receive_text, self._receive_binary, self._lose)

    @property
    def is_probed(self) -> bool:
        """Whether the probe was answered and the upgrade packet has not come."""
        return self._machine.state is State.PROBED

    @property
    def connection(self) -> "Connection":
        """The connection of the WebSocket."""
        return self._websocket.connection

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
        """Close the WebSocket, unless it is the session's transport (LEASE-52).

        If its probe was answered, it is closed only when the upgrade packet has come: see
        `Parting`.
        """
        if self._machine.state is State.PROBED:
            self._parting = Parting(
                self._websocket, code, self._owner.deadlines, self._machine.expires_at
            )
        elif self._machine.state is State.CANDIDATE:
            self._websocket.sever(code)

    def discard(self) -> None:
        """Close the WebSocket, or refuse a POST that was being received when it took over."""
        if self._machine.state is State.UPGRADED:
            self._polling.discard()
        elif self._parting is None:
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


class Parting:
    """A WebSocket whose session was cut off between the answer to its probe and its upgrade packet.

    The client has paused polling or is about to. To official clients, a WebSocket that closes now
    is a failed probe: they would stay paused, and notice the end only by the next missing ping,
    after 45 s. So it is closed as soon as the client has moved over to it.

    Args:
        websocket: is closed.
        code: of the close frame.
        deadlines: watch for `expires_at`.
        expires_at: when the upgrade packet must have come, on trio's clock.
    """

    __slots__ = ("_code", "_deadlines", "_expires_at", "_websocket", "deadline_entry")

    def __init__(
        self, websocket: "WebSocketTransport", code: int, deadlines: "Deadlines", expires_at: float
    ) -> None:
        self._websocket = websocket
        self._code = code
        self._deadlines = deadlines
        self._expires_at = expires_at
        self.deadline_entry: Entry | None = None
        websocket.frames.set_handlers(self._end, self._end, self._end)
        deadlines.schedule(self)

    def next_deadline(self) -> float:
        """When the upgrade packet must have come; infinity once the WebSocket is closed."""
        return self._expires_at

    def expire(self, now: float) -> None:
        """Close the WebSocket."""
        self._end()

    def _end(self, _: object = None) -> None:
        """Close the WebSocket: the upgrade packet, another packet or the end has come."""
        self._expires_at = inf
        self._deadlines.forget(self)
        self._websocket.close(self._code)
