"""The metrics of the adapters for Redis, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter

if TYPE_CHECKING:
    from trio_socketio.adapters.redis_pubsub import RedisPubSub

_REASONS: Final = (
    "malformed",
    "oversized",
    "pickled",
    "unknown",
    "undeliverable",
    "questions_refused",
    "events_refused",
)


class BusCollector(Collector):
    """Collects what the adapters of one server have counted.

    Args:
        adapters: their statistics are read at each collection.
    """

    def __init__(self, adapters: "RedisPubSub") -> None:
        self._adapters = adapters

    def collect(self) -> Iterator[Metric]:
        found = self._adapters.statistics()
        yield counter(
            "bus_broadcasts", "Broadcasts of other servers, sent to clients.", found.delivered
        )
        yield counter(
            "bus_skipped",
            "Messages of other servers that concern no client of this one.",
            found.skipped,
        )
        dropped = {reason: getattr(found, reason) for reason in _REASONS}
        yield counter(
            "bus_dropped", "Messages of other servers that were not used.", dropped, "reason"
        )
        yield counter(
            "bus_gaps", "Times for which messages of other servers were missed.", found.gaps
        )
