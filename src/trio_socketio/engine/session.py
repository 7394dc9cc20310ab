"""A logical connection with one client: its parts, its deadlines, and its end.

A transport carries the session (`engine/transport.py`), a reader hands on what arrives
(`engine/reader.py`), and an upgrade swaps the transport (`engine/upgrade.py`).

Closing only marks the session. The listener is told after the batch, from the poller's queue, so
that nothing is called back from inside a send.
"""

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.codec.engine_packet import PING, Outgoing
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.engine.listener import NOBODY, Listener
from trio_socketio.engine.transport import Ended
from trio_socketio.errors import SessionClosed
from trio_socketio.net.frames import encode_frames
from trio_socketio.protocol.heartbeat import Beat
from trio_socketio.protocol.session import CLOSED, OPEN, Input, SessionMachine

if TYPE_CHECKING:
    from trio_socketio.engine.counts import EngineCounts
    from trio_socketio.engine.handshake import Handshake
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.transport import Transport, Upgrade
    from trio_socketio.net.connection import Connection
    from trio_socketio.net.traffic import Traffic
    from trio_socketio.protocol.heartbeat import Heartbeat
    from trio_socketio.runtime.deadlines import Deadlines, Entry
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)

MAX_PAUSE_S: Final = 30.0
"""How long reading may pause before the session is given up; no pong is expected meanwhile."""

RESTART: Final = "service restart"
"""The reason of a session that this node may no longer serve."""

_SERVICE_RESTART: Final = 1012  # WebSocket close code: the client should reconnect


class Owner(Protocol):
    """The engine that a session belongs to."""

    options: "EngineOptions"
    poller: "Poller"
    deadlines: "Deadlines"
    counts: "EngineCounts"
    packets_dropped: int
    """The number of packets for sessions that were gone or too far behind."""
    session_joined: "Callable[[Session], None]"
    """Notes that a client has joined a namespace."""

    def session_closed(self, session: "Session", transport: "Transport", /) -> None:
        """Log that a session closes, and which transport was its last one."""

    def session_ended(self, session: "Session", /) -> None:
        """Forget a session of which nothing is left."""

    def contain(self, session: "Session", error: BaseException, /) -> None:
        """Close a session in which an exception was raised, with the reason that fits."""


