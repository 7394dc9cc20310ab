"""Confirmed delivery as a service of the program: where messages are kept, and who asks for it."""

from typing import TYPE_CHECKING

from trio_socketio.errors import ConfigurationError
from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.methods import DeliveryMethods
from trio_socketio.im.deliveries.node_methods import NodeDeliveries
from trio_socketio.im.deliveries.options import NO_PLACE
from trio_socketio.im.deliveries.service import Deliveries
from trio_socketio.im.deliveries.sqlite import SqliteDeliveries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector

    from trio_socketio.cluster.service import Cluster
    from trio_socketio.configuration.tables import Configuration
    from trio_socketio.im.deliveries.store import DeliveryStore
    from trio_socketio.im.identity.service import IdentityService
    from trio_socketio.im.namespaces.definition import NamespaceDefinition
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server
    from trio_socketio.storage.database import Database


class DeliveryServices:
    """Confirmed delivery: in Redis if there is one, else in memory, and on disk if it has to last.

    Args:
        server: has the users.
        configuration: the options.
        cluster: the nodes that share them; None if there is only this one.
        database: the file on disk; None if nothing is kept there.

    Attributes:
        deliveries: the service.
        methods: of the control socket.

    Raises:
        ConfigurationError: messages have to outlive the program, and nothing does.
    """

    def __init__(
        self,
        server: "Server",
        configuration: "Configuration",
        cluster: "Cluster | None",
        database: "Database | None",
    ) -> None:
        options = configuration.deliveries
        store: DeliveryStore = MemoryDeliveries(options.bounds)
        durable: DeliveryStore | None = None
        if cluster is not None:
            from trio_socketio.im.deliveries.redis import RedisDeliveries

            store = durable = RedisDeliveries(
                cluster.redis, options.bounds, prefix=configuration.redis.prefix
            )
        elif database is not None:
            durable = SqliteDeliveries(database, options.bounds)
        elif options.durable:  # DELIV-18
            raise ConfigurationError(f"[deliveries] durable {NO_PLACE}")
        nodes = None if cluster is None else cluster.nodes
        self.deliveries = Deliveries(server, options, store, durable, nodes)
        if nodes is not None:
            nodes.serve(NodeDeliveries(self.deliveries))
        self.methods = DeliveryMethods(self.deliveries)

    def go_by(self, configuration: "Configuration", identity: "IdentityService | None") -> None:
        """Refuse messages where nobody could confirm them (DELIV-53).

        Args:
            configuration: says whether there is an app, which may identify clients itself.
            identity: asks clients who they are; None if nothing does.
        """
        if configuration.app.spec is None:
            self.deliveries.may_identify = lambda name: (
                identity is not None and identity.asks_in(name)
            )

    def collectors(self) -> "Iterator[Collector]":
        """Return what collects the metrics."""
        from trio_socketio.im.deliveries.metrics import DeliveriesCollector

        yield DeliveriesCollector(self.deliveries)

    async def start(self, runtime: "Runtime") -> None:
        """Start the service; what it keeps messages in has started."""
        await runtime.start_service("deliveries", self.deliveries.run)

    # -- the definitions of namespaces that are made at run time

    def check(self, definition: "NamespaceDefinition") -> None:
        """Accept every definition; whoever sends a message is told if nothing can keep it."""

    def define(self, definition: "NamespaceDefinition") -> None:
        """Go by a definition from now on."""
        self.deliveries.define(definition.namespace, definition.durable)

    def forget(self, namespace: str) -> None:
        """Go by the configuration again, and end what waits for the users of the namespace."""
        self.deliveries.define(namespace, None)
        self.deliveries.end(namespace)
