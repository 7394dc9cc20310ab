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
    """What a tick of the clock asks of the session."""

    NOTHING = auto()
    PING = auto()
    DEAD = auto()


@dataclass(slots=True)
class Heartbeat:
    """When to ping and when to give up. All times: seconds on the caller's clock.

    Deadlines count from when a ping was *due*: a clock that ticks late makes the ping late, but
    never gives the peer more time than the handshake announced.

    Spec: Engine.IO v4, "Heartbeat".
    """

    reassurance: ClassVar[Outgoing] = PING
    """What the peer is sent while we do not read, so that it does not give us up."""

    interval_s: float
    timeout_s: float
    ping_at: float
    dead_at: float = inf
    postponed: bool = False
    """Whether the peer was given its timeout once more since it was last heard."""

    def next_deadline(self) -> float:
        """When tick has something to do."""
        return min(self.ping_at, self.dead_at)

    def is_dead(self, now: float) -> bool:
        """Whether the pong is overdue, also when the ping itself could not be sent in time.

        EIO4-17, EIO3-07
        """
        return now >= min(self.dead_at, self.ping_at + self.timeout_s)

    def tick(self, now: float) -> Beat:
        """Move the clock; says what to do."""
        if self.is_dead(now):
            return Beat.DEAD
        if now < self.ping_at:
            return Beat.NOTHING
        self.dead_at = self.ping_at + self.timeout_s
        self.ping_at = inf
        return Beat.PING  # EIO4-35

    def excuse(self, now: float) -> None:
        """We do not read, or did not until now: a pong that is due counts as having come.

        The next ping is not put off by it, as the peer waits for that.
        """
        if self.dead_at < inf:
            self.ping_at = self.dead_at - self.timeout_s + self.interval_s
            self.dead_at = inf

    def pause(self, now: float) -> None:
        """We stop reading; see excuse."""
        self.excuse(now)

    def reassure(self, now: float) -> None:
        """The peer was sent a ping, whose pong will not be read before long."""
        self.receive_pong(now)

    def receive_pong(self, now: float) -> None:
        """The peer is alive; a pong that nobody asked for counts too, as in the reference."""
        self.dead_at = inf
        self.ping_at = now + self.interval_s
        self.postponed = False

    def postpone(self, now: float) -> None:
        """Give an overdue peer its timeout once more: what has come of it may hold the pong.

        Once only: a peer that sends everything but pongs is dead in the end (EIO4-83).
        """
        if not self.postponed and self.is_dead(now):
            self.postponed = True
            self.wait_on(now)

    def wait_on(self, now: float) -> None:
        """Give an overdue peer its timeout once more, for a reason that bounds itself."""
        if self.ping_at < inf:
            self.ping_at = now  # it was never asked
        else:
            self.dead_at = now + self.timeout_s


@dataclass(slots=True)
class ClientHeartbeat(Heartbeat):
    """Engine.IO v3 liveness: the client pings (EIO3-06), and whatever it sends shows that it lives.

    ::

        heard --interval + timeout--> dead

    While it is not read, ``ping_at`` is when it has to hear something from us instead.

    Spec: Engine.IO v3, "Timeouts".
    """

    reassurance: ClassVar[Outgoing] = NOOP

    ping_at: float = inf

    def receive_pong(self, now: float) -> None:
        """The peer was heard, or is judged anew from now on."""
        self.ping_at = inf
        self.dead_at = now + self.interval_s + self.timeout_s
        self.postponed = False

    def excuse(self, now: float) -> None:
        """It was not read: it is judged anew from now on."""
        self.receive_pong(now)

    def pause(self, now: float) -> None:
        """It is not read: it cannot be dead, and its own ping may be unanswered since now."""
        self.ping_at = now + self.timeout_s / 2
        self.dead_at = inf
        self.postponed = False

    def reassure(self, now: float) -> None:
        """It has heard something from us, and has to again before long."""
        self.pause(now)
