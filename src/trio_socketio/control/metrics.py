"""The metrics of the control service, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from trio_socketio.control.service import ControlService


class ControlCollector(Collector):
    """Collects the numbers of a control service.

    Args:
        service: its statistics are read at each collection.
    """

    def __init__(self, service: "ControlService") -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        found = self._service.statistics()
        yield GaugeMetricFamily(
            "tsio_control_peers", "Connections to the control socket.", found.peers
        )
        yield GaugeMetricFamily("tsio_backends", "Backends that are registered.", found.backends)
        events = CounterMetricFamily(
            "tsio_backend_events",
            "Client events that were forwarded to backends.",
            labels=["result"],
        )
        events.add_metric(["handled"], found.events_handled)
        events.add_metric(["failed"], found.events_failed)
        yield events
        calls = CounterMetricFamily(
            "tsio_rpc_calls", "Calls of methods.", labels=["method", "result"]
        )
        seconds = CounterMetricFamily(
            "tsio_rpc_seconds", "Time that calls of methods took.", labels=["method"]
        )
        for method, (number, failures, total_s) in found.methods.items():
            calls.add_metric([method, "done"], number - failures)
            calls.add_metric([method, "failed"], failures)
            seconds.add_metric([method], total_s)
        yield calls
        yield seconds
