"""Who is online and what has happened to seats, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trio_socketio.engine.counts import OTHER
from trio_socketio.protocol.presence_log import EntryType
from trio_socketio.socketio.measures import MAX_NAMESPACES

if TYPE_CHECKING:
    from trio_socketio.im.presence.service import Presence
    from trio_socketio.socketio.server import Server


class PresenceCollector(Collector):
    """Collects the numbers of presence.

    Args:
        presence: is asked whenever the metrics are.
        server: has the namespaces. Those that clients have made share the label of their parent; if
            they have left while their seats are still held, it is "other".
    """

    def __init__(self, presence: "Presence", server: "Server") -> None:
        self._presence = presence
        self._server = server

    def collect(self) -> Iterator[Metric]:
        found = self._presence.statistics()
        users = GaugeMetricFamily(
            "tsio_presence_users",
            "Users that are online through this server.",
            labels=["namespace"],
        )
        for label, number in self._by_family(found.users).items():
            users.add_metric([label], number)
        yield users
        events = CounterMetricFamily(
            "tsio_presence_events", "Entries of the presence log.", labels=["type"]
        )
        for kind in get_args(EntryType):
            events.add_metric([kind], found.events.get(kind, 0))
        yield events
        for name, meaning, number in (
            ("claimed", "Seats that were given to clients.", found.claimed),
            ("refused", "Clients that got no seat.", found.refused),
            ("replaced", "Clients that were put out by a new login.", found.replaced),
            ("kicked", "Clients that were put out because their user was kicked.", found.kicked),
        ):
            yield CounterMetricFamily(f"tsio_presence_{name}", meaning, number)
        yield GaugeMetricFamily(
            "tsio_presence_lingering", "Lost clients whose seats are held.", found.lingering
        )
        yield GaugeMetricFamily(
            "tsio_presence_releasing",
            "Seats that clients have left and the store has not taken back yet.",
            found.releasing,
        )

    def _by_family(self, users: "Mapping[str, int]") -> "Counter[str]":
        found: Counter[str] = Counter()
        for name, number in users.items():
            namespace = self._server.namespaces.get(name)
            name = OTHER if namespace is None else namespace._family
            found[name if name in found or len(found) < MAX_NAMESPACES else OTHER] += number
        return found
