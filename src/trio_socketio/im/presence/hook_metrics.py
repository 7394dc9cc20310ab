"""What the webhook of presence has done, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trio_socketio.im.presence.courier import Result

if TYPE_CHECKING:
    from trio_socketio.im.presence.webhook import PresenceWebhook


class WebhookCollector(Collector):
    """Collects the numbers of the webhook.

    Args:
        webhook: is asked whenever the metrics are.
    """

    def __init__(self, webhook: "PresenceWebhook") -> None:
        self._webhook = webhook

    def collect(self) -> Iterator[Metric]:
        found = self._webhook.statistics()
        attempts = CounterMetricFamily(
            "tsio_presence_webhook_attempts",
            "Requests to the webhook, by how they ended: 2xx, 4xx, or anything else.",
            labels=["result"],
        )
        for result in get_args(Result):
            attempts.add_metric([result], found.attempts.get(result, 0))
        yield attempts
        gaps = CounterMetricFamily(
            "tsio_presence_webhook_gaps",
            "How often the webhook was sent a snapshot instead of entries.",
            labels=["reason"],
        )
        for reason, number in found.gaps.items():
            gaps.add_metric([reason], number)
        yield gaps
        lag = GaugeMetricFamily(
            "tsio_presence_webhook_lag_entries",
            "Entries of the log that the webhook has not accepted yet.",
            labels=["namespace"],
        )
        for namespace, number in found.lag.items():
            lag.add_metric([namespace], number)
        yield lag
        yield GaugeMetricFamily(
            "tsio_presence_webhook_lag_seconds", "The age of the oldest of them.", found.lag_s
        )
