"""Who is online and what has happened to seats, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, get_args

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.engine.counts import OTHER
from trio_socketio.metric_families import counter, gauge
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
        users, events = self._by_family(found.users), found.events
        yield gauge(
            "presence_users", "Users that are online through this server.", users, "namespace"
        )
        by_type = {kind: events.get(kind, 0) for kind in get_args(EntryType)}
        yield counter("presence_events", "Entries of the presence log.", by_type, "type")
        for name, meaning, number in (
            ("claimed", "Seats that were given to clients.", found.claimed),
            ("refused", "Clients that got no seat.", found.refused),
            ("replaced", "Clients that were put out by a new login.", found.replaced),
            ("kicked", "Clients that were put out because their user was kicked.", found.kicked),
        ):
            yield counter(f"presence_{name}", meaning, number)
        if found.lease_left_s < inf:  # where leases end
            yield gauge(
                "presence_lease_left_seconds",
                "For how long the lease of this server counts, unless it is renewed.",
                found.lease_left_s,
            )
            for name, meaning, number in (
                ("fences", "Leases of this server that have ceased to count.", found.fenced_times),
                (
                    "reasserted",
                    "Seats that were taken anew, after the store had lost them or a lease had "
                    "ended.",
                    found.reasserted,
                ),
                (
                    "lost_seats",
                    "Clients that were put out then, because their users were in elsewhere.",
                    found.lost_seats,
                ),
                (
                    "releases_dropped",
                    "Seats whose clients had left, and that ended with a lease instead.",
                    found.releases_dropped,
                ),
            ):
                yield counter(f"presence_{name}", meaning, number)
            yield gauge(
                "presence_unusable_namespaces",
                "Namespaces whose records in the store cannot be used; nobody can join them here.",
                found.unusable,
            )
        yield gauge("presence_lingering", "Lost clients whose seats are held.", found.lingering)
        yield gauge(
            "presence_releasing",
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
