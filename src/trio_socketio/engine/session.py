"""One logical connection with a client: its parts, its deadlines, and its end.

A transport carries the session (`engine/transport.py`), a reader hands on what arrives
(`engine/reader.py`), and an upgrade swaps the transport (`engine/upgrade.py`).

Closing only marks: the listener is told after the batch, from the poller's queue.
"""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.codec.engine_packet import PING, Outgoing
from trio_socketio.engine.listener import NOBODY, Listener
from trio_socketio.engine.transport import Ended
from trio_socketio.errors import SessionClosed
from trio_socketio.net.frames import encode_frames
from trio_socketio.protocol.heartbeat import Beat
from trio_socketio.protocol.session import Input, SessionMachine, State

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Handshake
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.transport import Transport, Upgrade
    from trio_socketio.net.connection import Connection
    from trio_socketio.protocol.heartbeat import Heartbeat
    from trio_socketio.runtime.deadlines import Deadlines, Entry
    from trio_socketio.runtime.poller import Poller

MAX_PAUSE_S: Final = 30.0
"""How long reading may stand still before the session is given up; the heartbeat stands too."""


class Newcomers(Protocol):
    """Sessions whose clients have joined nothing yet."""

    def remove(self, session: "Session", /) -> None:
        """The session's client has joined something."""


class Owner(Protocol):
    """What a session belongs to."""

    options: "EngineOptions"
    poller: "Poller"
    deadlines: "Deadlines"
    packets_dropped: int
    """Packets for sessions that were gone or too far behind."""

    @property
    def newcomers(self) -> "Newcomers | None":
        """Counts those that have joined nothing, where there is something to join."""

    def session_ended(self, session: "Session", /) -> None:
        """Nothing of the session is left."""

    def contain(self, session: "Session", error: BaseException, /) -> None:
        """A packet raised: close its session with the reason that fits."""


