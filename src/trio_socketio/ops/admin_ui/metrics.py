"""The Admin UI as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.ops.admin_ui.service import AdminUI


class AdminUICollector(Collector):
    """Collects the numbers of the Admin UI.

    Args:
        admin_ui: is asked whenever the metrics are.
    """

    def __init__(self, admin_ui: "AdminUI") -> None:
        self._admin_ui = admin_ui

    def collect(self) -> Iterator[Metric]:
        found = self._admin_ui.statistics()
        yield gauge("admin_ui_admins", "Administrators who are connected.", found.admins)
        yield counter(
            "admin_ui_refused", "Administrators who were not let in.", found.refused, "reason"
        )
        yield counter(
            "admin_ui_commands", "Commands of administrators, by result.", found.commands, "result"
        )
        yield counter(
            "admin_ui_events",
            "Events of clients that the Admin UI was to show, by result.",
            {"shown": found.events_told, "left out": found.events_untold},
            "result",
        )
