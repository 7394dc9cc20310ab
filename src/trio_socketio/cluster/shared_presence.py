"""The presence that a node shares with all others through Redis: the store and the turns."""

from typing import TYPE_CHECKING

from trio_socketio.im.presence.node_options import NodeOptions
from trio_socketio.im.presence.redis_settings import RedisSettings
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.redis_turns import RedisTurns
from trio_socketio.im.presence.store import StoreUnavailable

if TYPE_CHECKING:
    from trio_socketio.cluster.service import Cluster
    from trio_socketio.im.presence.options import PresenceOptions
    from trio_socketio.im.presence.service import Presence
    from trio_socketio.protocol.presence_claims import Fenced


class NamedStore(RedisStore):
    """A store that gives this node no lease while another node has its name (CLUS-17).

    A new lease ends the previous one of the same name. If a node stood still and its name was taken
    in the meantime, it would end the lease of its successor, which would then do the same to it.

    Args:
        cluster: knows whether this node has its name.
        prefix: begins the names of keys and channels.
        options: of the store.
    """

    def __init__(self, cluster: "Cluster", prefix: str, options: "PresenceOptions") -> None:
        super().__init__(
            cluster.redis, prefix=prefix, lease_s=options.lease_s, max_events=options.max_events
        )
        self._cluster = cluster

    async def enroll(self, node: str, boot: str) -> "tuple[str, ...] | Fenced":
        fault = self._cluster.nodes.fault
        if fault:
            raise StoreUnavailable(fault)
        return await super().enroll(node, boot)

    def holders(self) -> frozenset[str]:
        """Return the names of the nodes that had a lease when the store was asked last."""
        return frozenset(value.split(" ", 2)[-1] for value in self._watch.values())


class SharedPresence:
    """The presence store of a node, the turns of groups, and a check of the settings of Redis.

    Args:
        cluster: has the connection.
        prefix: begins the names of keys and channels.
        options: of the store.
        presence: its boots hold the turns, and it is given the store.

    Attributes:
        settings: those of Redis.
        store: the seats of all nodes.
        turns: which node serves a group of backends, and which one posts to the webhook.
    """

    def __init__(
        self,
        cluster: "Cluster",
        prefix: str,
        options: "PresenceOptions",
        presence: "Presence",
    ) -> None:
        self._nodes = cluster.nodes
        self._options = NodeOptions(cluster.redis, prefix, cluster.nodes.name, options)
        self.settings = RedisSettings(cluster.redis)
        self.store = NamedStore(cluster, prefix, options)
        cluster.nodes.use_leases(self.store.holders)
        self.turns = RedisTurns(cluster.redis, lambda: presence.boot, prefix=prefix)

    async def wait_fit(self) -> None:
        """Wait until presence can be kept in Redis, and warn of nodes with other options."""
        await self.settings.wait_fit()
        await self._options.compare([node.name for node in self._nodes.others()])
