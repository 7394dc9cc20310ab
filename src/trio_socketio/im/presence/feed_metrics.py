"""The metrics of the presence feed, for Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from trio_socketio.im.presence.methods import PresenceMethods


class FeedCollector(Collector):
    """Collects the numbers of the feed.

    Args:
        methods: have the feed, once there is one.
    """

    def __init__(self, methods: "PresenceMethods") -> None:
        self._methods = methods

    def collect(self) -> Iterator[Metric]:
        if self._methods.feed is None:
            return
        found = self._methods.feed.statistics()
        yield GaugeMetricFamily(
            "tsio_presence_subscriptions", "Subscriptions to presence logs.", found.subscriptions
        )
        yield GaugeMetricFamily(
            "tsio_presence_groups", "Groups of subscriptions that are known.", found.groups
        )
        yield GaugeMetricFamily(
            "tsio_presence_lag_entries",
            "Entries that the slowest subscription has not acknowledged.",
            found.lag,
        )
        yield CounterMetricFamily(
            "tsio_presence_entries_sent", "Entries sent to subscriptions.", found.entries
        )
        ended = CounterMetricFamily(
            "tsio_presence_subscriptions_ended",
            "Subscriptions that the server has ended.",
            labels=["reason"],
        )
        for reason, number in found.ended.items():
            ended.add_metric([reason], number)
        yield ended
