"""The metrics of the file in which a node keeps its state, for Prometheus.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.storage.database import Database


class StorageCollector(Collector):
    """Collects the numbers of a database.

    Args:
        database: its statistics are read at each collection.
    """

    def __init__(self, database: "Database") -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        found = self._database.statistics()
        is_usable = not self._database.fault
        yield gauge("state_usable", "Whether the state on disk can be written.", is_usable)
        yield gauge("state_waiting", "Reads and writes that wait for the disk.", found.waiting)
        calls = {
            "written": found.writes,
            "read": found.reads,
            "failed": found.failures,
            "refused": found.refused,
        }
        yield counter("state_calls", "Reads and writes of the state on disk.", calls, "result")
        yield counter("state_commits", "Transactions of the state on disk.", found.commits)
