"""What the webhook of presence has done, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.im.presence.courier import Result
from trio_socketio.metric_families import counter, gauge

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
        yield counter(
            "presence_webhook_attempts",
            "Requests to the webhook, by how they ended: 2xx, 4xx, or anything else.",
            {result: found.attempts.get(result, 0) for result in get_args(Result)},
            "result",
        )
        yield counter(
            "presence_webhook_gaps",
            "How often the webhook was sent a snapshot instead of entries.",
            found.gaps,
            "reason",
        )
        yield gauge(
            "presence_webhook_lag_entries",
            "Entries of the log that the webhook has not accepted yet.",
            found.lag,
            "namespace",
        )
        yield gauge("presence_webhook_lag_seconds", "The age of the oldest of them.", found.lag_s)