class Session:
    """A logical connection with one client, over polling, WebSocket, or first one then the other.

    Names with an underscore are for the rest of engine/.

    Args:
        owner: the engine.
        sid, handshake, protocol: see below.
        heartbeat: of the client's revision.

    Attributes:
        sid: names the session; a secret that only the server and the client know.
        handshake: the request that opened the session.
        protocol: the revision of Engine.IO that the client speaks, 4 or 3.
        listener: takes what arrives, and is told of the end.
        reason: why the session ended; empty while it is open.
        aborted: whether `abort` has ended it.
    """

    __slots__ = (
        "_direct",
        "_drained",
        "_earlier",
        "_life",
        "_liveness",
        "_owner",
        "_transport",
        "_upgrade",
        "aborted",
        "handshake",
        "listener",
        "protocol",
        "reason",
        "sid",
    )

    _transport: "Transport"  # set by _carry_by, before anything is sent

    def __init__(
        self,
        owner: Owner,
        sid: str,
        handshake: "Handshake",
        protocol: int,
        heartbeat: "Heartbeat",
    ) -> None:
        self._owner = owner
        self.sid = sid
        self.handshake = handshake
        self.protocol = protocol
        self.listener: Listener = NOBODY
        self.reason = ""
        self.aborted = False
        self._life = SessionMachine()
        self._liveness = Liveness(self, heartbeat)
        self._direct: Connection | None = None  # see Transport.direct; None once it is not open
        self._upgrade: Upgrade | None = None
        self._earlier: Traffic | None = None  # of the transport before the upgrade
        self._drained: trio.Event | None = None  # of wait_drained; set when output has left

    def __str__(self) -> str:
        return f"session {shorten_sid(self.sid)}"

    # -- what it is

    @property
    def transport(self) -> str:
        """The transport that carries it now, or carried it last: "polling" or "websocket"."""
        return self._transport.name

    @property
    def is_open(self) -> bool:
        """Whether packets pass. False as soon as the session is marked for closing."""
        return self._life.state is OPEN

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left of it. A polling session may be closing for a while before."""
        return self._life.state is CLOSED

    @property
    def is_writable(self) -> bool:
        """Whether a packet would leave at once; a volatile packet is dropped otherwise."""
        return self._transport.is_writable

    @property
    def waiting_bytes(self) -> int:
        """The size of the output that was accepted and has not left."""
        return self._transport.waiting_bytes

    @property
    def paused(self) -> bool:
        """Whether nothing is handed to the listener; see pause_reading."""
        return self._liveness.paused_until < inf

    # -- sending

    def send(self, packet: Outgoing) -> None:
        """Send a packet with its attachments. Never blocks.

        The attachments follow their text at once, with no other packet between (SIO5-50). Once the
        session is closed, the packet is dropped and counted.
        """
        # A call of the transport in between adds a fifth, which a broadcast pays for each receiver.
        direct = self._direct
        if direct is not None:
            direct.write(packet.frames or encode_frames(packet))
        elif self._life.state is OPEN:
            self._transport.send(packet)
        else:
            self._owner.packets_dropped += 1

    def send_volatile(self, packet: Outgoing) -> None:
        """Send a packet if it can leave at once; otherwise drop it and count it."""
        if self._transport.is_writable:
            self.send(packet)
        else:
            self.drop()

    def send_text(self, text: bytes) -> None:
        """Send a text message: UTF-8 without the type character."""
        self.send(Outgoing(b"4" + text))

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""
        self.send(Outgoing(b"", (data,)))

    def drop(self) -> None:
        """Count a packet that was not sent because its socket is gone."""
        self._owner.packets_dropped += 1

    async def wait_drained(self) -> None:
        """Wait until everything that was sent has left.

        Raises:
            SessionClosed: the session has ended.
        """
        await trio.lowlevel.checkpoint()  # also if nothing waits: producers call this in a loop
        while self.is_open and self.waiting_bytes:
            if self._drained is None:
                self._drained = trio.Event()
            self._transport.call_when_drained(self._wake_producers)
            await self._drained.wait()
        if not self.is_open:
            raise SessionClosed(self.reason)

    def _wake_producers(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set()

    def joined(self) -> None:
        """Tell that the client has joined a namespace: it no longer counts as unjoined."""
        self._owner.session_joined(self)
        for carrier in self._transport, self._upgrade:  # RUN-50
            if carrier is not None and carrier.connection is not None:
                carrier.connection.owner.poller.prefer(carrier.connection)

    def contain(self, error: BaseException) -> None:
        """End the session because of an exception, with the reason that fits."""
        self._owner.contain(self, error)

    def reschedule(self) -> None:
        """Tell that the listener's next_deadline may have come nearer."""
        self._owner.deadlines.schedule(self._liveness)

    def pause_reading(self, *, briefly: bool = False) -> None:
        """Hand no further message over until resume_reading, because the listener is behind.

        Args:
            briefly: the listener is at work on what was read, so a hang-up is noticed after that
                only.
        """
        if not self.paused and self.is_open:
            log.debug("reading from %s pauses until its listener has caught up", self)
            self._liveness.pause()
            self.reschedule()
            if briefly:
                self._transport.hold()
            else:
                self._transport.pause(MAX_PAUSE_S)

    def resume_reading(self) -> None:
        """Hand over what was held back, then read on: in the next turn, never from here."""
        if self.paused and self.is_open:
            log.debug("reading from %s resumes", self)
            self._liveness.resume()
            self.reschedule()
            if self._upgrade is not None:
                self._upgrade.resume()
            self._transport.resume()

    def _carry_by(self, transport: "Transport") -> None:
        """Let transport carry the session from now on."""
        self._transport = transport
        self._direct = transport.direct

    # -- the end

    def close(self, reason: str = "forced close", *, code: int = 1000) -> None:
        """End the session in order: what was sent arrives, then the close. Only marks it.

        Args:
            reason: what the listener is told.
            code: of the WebSocket close frame.
        """
        self._owner.poller.check_thread()
        if not self.is_open:
            return
        self._mark(Input.CLOSE_REQUESTED, reason)
        if self._upgrade is not None:
            self._upgrade.close(code)
        if self._transport.close(code):
            self._end(Input.FLUSHED)
        else:
            self.reschedule()  # EIO4-56: the close packet waits for a GET, for a time

    def lose(self, reason: str) -> None:
        """End it at once: the client is gone, silent, or broke the protocol. Only marks it."""
        if not self.is_closed:
            self._transport.abort()
            self._break_off(reason)

    def abort(self, reason: str = RESTART) -> None:
        """End the session at once, because this node may no longer act for the client.

        This only marks the session. Queued output is not sent, and events that wait for their
        handlers are not handled. Official clients reconnect, to a node that may serve them.

        Args:
            reason: the reason that the listener is given.
        """
        self._owner.poller.check_thread()
        if not self.is_closed:
            self.aborted = True
            if self._upgrade is not None:
                self._upgrade.sever(_SERVICE_RESTART)
            # LEASE-46, LEASE-51: whatever is sent from now on is dropped and counted as well.
            self._owner.packets_dropped += self._transport.sever(_SERVICE_RESTART)
            self._break_off(reason)  # LEASE-50, LEASE-53

    def _break_off(self, reason: str) -> None:
        if self.is_open:
            self._mark(Input.PEER_LOST, reason)
            self._forget()
        else:  # it was closing, so the listener has been told
            self._end(Input.PEER_LOST)

    def _mark(self, event: Input, reason: str) -> None:
        self._life.receive(event, trio.current_time())
        self._owner.counts.session_ended(reason)
        self.reason = reason
        self._direct = None
        self._wake_producers()
        log.debug("%s closes: %s", self, reason)  # LOG-24
        # A read is counted when it ends, so the counts of the transport are read after the batch.
        self._owner.poller.defer(partial(self._tell, self._transport))

    def _tell(self, transport: "Transport") -> None:
        self._owner.session_closed(self, transport)
        listener, self.listener = self.listener, NOBODY
        listener.session_closed(self.reason)

    def _end(self, event: Input) -> None:
        self._life.receive(event, trio.current_time())
        self._forget()

    def _forget(self) -> None:
        owner, transport, upgrade = self._owner, self._transport, self._upgrade
        # RUN-44: no cycle is left for the garbage collector, so memory is released at once.
        self._transport = Ended(transport.name)
        self._upgrade = None
        owner.packets_dropped += transport.discard()
        if upgrade is not None:
            upgrade.discard()
        owner.deadlines.forget(self._liveness)
        self._liveness.end()
        owner.session_ended(self)


