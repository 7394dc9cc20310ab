"""What a program keeps beyond its end, as services: the file on disk, and namespaces."""

import logging
from typing import TYPE_CHECKING

import trio

from trio_socketio.im.deliveries.sqlite import COUNT as COUNT_DELIVERIES
from trio_socketio.im.namespaces.disk_store import COUNT as COUNT_NAMESPACES
from trio_socketio.im.namespaces.disk_store import DiskStore
from trio_socketio.im.namespaces.methods import DefinitionMethods, NodeNamespaces
from trio_socketio.im.namespaces.service import DefinedNamespaces
from trio_socketio.namespace_parts import DefinedIdentity, DefinedSeats
from trio_socketio.storage.database import Database
from trio_socketio.storage.opening import count_rows, default_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.registry import Collector

    from trio_socketio.cluster.service import Cluster
    from trio_socketio.configuration.tables import Configuration
    from trio_socketio.im.identity.service import IdentityService
    from trio_socketio.im.namespaces.live import Part
    from trio_socketio.im.namespaces.store import Store
    from trio_socketio.im.presence import Presence
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)


class StateServices:
    """The file on disk if there is one, and the namespaces that are made at run time.

    Args:
        server: has the namespaces.
        configuration: says where they are kept.
        cluster: the nodes that share them; None if there is only this one.

    Attributes:
        database: the file; None if nothing is kept on this node.
        namespaces: those that are made at run time.
        methods: of the control socket.
    """

    def __init__(
        self, server: "Server", configuration: "Configuration", cluster: "Cluster | None"
    ) -> None:
        self._server = server
        self.database: Database | None = None
        folder = configuration.state.folder or default_folder()
        self._unused: Path | None = None if cluster is None else folder
        store: Store | None = None
        if cluster is not None:
            from trio_socketio.im.namespaces.redis_store import RedisStore

            store = RedisStore(cluster.redis, configuration.redis.prefix)
        elif folder is not None:
            self.database = Database(folder)
            store = DiskStore(self.database)
        self.namespaces = DefinedNamespaces(server, store)
        nodes = None if cluster is None else cluster.nodes
        if nodes is not None:
            nodes.serve(NodeNamespaces(self.namespaces))
        self.methods = DefinitionMethods(self.namespaces, nodes)

    def use(
        self, identity: "IdentityService | None", presence: "Presence | None", *others: "Part"
    ) -> None:
        """Have parts of the server go by the definitions of namespaces."""
        seats = DefinedSeats(identity, presence, self._server.options)
        parts: tuple[Part, ...] = (DefinedIdentity(identity), seats, *others)
        self.namespaces.use_parts(parts, seats.replaces)

    def check(self) -> str:
        """Return why this node does not know its namespaces, or cannot keep anything.

        See ops.health.
        """
        if self.database is not None and self.database.fault:  # STATE-15
            return f"state: {self.database.fault}"
        return self.namespaces.check()

    def collectors(self) -> "Iterator[Collector]":
        """Return what collects the metrics."""
        from trio_socketio.im.namespaces.metrics import NamespacesCollector
        from trio_socketio.storage.metrics import StorageCollector

        yield NamespacesCollector(self.namespaces)
        if self.database is not None:
            yield StorageCollector(self.database)

    async def start(self, runtime: "Runtime") -> None:
        """Start the services.

        Raises:
            ConfigurationError: the file cannot be opened.
        """
        if self.database is not None:
            await runtime.start_service("state", self.database.run)
            log.info("state is kept in %s", self.database.folder)
        if self._unused is not None:
            await trio.to_thread.run_sync(_warn_of_leftovers, self._unused)
        await runtime.start_service("namespaces", self.namespaces.run)


def _warn_of_leftovers(folder: "Path") -> None:
    """Say what a folder has that is not used, because all is kept in Redis (NSP-30)."""
    namespaces = count_rows(folder, COUNT_NAMESPACES) or 0
    messages = count_rows(folder, COUNT_DELIVERIES) or 0
    if namespaces or messages:
        log.warning(
            "%s has %d namespaces that were made at run time, and %d messages that wait for users, "
            "from a time without [redis] url; they are not served, because all nodes keep their "
            "state in Redis: make the namespaces again, start once without [redis] url if the "
            "messages are to be delivered, and then delete the folder",
            folder,
            namespaces,
            messages,
        )
