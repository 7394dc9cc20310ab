"""The metrics of a connection to Redis, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis


class RedisCollector(Collector):
    """Collects the numbers of a connection to Redis.

    Args:
        redis: its statistics are read at each collection.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        found = self._redis.statistics()
        yield gauge("redis_connected", "Whether there is a connection to Redis.", found.connected)
        yield counter(
            "redis_reconnects", "Connections to Redis made after the first one.", found.reconnects
        )
        yield counter(
            "redis_probe_failures",
            "Messages of the connection to itself that did not come back in time.",
            found.probe_failures,
        )
        yield gauge("redis_waiting", "Commands that wait for their answers.", found.waiting)
        yield gauge("redis_waiting_bytes", "Bytes that wait to be sent.", found.waiting_bytes)
        yield gauge("redis_channels", "Channels and patterns subscribed to.", found.channels)
        yield counter("redis_commands", "Commands that were sent to Redis.", found.commands)
        published = {
            "published": found.published,
            "unpublished": found.unpublished,
            "unconfirmed": found.unconfirmed,
        }
        yield counter(
            "redis_publications",
            "Messages for other nodes: taken by Redis, not sent or refused, or lost without an "
            "answer.",
            published,
            "result",
        )
        yield counter("redis_messages", "Messages received from Redis.", found.messages)
        yield counter(
            "redis_receiver_failures",
            "Failures of functions that receive messages.",
            found.receiver_failures,
        )
        moved = {"sent": found.bytes_sent, "received": found.bytes_received}
        yield counter("redis_bytes", "Bytes exchanged with Redis.", moved, "direction")
