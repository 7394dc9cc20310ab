"""The node of a cluster that a program is, as the configuration asks for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector

    from trio_socketio.cluster.service import Cluster
    from trio_socketio.cluster.workers.role import Role
    from trio_socketio.control.system import SystemInfo
    from trio_socketio.reloading import Held
    from trio_socketio.socketio.server import Server


def create_cluster(
    server: "Server", held: "Held", info: "SystemInfo", role: "Role"
) -> "Cluster | None":
    """Create the node; None if there is no Redis.

    Args:
        server: the server.
        held: the options, and the files by which nodes know one another.
        info: the program.
        role: what this process does.
    """
    configuration = held.configuration
    if configuration.redis.url is None:
        return None
    from trio_socketio.cluster.service import Cluster  # it needs a tenth of a second

    return Cluster(
        server,
        configuration.redis,
        configuration.cluster,
        name=info.node,
        version=info.version,
        max_answer_bytes=configuration.control.max_line_bytes,
        lease_s=configuration.presence.lease_s,
        internal=role.find_internal(configuration.cluster, held.credentials),
        connections=configuration.connections,
        sid_prefix=configuration.engine.sid_prefix,
        family=role.family,
    )


def cluster_collectors(cluster: "Cluster") -> "Iterator[Collector]":
    """Return what collects the metrics of a node."""
    from trio_socketio.adapters.metrics import BusCollector
    from trio_socketio.cluster.metrics import NodesCollector
    from trio_socketio.redis.metrics import RedisCollector

    yield RedisCollector(cluster.redis)
    yield BusCollector(cluster.adapters)
    yield NodesCollector(cluster.nodes)
    if cluster.forwarding is not None:
        from trio_socketio.cluster.forwarding.metrics import ForwardingCollector

        yield ForwardingCollector(cluster.forwarding)
