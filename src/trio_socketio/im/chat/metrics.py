"""Chat events as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.im.chat.service import Chat


class ChatCollector(Collector):
    """Collects the numbers of chat events.

    Args:
        chat: is asked whenever the metrics are.
    """

    def __init__(self, chat: "Chat") -> None:
        self._chat = chat

    def collect(self) -> Iterator[Metric]:
        found = self._chat.statistics()
        yield counter(
            "chat_events", "Chat events of clients, by result.", found.events, "event", "result"
        )
        yield gauge("chat_namespaces", "Namespaces that have chat events.", found.namespaces)