class Session:
    """A logical connection with one client, over polling, WebSocket, or first one then the other.

    Names with an underscore are for the rest of engine/.

    Args:
        owner: see Owner.
        sid, handshake, protocol: see below.
        heartbeat: of the client's revision.

    Attributes:
        sid: names the session; a secret between client and server.
        handshake: the request that opened it.
        protocol: the revision of Engine.IO that its client speaks, 4 or 3.
        listener: is handed what arrives, and told of the end.
        reason: why it ended; empty while it is open.
    """

    __slots__ = (
        "_direct",
        "_drained",
        "_life",
        "_liveness",
        "_owner",
        "_transport",
        "_upgrade",
        "handshake",
        "listener",
        "protocol",
        "reason",
        "sid",
    )

    _transport: "Transport"  # there is none until _carry_by is called, before anything is sent

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
        self._life = SessionMachine()
        self._liveness = Liveness(self, heartbeat)
        self._direct: Connection | None = None  # see Transport
        self._upgrade: Upgrade | None = None
        self._drained: trio.Event | None = None  # somebody waits for output to leave

    # -- what it is

    @property
    def transport(self) -> str:
        """Name of what carries it now, or carried it last: "polling" or "websocket"."""
        return self._transport.name

    @property
    def is_open(self) -> bool:
        """Whether packets pass; false as soon as it is marked for closing."""
        return self._life.state is State.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is left; a polling session may be closing before."""
        return self._life.state is State.CLOSED

    @property
    def is_writable(self) -> bool:
        """Whether a packet would leave at once; volatile packets are dropped when not."""
        return self._transport.is_writable

    @property
    def waiting_bytes(self) -> int:
        """Output that was accepted and has not left."""
        return self._transport.waiting_bytes

    @property
    def paused(self) -> bool:
        """Whether nothing is handed to the listener; see pause_reading."""
        return self._liveness.paused_until < inf

    # -- sending

    def send(self, packet: Outgoing) -> None:
        """Send a packet with its attachments. Never blocks; dropped and counted once closed."""
        # Asking the transport would add a fifth, which a broadcast pays for every receiver.
        direct = self._direct
        if direct is not None:
            direct.write(packet.frames or encode_frames(packet))
        elif self._life.state is State.OPEN:
            self._transport.send(packet)
        else:
            self._owner.packets_dropped += 1

    def send_volatile(self, packet: Outgoing) -> None:
        """Send a packet if it can leave at once; drop it otherwise."""
        if self._transport.is_writable:
            self.send(packet)
        else:
            self.drop()

    def send_text(self, text: bytes) -> None:
        """Send a message given as UTF-8 without its type character."""
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
            SessionClosed: the session ended before.
        """
        await trio.lowlevel.checkpoint()  # a producer's loop lets others run, whatever comes of it
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
        """The client has joined something: the session is no newcomer any more."""
        if self._owner.newcomers is not None:
            self._owner.newcomers.remove(self)

    def contain(self, error: BaseException) -> None:
        """A packet raised: end the session with the reason that fits."""
        self._owner.contain(self, error)

    def reschedule(self) -> None:
        """The listener's next_deadline has come nearer."""
        self._owner.deadlines.schedule(self._liveness)

    def pause_reading(self, *, briefly: bool = False) -> None:
        """Hand no further message over until resume_reading: the listener is behind.

        Args:
            briefly: the listener is at work on what was read, so a hang-up waits for that.
        """
        if not self.paused and self.is_open:
            self._liveness.pause()
            self.reschedule()
            if briefly:
                self._transport.hold()
            else:
                self._transport.pause(MAX_PAUSE_S)

    def resume_reading(self) -> None:
        """Hand over what was held back, then read on; in the next turn, never from here."""
        if self.paused and self.is_open:
            self._liveness.resume()
            self.reschedule()
            if self._upgrade is not None:
                self._upgrade.resume()
            self._transport.resume()

    def _carry_by(self, transport: "Transport") -> None:
        """Have transport carry the session from now on."""
        self._transport = transport
        self._direct = transport.direct

    # -- the end

    def close(self, reason: str = "forced close", *, code: int = 1000) -> None:
        """End the session in order: what was sent arrives, then the close. Marks only.

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
        """End at once: the client is gone, silent, or broke the protocol. Marks only; see close."""
        if self.is_closed:
            return
        if self._upgrade is not None:
            self._upgrade.close(1000)
        self._transport.abort()
        if self.is_open:
            self._mark(Input.PEER_LOST, reason)
            self._forget()
        else:  # it was closing, and the listener has been told
            self._end(Input.PEER_LOST)

    def _mark(self, event: Input, reason: str) -> None:
        self._life.receive(event, trio.current_time())
        self.reason = reason
        self._direct = None
        self._wake_producers()
        self._owner.poller.defer(self._tell)

    def _tell(self) -> None:
        listener, self.listener = self.listener, NOBODY
        listener.session_closed(self.reason)

    def _end(self, event: Input) -> None:
        self._life.receive(event, trio.current_time())
        self._forget()

    def _forget(self) -> None:
        owner, transport, upgrade = self._owner, self._transport, self._upgrade
        # No cycle is left for the collector: churn gives its memory back at once.
        self._transport = Ended(transport.name)
        self._upgrade = None
        owner.packets_dropped += transport.discard()
        if upgrade is not None:
            upgrade.discard()
        owner.deadlines.forget(self._liveness)
        self._liveness.end()
        owner.session_ended(self)


class Liveness:
    """The deadlines of a session: whether its client lives, and is not kept waiting too long.

    Args:
        session: whose client it is.
        heartbeat: of the client's revision.
    """

    __slots__ = ("_session", "deadline_entry", "heartbeat", "paused_until")

    def __init__(self, session: Session, heartbeat: "Heartbeat") -> None:
        self._session: Session | None = session
        self.heartbeat = heartbeat
        self.paused_until = inf
        self.deadline_entry: Entry | None = None

    def end(self) -> None:
        """The session has ended: it has no deadlines any more."""
        self._session = None  # they held each other
        self.paused_until = inf

    def receive_request(self) -> None:
        """A request of the client has arrived: what it brings is heard before it is judged."""
        if self.paused_until == inf:
            self.heartbeat.postpone(trio.current_time())  # EIO4-83

    def pause(self) -> None:
        """Reading stops.

        The pong may be in what we do not read. A ping that is still to come is not put off: clients
        whose reading pauses again and again would miss it, and leave.
        """
        now = trio.current_time()
        self.paused_until = now + MAX_PAUSE_S
        self.heartbeat.pause(now)

    def resume(self) -> None:
        """Reading goes on, and what the client sent meanwhile counts from now on."""
        self.paused_until = inf
        self.heartbeat.excuse(trio.current_time())

    def next_deadline(self) -> float:
        """See Expiring."""
        session = self._session
        if session is None:
            return inf
        if not session.is_open:
            return session._life.expires_at
        at = min(session.listener.next_deadline(), session._transport.next_deadline())
        at = min(at, self.paused_until, self.heartbeat.next_deadline())
        return at if session._upgrade is None else min(at, session._upgrade.next_deadline())

    def expire(self, now: float) -> None:
        """See Expiring."""
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
            # Nothing is read, so no answer is expected; but without a packet of ours the client
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
            elif transport.read_on():  # EIO4-82: the pong may have lain unread
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
"""Called with a session that was opened; returns who listens to it. May send at once."""
