"""The metrics of forwarding, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.forwarding import Forwarding


class ForwardingCollector(Collector):
    """Collects what a node has passed on.

    Args:
        forwarding: its numbers are read at each collection.
    """

    def __init__(self, forwarding: "Forwarding") -> None:
        self._forwarding = forwarding

    def collect(self) -> Iterator[Metric]:
        counts, carried = self._forwarding.counts, self._forwarding.carried_bytes()
        found = {
            **{("out", kind, "passed"): number for kind, number in counts.passed.items()},
            **{("out", kind, "answered"): number for kind, number in counts.answered.items()},
            **{("in", kind, "passed"): number for kind, number in counts.taken.items()},
        }
        labels = ("direction", "kind", "result")
        yield counter("forwarded", "Requests passed on to other nodes (out), or by them (in).",
                      found, *labels)  # fmt: skip
        yield counter(
            "forwarding_refused",
            "Requests for sessions of other nodes that were not passed on, or not answered there.",
            counts.refused,
            "reason",
        )
        yield counter(
            "forwarding_openings_refused",
            "Connections to the internal address that were refused.",
            {**counts.openings_refused, "full": self._forwarding.refused_as_full},
            "reason",
        )
        yield gauge(
            "forwarding_possible",
            "Whether requests can be passed on to another node, as it was tried last.",
            {
                name: int(not fault)
                for name, fault in self._forwarding.faults().items()
                if fault is not None
            },
            "node",
        )
        now = {"request": counts.requests, "websocket": counts.pipes}
        yield gauge("forwarding_open", "What is under way at other nodes now.", now, "kind")
        yield counter(
            "forwarded_bytes", "Bytes to and from other nodes on dialed connections.", carried,
            "direction",
        )  # fmt: skip
