"""The metrics of namespaces that are made at run time, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.im.namespaces.service import DefinedNamespaces


class NamespacesCollector(Collector):
    """Collects the numbers of the namespaces that are made at run time.

    Args:
        service: its statistics are read at each collection.
    """

    def __init__(self, service: "DefinedNamespaces") -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        found = self._service.statistics()
        yield gauge("namespaces_defined", "Namespaces made at run time.", found.defined)
        yield gauge(
            "namespaces_unserved", "Those of them that this node cannot serve.", found.unserved
        )
        yield gauge(
            "namespaces_current",
            "Whether this node knows the last change of them.",
            found.is_current,
        )
        yield counter("namespaces_changes", "Changes of them made on this node.", found.changes)
        yield counter("namespaces_put_out", "Clients put out for a change.", found.put_out)
