"""What rules have refused, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.im.rules.service import Rules


class RulesCollector(Collector):
    """Collects the numbers of rules.

    Args:
        rules: are asked whenever the metrics are.
    """

    def __init__(self, rules: "Rules") -> None:
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        found = self._rules.statistics()
        yield counter("rules_refused", "What clients may not do.", found.refused, "reason")
        yield gauge("rules_counted", "Users, rooms and so on that are counted.", found.counted)
        yield gauge("rules_held_off", "Users that are held off from logging in.", found.held_off)
        yield counter("rules_forgotten", "Of those counted, forgotten too early.", found.forgotten)
