"""The metrics of the presence store in Redis, for Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter

if TYPE_CHECKING:
    from trio_socketio.im.presence.redis_store import RedisStore


class RedisStoreCollector(Collector):
    """Collects what this server has done and seen in the store of all nodes.

    Args:
        store: is asked whenever the metrics are.
    """

    def __init__(self, store: "RedisStore") -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        store = self._store
        for name, meaning, number in (
            (
                "generation_changes",
                "How often it was noticed that Redis had lost who is online.",
                store.generation_changes,
            ),
            ("fenced_nodes", "Leases of lost nodes that were ended by this server.", store.fenced),
            ("reaped", "Seats of lost nodes that were ended by this server.", store.reaped),
        ):
            yield counter(f"presence_{name}", meaning, number)
