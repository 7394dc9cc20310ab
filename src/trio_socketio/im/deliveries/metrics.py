"""What confirmed delivery has done, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.im.deliveries.service import Deliveries


class DeliveriesCollector(Collector):
    """Collects the numbers of confirmed delivery.

    Args:
        deliveries: is asked whenever the metrics are.
    """

    def __init__(self, deliveries: "Deliveries") -> None:
        self._deliveries = deliveries

    def collect(self) -> Iterator[Metric]:
        found = self._deliveries.statistics()
        yield gauge("deliveries_open", "Messages that wait for users, on all nodes.", found.open)
        yield gauge("deliveries_reports", "Reports of messages that have ended.", found.reports)
        yield gauge("deliveries_bytes", "About how many bytes all of them take.", found.size)
        yield gauge("deliveries_attended", "Messages that this node attends to.", found.attended)
        yield gauge(
            "deliveries_waiting", "Copies that clients here have to acknowledge.", found.waiting
        )
        yield counter("deliveries_accepted", "Messages that were accepted.", found.accepted)
        yield counter(
            "deliveries_refused", "Messages that were refused, by reason.", found.refused, "reason"
        )
        yield counter(
            "delivery_targets",
            "Users of the messages that this node attends to, by whether they have confirmed.",
            {"confirmed": found.confirmed, "unconfirmed": found.unconfirmed},
            "result",
        )
        yield counter("delivery_copies", "Copies sent to sockets of this node.", found.sent)
        yield counter(
            "delivery_copies_unsent",
            "Copies that were not sent, because too many wait for their acknowledgements.",
            found.unsent,
        )
        yield counter("delivery_retries", "Copies that users were sent again.", found.retries)
        yield counter(
            "deliveries_taken_over", "Messages that another node or process had left.", found.taken
        )
        yield counter(
            "delivery_failures",
            "Writes to the store, and messages to nodes, that have failed and are made up for.",
            found.failures,
        )
