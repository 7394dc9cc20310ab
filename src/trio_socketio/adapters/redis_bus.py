"""What the adapters of one server have in common: the connection to Redis, the counts, the log."""

import logging
from typing import Any, Final, Protocol

import msgspec

from trio_socketio.adapters.redis_broadcasts import Broadcasts, Subscribing
from trio_socketio.codec.redis_adapter import is_pickle
from trio_socketio.engine.ids import RandomText
from trio_socketio.errors import ProtocolError
from trio_socketio.runtime.sampling import Pace, SampledLog

log = logging.getLogger(__name__)

_ID_CHARACTERS: Final = 16
_PACE: Final = Pace(1, 1)  # BUS-12: whoever can publish must not fill the log


class RedisConnection(Subscribing, Protocol):
    """The connection to Redis, as far as adapters need it; see Redis."""

    def publish(self, channel: bytes, payload: bytes) -> bool:
        """Publish a message; return False if that is impossible now."""

    async def execute(self, *arguments: str | bytes) -> Any:
        """Execute a command, and return Redis' reply."""


class BusCounts(msgspec.Struct):
    """What the adapters of one server have counted.

    It has 13 attributes, one for each count.

    Args:
        published: messages that were handed to Redis.
        unpublished: messages that could not be, because Redis was away or its queue was full.
        delivered: broadcasts of other servers.
        skipped: messages that concern no client or request of this server; they are not decoded.
        malformed: messages that are not of the protocol.
        oversized: messages that are too large.
        pickled: messages that are pickles, as old versions of python-socketio send them.
        unknown: requests of an unknown type.
        undeliverable: events that other servers can carry and clients cannot.
        questions_refused: events that ask for answers, while too many others do.
        events_refused: events between servers, while too many others wait for their handlers.
        gaps: times at which the connection was lost and came back.
        unheard_starts: namespaces that admitted clients before Redis could be reached.
    """

    published: int = 0
    unpublished: int = 0
    delivered: int = 0
    skipped: int = 0
    malformed: int = 0
    oversized: int = 0
    pickled: int = 0
    unknown: int = 0
    undeliverable: int = 0
    questions_refused: int = 0
    events_refused: int = 0
    gaps: int = 0
    unheard_starts: int = 0


class Bus:
    """The connection to Redis, as all adapters of one server use it.

    Args:
        redis: the connection.
        key: the prefix of all channels.
        request_timeout_s: how long other servers may take to answer.
        answers_apart: whether answers are sent to the server that asks alone.
        max_message_bytes: larger messages are dropped unread.
        has_clients: whether this server has clients that others may send to.

    Attributes:
        broadcasts: receives those of other servers, for all namespaces.
        counts: what has happened so far.
    """

    def __init__(
        self,
        redis: RedisConnection,
        key: str,
        request_timeout_s: float,
        max_message_bytes: int,
        *,
        answers_apart: bool,
        has_clients: bool = True,
    ) -> None:
        self.redis = redis
        self.key = key
        self.request_timeout_s = request_timeout_s
        self.answers_apart = answers_apart
        self.has_clients = has_clients
        self.counts = BusCounts()
        self.broadcasts = Broadcasts(redis, key, self.tell_gap)
        self._max_message_bytes = max_message_bytes
        self._ids = RandomText()
        self._told_recovery = False
        self._lines = SampledLog(log, logging.WARNING, _PACE)

    def draw_id(self) -> str:
        """Return a new id, of an adapter or of a request."""
        return self._ids.draw(_ID_CHARACTERS)

    # -- sending

    def publish(self, channel: bytes, message: bytes) -> bool:
        """Publish a message, or count it as lost; return whether it was published."""
        if self.redis.publish(channel, message):
            self.counts.published += 1
            return True
        self.counts.unpublished += 1
        self.warn(
            "messages to other nodes are lost",
            "other nodes do not get what is sent, because Redis is away or does not keep up",
        )
        return False

    async def count_servers(self, channel: bytes) -> int:
        """Return how many servers are subscribed to a channel.

        Raises:
            TrioSocketIOError: Redis cannot tell.
        """
        reply = await self.redis.execute("PUBSUB", "NUMSUB", channel)
        return int(reply[1])

    # -- receiving

    def accepts(self, channel: bytes, message: bytes) -> bool:
        """Whether a message is small enough to be read. One that is not is counted (BUS-11)."""
        if len(message) <= self._max_message_bytes:
            return True
        self.counts.oversized += 1
        self._tell_dropped(channel, f"it has {len(message):,} bytes")
        return False

    def drop(self, channel: bytes, message: bytes, error: ProtocolError) -> None:
        """Count a message that is not of the protocol (BUS-12)."""
        if is_pickle(message):  # BUS-10
            self.counts.pickled += 1
            self._tell_dropped(channel, "it is a pickle, and pickles are never loaded")
        else:
            self.counts.malformed += 1
            self._tell_dropped(channel, str(error))

    def drop_unknown(self, channel: bytes) -> None:
        """Count a request of an unknown type."""
        self.counts.unknown += 1
        self._tell_dropped(channel, "its type is unknown")

    def drop_undeliverable(self, channel: bytes, error: ProtocolError) -> None:
        """Count an event that cannot be sent to clients."""
        self.counts.undeliverable += 1
        self._tell_dropped(channel, str(error))

    def refuse_question(self, channel: bytes) -> None:
        """Count an event that asks for answers, and was not sent because too many others do."""
        self.counts.questions_refused += 1
        self._tell_dropped(channel, "too many others wait for the answers of clients")

    def refuse_event(self, channel: bytes) -> None:
        """Count an event between servers that was not handled, because too many others wait."""
        self.counts.events_refused += 1
        self._tell_dropped(channel, "too many other events between servers wait for their handlers")

    def _tell_dropped(self, channel: bytes, reason: str) -> None:
        self.warn(
            "messages of other servers were dropped",
            "%s: a message of another server was dropped: %s",
            channel.decode(errors="replace"),
            reason,
        )

    # -- Redis comes and goes

    def tell_unheard(self, namespace: str, why: str) -> None:
        """Count a namespace that admits clients before Redis could be reached (BUS-20)."""
        self.counts.unheard_starts += 1
        self.warn(
            "namespaces that other nodes do not reach yet",
            "%s: clients are admitted, but other nodes do not reach them before Redis answers: %s",
            namespace,
            why,
        )

    def tell_gap(self, duration_s: float) -> None:
        """Count a time in which a namespace got nothing from other nodes."""
        self.counts.gaps += 1
        self.warn(
            "gaps",
            "Redis was away for %.1f s; what other nodes have sent meanwhile is lost",
            duration_s,
        )

    def tell_recovery(self) -> None:
        """Say once that clients are recovered only by the node that they left."""
        if not self._told_recovery:
            self._told_recovery = True
            log.info(
                "state recovery is per node: a client that comes back to another node gets a new "
                "session, so send clients back to their node"
            )

    def warn(self, kind: str, line: str, *arguments: object) -> None:
        """Write a line into the log, at most one of its kind in a second."""
        if self._lines.admits(kind):
            log.warning(line, *arguments)

    def flush(self) -> None:
        """Write the sums of the lines that were not written."""
        self._lines.flush()
