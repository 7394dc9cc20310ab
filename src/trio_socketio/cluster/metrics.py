"""The metrics of the nodes, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.cluster.nodes import ClusterNodes


class NodesCollector(Collector):
    """Collects what a node knows of the others.

    Args:
        nodes: its statistics are read at each collection.
    """

    def __init__(self, nodes: "ClusterNodes") -> None:
        self._nodes = nodes

    def collect(self) -> Iterator[Metric]:
        found = self._nodes.statistics()
        yield gauge("nodes", "Our other nodes that live.", found.others)
        yield gauge("node_member", "Whether this node has its name.", int(found.is_member))
        yield gauge(
            "node_heartbeat_lag_seconds",
            "How long the last heartbeat took through Redis and back.",
            found.lag_s,
        )
        yield gauge("node_calls_waiting", "Calls of other nodes in flight.", found.waiting)
        calls = {"made": found.asked, "answered": found.answered}
        yield counter("node_calls", "Calls between nodes, made and answered.", calls, "side")
        yield counter(
            "node_answers_missing", "Answers of other nodes that did not come.", found.missing
        )
        yield counter(
            "node_messages_dropped", "Messages that were not used.", found.dropped, "reason"
        )
        yield counter("node_messages_unsent", "Messages that were not sent.", found.unsent)
