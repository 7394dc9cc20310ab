"""Engine.IO v4 liveness: the server pings, the client answers.

::

    start --interval--> ping sent --pong--> (interval again)
                            |
                            +--timeout--> dead
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import ClassVar

from trio_socketio.codec.engine_packet import NOOP, PING, Outgoing


class Beat(Enum):
    """The actions of the session after a tick of the clock."""

    NOTHING = auto()
    PING = auto()
    DEAD = auto()


@dataclass(slots=True)
class Heartbeat:
    """When to ping and when to give up. Times are in seconds on the caller's clock.

    Deadlines are counted from the time at which a ping was *due*. A tick that comes late makes the
    ping late, but does not give the peer more time than the handshake announced. An upgrade
    changes nothing here, so it puts no ping off (EIO4-116).

    Spec: Engine.IO v4, "Heartbeat".
    """

    reassurance: ClassVar[Outgoing] = PING
    """What the peer is sent while we do not read from it, so that it does not give us up."""

    interval_s: float
    timeout_s: float
    ping_at: float
    """When the next ping is due; infinity while a pong is awaited."""
    dead_at: float = inf
    """When the awaited pong is overdue; infinity while none is awaited."""
    postponed: bool = False
    """Whether the peer was given its timeout a second time since it was last heard."""

    def next_deadline(self) -> float:
        """When tick will next have something to do."""
        return min(self.ping_at, self.dead_at)

    def is_dead(self, now: float) -> bool:
        """Whether the pong is overdue, or would be if the ping had been sent when it was due."""
        return now >= self.dead_at or now >= self.ping_at + self.timeout_s  # EIO4-17, EIO3-07

    def tick(self, now: float) -> Beat:
        """Move the clock to now, and return what has to be done."""
        if self.is_dead(now):
            return Beat.DEAD
        if now < self.ping_at:
            return Beat.NOTHING
        self.dead_at = self.ping_at + self.timeout_s
        self.ping_at = inf
        return Beat.PING  # EIO4-35

    def excuse(self, now: float) -> None:
        """Count an awaited pong as received, because we do not read, or did not until now (BND-09).

        The next ping is due when it would have been after a punctual pong. It must not be put off
        further, because the peer gives us up when it gets no ping.
        """
        if self.dead_at < inf:
            self.ping_at = self.dead_at - self.timeout_s + self.interval_s
            self.dead_at = inf

    def pause(self, now: float) -> None:
        """Note that we stop reading from the peer, which cannot be overdue while we do."""
        self.excuse(now)

    def reassure(self, now: float) -> None:
        """Note that the peer was sent a ping whose pong cannot be read until we read again."""
        self.receive_pong(now)  # or the peer would be overdue for a pong that lies unread

    def receive_pong(self, now: float) -> None:
        """Note that the peer is alive. An unasked pong counts too, as in the reference."""
        self.dead_at = inf
        self.ping_at = now + self.interval_s  # EIO4-115
        self.postponed = False

    def postpone(self, now: float) -> None:
        """Give an overdue peer its timeout once more, because what it has sent may be the pong.

        It is given only once until the next pong, so that a peer that sends everything but pongs is
        dead in the end (EIO4-83).
        """
        if not self.postponed and self.is_dead(now):
            self.postponed = True
            self.wait_on(now)

    def wait_on(self, now: float) -> None:
        """Give an overdue peer its timeout once more; the caller's reason bounds how often."""
        if self.ping_at < inf:
            self.ping_at = now  # no ping was sent yet, so it could not answer
        else:
            self.dead_at = now + self.timeout_s


@dataclass(slots=True)
class ClientHeartbeat(Heartbeat):
    """Engine.IO v3 liveness: the client pings (EIO3-06), and anything it sends shows that it lives.

    ::

        heard --interval + timeout--> dead

    While we do not read from it, ``ping_at`` is when it must be sent something instead.

    Spec: Engine.IO v3, "Timeouts".
    """

    reassurance: ClassVar[Outgoing] = NOOP

    ping_at: float = inf

    def receive_pong(self, now: float) -> None:
        """Note that the peer is alive; its time begins anew."""
        self.ping_at = inf
        self.dead_at = now + self.interval_s + self.timeout_s
        self.postponed = False

    def excuse(self, now: float) -> None:
        """Begin the peer's time anew, because we did not read what it has sent until now."""
        self.receive_pong(now)

    def pause(self, now: float) -> None:
        """Note that we stop reading: the peer cannot be overdue, but may give us up.

        A ping that it has just sent stays unanswered, so it is sent something in half of the time
        that it waits.
        """
        self.ping_at = now + self.timeout_s / 2
        self.dead_at = inf
        self.postponed = False

    def reassure(self, now: float) -> None:
        """Note that the peer was sent something; the next is due as after a pause."""
        self.pause(now)
