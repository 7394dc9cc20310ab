"""The metrics of the presence feed, for Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

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
        yield gauge(
            "presence_subscriptions", "Subscriptions to presence logs.", found.subscriptions
        )
        yield gauge("presence_groups", "Groups of subscriptions that are known.", found.groups)
        yield gauge(
            "presence_lag_entries",
            "Entries that the slowest subscription has not acknowledged.",
            found.lag,
        )
        yield gauge(
            "presence_lag_seconds",
            "How long it takes until an entry of the presence log is read here; it grows while the "
            "store does not answer.",
            found.lag_s,
        )
        yield counter("presence_entries_sent", "Entries sent to subscriptions.", found.entries)
        yield counter(
            "presence_subscriptions_ended",
            "Subscriptions that the server has ended.",
            found.ended,
            "reason",
        )
