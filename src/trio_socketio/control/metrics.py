"""The metrics of the control service, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

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
        yield gauge("control_peers", "Connections to the control socket.", found.peers)
        yield gauge("backends", "Backends that are registered.", found.backends)
        events = {"handled": found.events_handled, "failed": found.events_failed}
        yield counter(
            "backend_events", "Client events that were forwarded to backends.", events, "result"
        )
        calls: dict[tuple[str, ...], int] = {}
        seconds: dict[str, float] = {}
        for method, (number, failures, total_s) in found.methods.items():
            calls[method, "done"] = number - failures
            calls[method, "failed"] = failures
            seconds[method] = total_s
        yield counter("rpc_calls", "Calls of methods.", calls, "method", "result")
        yield counter("rpc_seconds", "Time that calls of methods took.", seconds, "method")
