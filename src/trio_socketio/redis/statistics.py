"""What a connection to Redis counts."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """The totals of a `Redis` over all its connections; RedisStatistics explains them."""

    commands: int = 0
    published: int = 0
    unpublished: int = 0
    unconfirmed: int = 0
    messages: int = 0
    receiver_failures: int = 0
    connections: int = 0
    probe_failures: int = 0
    script_loads: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def reconnects(self) -> int:
        """How often a connection was made after the first one."""
        return max(0, self.connections - 1)


@dataclass(frozen=True, slots=True)
class RedisStatistics:
    """What a connection to Redis does at the moment, and its totals.

    What was given to `Redis.publish` is counted once: as published, unpublished or unconfirmed, or
    it is still among those waiting.

    Args:
        connected: whether there is a connection.
        fault: why there is none, or None.
        waiting: how many commands wait for their answers.
        waiting_bytes: how many bytes wait to be sent.
        channels: the channels and patterns that somebody is subscribed to.
        commands: how many were sent.
        published: messages that Redis has taken.
        unpublished: messages that were refused, because there was no connection or no room, or by
            Redis.
        unconfirmed: messages that were queued or sent, and whose answer was lost with the
            connection.
        messages: messages that have arrived, with those of the connection to itself.
        receiver_failures: how often a function that receives messages has failed.
        reconnects: how often a connection was made after the first one.
        probe_failures: how often the connection's message to itself did not come back.
        script_loads: how often Redis was sent a script that it did not know.
        bytes_sent: to Redis.
        bytes_received: from Redis.
    """

    connected: bool
    fault: str | None
    waiting: int
    waiting_bytes: int
    channels: int
    commands: int
    published: int
    unpublished: int
    unconfirmed: int
    messages: int
    receiver_failures: int
    reconnects: int
    probe_failures: int
    script_loads: int
    bytes_sent: int
    bytes_received: int