class Liveness:
    """The deadlines of a session: the heartbeat, pauses, and those of its parts.

    Args:
        session: the session.
        heartbeat: of the client's revision.
    """

    __slots__ = ("_session", "deadline_entry", "heartbeat", "paused_until")

    def __init__(self, session: Session, heartbeat: "Heartbeat") -> None:
        self._session: Session | None = session
        self.heartbeat = heartbeat
        self.paused_until = inf
        self.deadline_entry: Entry | None = None

    def end(self) -> None:
        """Let go of the session, which has ended and has no deadlines any more."""
        self._session = None  # the two held each other: a cycle
        self.paused_until = inf

    def receive_request(self) -> None:
        """Give an overdue client time, because a request of it has arrived.

        The request may carry the pong, so it is read before the client is judged (EIO4-83).
        """
        session = self._session
        if self.paused_until == inf and session is not None:
            self.heartbeat.postpone(session._owner.deadlines.now())  # EIO4-83

    def pause(self) -> None:
        """Reading stops.

        The pong may be in what we do not read, so it counts as having come. The next ping is not
        put off: clients whose reading pauses again and again would wait for it in vain, and leave.
        """
        now = trio.current_time()
        self.paused_until = now + MAX_PAUSE_S
        self.heartbeat.pause(now)

    def resume(self) -> None:
        """Reading goes on. The pong counts as having come once more, and the pause is over."""
        self.paused_until = inf
        self.heartbeat.excuse(trio.current_time())

    def next_deadline(self) -> float:
        """When the first of the deadlines is due, on trio's clock."""
        session = self._session
        if session is None:
            return inf
        if not session.is_open:
            return session._life.expires_at
        at = min(session.listener.next_deadline(), session._transport.next_deadline())
        at = min(at, self.paused_until, self.heartbeat.next_deadline())
        return at if session._upgrade is None else min(at, session._upgrade.next_deadline())

    def expire(self, now: float) -> None:
        """Do what is due."""
        session = self._session
        if session is None:
            return
        if not session.is_open:
            session._end(Input.EXPIRED)  # EIO4-56: no GET came for the close packet
            return
        upgrade, transport = session._upgrade, session._transport
        if upgrade is not None and upgrade.next_deadline() <= now:
            upgrade.fail()  # EIO4-52
        if transport.next_deadline() <= now:
            transport.expire(now)
        elif self.paused_until <= now:
            session.lose("overload")
        elif self.paused_until == inf:
            self._beat(session, now)
        elif self.heartbeat.ping_at <= now:
            # Reading pauses, so no answer is expected; but without a packet from us the client
            # would give us up (EIO3-29).
            session.send(self.heartbeat.reassurance)
            self.heartbeat.reassure(now)
        if session.is_open and session.listener.next_deadline() <= now:
            session.listener.expire(now)

    def _beat(self, session: Session, now: float) -> None:
        heartbeat, transport = self.heartbeat, session._transport
        if heartbeat.is_dead(now):
            if transport.delays_ping():  # EIO4-84
                heartbeat.wait_on(now)
            elif transport.read_on():  # EIO4-82: the pong may not have been read yet
                heartbeat.postpone(now)
            if not session.is_open or session.paused:
                return
        beat = heartbeat.tick(now)
        if beat is Beat.PING:  # EIO4-35
            session.send(PING)
            transport.note_ping()
        elif beat is Beat.DEAD:
            session.lose("ping timeout")  # EIO4-17, EIO4-117, EIO4-118, EIO3-07


OpenSession = Callable[[Session], Listener]
"""Called with a session that has opened; returns its listener. It may send at once."""
