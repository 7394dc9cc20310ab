"""One sid: what carries it, what arrives, whether its client lives; what leaves is in output.py.

Closing only marks: the listener is told after the batch, from the poller's queue.
"""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from trio_socketio.codec.engine_packet import (
    CLOSE,
    MESSAGE,
    PING,
    Outgoing,
    PacketType,
    decode_packet,
)
from trio_socketio.engine.listener import NOBODY, Listener
from trio_socketio.engine.output import SessionOutput
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.heartbeat import Beat, Heartbeat
from trio_socketio.protocol.session import Input, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_socketio.engine.handshake import Handshake
    from trio_socketio.engine.server import EngineServer
    from trio_socketio.engine.websocket import WebSocketTransport
    from trio_socketio.net.connection import Connection
    from trio_socketio.protocol.upgrade import UpgradeMachine
    from trio_socketio.runtime.deadlines import Entry

MAX_PAUSE_S: Final = 30.0
"""How long reading may stand still before the session is given up; the heartbeat stands too."""

_PONG: Final = ord("0") + PacketType.PONG
_BASE64: Final = ord("b")
_IGNORED: Final = frozenset(b"56")  # upgrade and noop have no meaning once upgraded


class Session(SessionOutput):
    """A logical connection with one client, over polling, WebSocket, or first one then the other.

    Args:
        server: owns the session.
        sid: names it; a secret between client and server.
        handshake: the request that opened it.
    """

    protocol: ClassVar = 4
    """The revision of Engine.IO that its client speaks, 4 or 3."""

    __slots__ = (
        "__weakref__",
        "_heartbeat",
        "_paused_until",
        "deadline_entry",
        "handshake",
        "listener",
        "paused",
        "sid",
        "upgrade",
        "websocket",
    )

    def __init__(self, server: "EngineServer", sid: str, handshake: "Handshake") -> None:
        super().__init__(server)
        self.sid = sid
        self.handshake = handshake
        options = server.options
        now = trio.current_time()
        self._heartbeat = Heartbeat(
            options.ping_interval_s, options.ping_timeout_s, now + options.ping_interval_s
        )
        self.upgrade: UpgradeMachine | None = None
        self.websocket: WebSocketTransport | None = None
        self.listener: Listener = NOBODY
        self._paused_until = inf
        self.paused = False
        self.deadline_entry: Entry | None = None

    # -- what it is

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is left; a polling session may be closing before."""
        return self._machine.state is State.CLOSED

    @property
    def transport(self) -> str:
        """Name of what carries it now: "polling" or "websocket"."""
        return "polling" if self._connection is None else "websocket"

    # -- receiving

    def receive_text(self, packet: bytes) -> None:
        """A text packet arrived on the transport in charge. The hot path starts here."""
        if packet and packet[0] == MESSAGE:
            try:
                self.listener.receive_text(packet)
            except BaseException as error:
                self._server.contain(self, error)
        else:
            self._receive_control(packet)

    def receive_binary(self, data: bytes) -> None:
        """A binary message arrived."""
        try:
            self.listener.receive_binary(data)
        except BaseException as error:
            self._server.contain(self, error)

    receive_frame = receive_binary
    """A binary WebSocket message arrived: in revision 4, nothing but the message."""

    def _receive_control(self, packet: bytes) -> None:
        kind = packet[0] if packet else 0
        if kind == _PONG:
            self._heartbeat.receive_pong(trio.current_time())
            self._server.deadlines.schedule(self)
        elif packet == CLOSE.text:
            self.lose("transport close")
        elif kind == _BASE64:  # official clients with forceBase64, on WebSocket too
            try:
                data = decode_packet(packet).data
            except RemoteProtocolError:
                self.lose("parse error")
            else:
                self.receive_binary(data)
        elif kind not in _IGNORED:
            # A ping goes from server to client; an open packet too; nothing else exists.
            self.lose("transport error" if packet[:1].isdigit() else "parse error")

    def joined(self) -> None:
        """The client has joined something: the session is no newcomer any more."""
        if self._server.newcomers is not None:
            self._server.newcomers.remove(self)

    def contain(self, error: Exception) -> None:
        """A packet raised: end the session with the reason that fits."""
        self._server.contain(self, error)

    def pause_reading(self, *, briefly: bool = False) -> None:
        """Hand no further message over until resume_reading: the listener is behind.

        Args:
            briefly: the listener is at work on what was read, so a hang-up waits for that.
        """
        if not self.paused and self.is_open:
            self.paused = True
            now = trio.current_time()
            self._paused_until = now + MAX_PAUSE_S
            # The pong may be in what we do not read. A ping that is still to come is not put off:
            # clients whose reading pauses again and again would miss it, and leave.
            self._heartbeat.excuse(now)
            self._server.deadlines.schedule(self)
            if self.websocket is None:
                return
            if briefly:
                self.websocket.hold()
            else:
                self.websocket.pause(MAX_PAUSE_S)

    def resume_reading(self) -> None:
        """Hand over what was held back, then read on; in the next turn, never from here."""
        if self.paused:
            self.paused = False
            self._paused_until = inf
            if not self.is_open:
                return
            # What the client sent meanwhile counts from now on.
            self._heartbeat.excuse(trio.current_time())
            self._server.deadlines.schedule(self)
            if self.polling is not None:
                self.polling.resume()
            if self.websocket is not None:
                self.websocket.resume()

    # -- transports

    def prepare_websocket(self, query: "Mapping[str, str]") -> None:
        """A WebSocket was asked for with this query; in revision 4 it tells nothing more."""

    def carry_by(self, connection: "Connection") -> None:
        """A WebSocket takes over; what waits leaves through it, in order."""
        self._connection = connection
        for packet in self.take_buffer():
            self.send(packet)

    # -- liveness and end

    def receive_request(self) -> None:
        """A request of the client has arrived: what it brings is heard before it is judged."""
        if not self.paused:
            self._heartbeat.postpone(trio.current_time())  # EIO4-83

    def next_deadline(self) -> float:
        """See Expiring."""
        if self._machine.state is not State.OPEN:
            return self._machine.expires_at
        at = min(self.listener.next_deadline(), self._slow_at)
        at = min(at, self._paused_until, self._heartbeat.next_deadline())
        return at if self.upgrade is None else min(at, self.upgrade.expires_at)

    def expire(self, now: float) -> None:
        """See Expiring."""
        if self._machine.state is not State.OPEN:
            self._end(Input.EXPIRED)
            return
        if self.upgrade is not None and self.upgrade.is_expired(now) and self.websocket:
            self.websocket.fail_probe()
        if self._slow_at <= now:
            self._judge_slow(now)
        elif self._paused_until <= now:
            self.lose("overload")
        elif not self.paused:
            self._beat(now)
        elif self._heartbeat.ping_at <= now:
            self._reassure(now)
        if self.is_open and self.listener.next_deadline() <= now:
            self.listener.expire(now)

    def _reassure(self, now: float) -> None:
        """Nothing is read: the client gives us up without a ping; its pong waits to be read."""
        self.send(PING)
        self._heartbeat.receive_pong(now)

    def _beat(self, now: float) -> None:
        heartbeat = self._heartbeat
        if heartbeat.is_dead(now):
            self._listen_once_more(now)
            if not self.is_open or self.paused:
                return
        beat = heartbeat.tick(now)
        if beat is Beat.PING:
            self.send(PING)
            connection = self._connection
            if connection is not None and connection.was_behind:
                self._leaving_bytes = connection.leaving_bytes
        elif beat is Beat.DEAD:
            self.lose("ping timeout")

    def _listen_once_more(self, now: float) -> None:
        """Look whether an overdue pong lies unread, or its ping cannot have arrived (EIO4-82)."""
        connection = self._connection
        if connection is None:
            # The walk of the deadlines has had all connections read before it came here.
            if self.polling is not None and self.polling.is_receiving:
                self._heartbeat.postpone(now)
        elif connection.was_behind and self._is_taking(connection.leaving_bytes):
            self._heartbeat.wait_on(now)
        elif connection.is_held or connection.on_readable():
            self._heartbeat.postpone(now)

    def _is_taking(self, leaving_bytes: int) -> bool:
        """Whether the client has confirmed some of its output since the last look (EIO4-84)."""
        before, self._leaving_bytes = self._leaving_bytes, leaving_bytes
        return leaving_bytes < before

    def _judge_slow(self, now: float) -> None:
        """Too much waits for a GET: the client may still be taking the answer to the last one."""
        if self.polling is not None and self._is_taking(self.polling.leaving_bytes):
            self._slow_at = now + self._server.options.slow_client_s
        else:
            self.lose("slow client")

    def _bound_buffer(self, *, give_up: bool) -> None:
        """See SessionOutput."""
        if give_up:
            if self._slow_at != -inf:  # the caller may be iterating: nobody is closed from here
                self._slow_at = -inf
                self._server.poller.defer(lambda: self.lose("slow client"))
        elif self._slow_at == inf:
            self._leaving_bytes = 0 if self.polling is None else self.polling.leaving_bytes
            self._slow_at = trio.current_time() + self._server.options.slow_client_s
            self._server.deadlines.schedule(self)

    def close(self, reason: str = "forced close", *, code: int = 1000) -> None:
        """End the session in order: what was sent arrives, then the close. Marks only.

        Args:
            reason: what the listener is told.
            code: of the WebSocket close frame.
        """
        self._server.poller.check_thread()
        if not self.is_open:
            return
        self._mark(Input.CLOSE_REQUESTED, reason)
        if self._connection is not None and self.websocket is not None:
            self.websocket.close(code)
            self._end(Input.FLUSHED)
            return
        if self.websocket is not None:
            self.websocket.close(code)  # a candidate
        self._server.deadlines.schedule(self)
        if self.polling is not None and self.polling.is_waiting:
            self.finish_polling()

    def lose(self, reason: str, *, last: Outgoing = CLOSE) -> None:
        """The client is gone, silent, or broke the protocol: end at once. Marks only.

        Args:
            reason: what the listener is told.
            last: the answer to a GET that still waits.
        """
        if self.is_closed:
            return
        told = self._machine.state is not State.OPEN
        if self.websocket is not None:
            self.websocket.close(1000)
        if self.polling is not None and self.polling.is_waiting:
            self.polling.finish([last])
        if told:
            self._end(Input.PEER_LOST)
        else:
            self._mark(Input.PEER_LOST, reason)
            self._forget()

    def finish_polling(self) -> None:
        """A closing session has a GET: answer it with what waits, the next one with the close.

        Not with both at once: official clients hand messages on later than they close, and would
        never tell their user of a DISCONNECT that comes together with the close packet.
        """
        if self.polling is None:
            return
        if self._buffer:
            self.polling.finish(self.take_buffer())
        else:
            self.polling.finish([CLOSE])
            self._end(Input.FLUSHED)

    def _mark(self, event: Input, reason: str) -> None:
        self._machine.receive(event, trio.current_time())
        self.reason = reason
        self._wake_producers()
        self._server.poller.defer(self._tell)

    def _tell(self) -> None:
        listener, self.listener = self.listener, NOBODY
        listener.session_closed(self.reason)

    def _end(self, event: Input) -> None:
        self._machine.receive(event, trio.current_time())
        self._forget()

    def _forget(self) -> None:
        if self._buffer:
            self._server.packets_dropped += len(self.take_buffer())
        if self.polling is not None:
            self.polling.refuse_post()
        # No cycle is left for the collector: churn gives its memory back at once.
        self.polling = self.websocket = self._connection = None
        self._server.session_ended(self)


OpenSession = Callable[[Session], Listener]
"""Called with a session that was opened; returns who listens to it. May send at once."""
