"""What a node keeps in Redis together with all others, beside messages: who is online."""

from typing import TYPE_CHECKING

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
    """Gives this node no lease as long as another one has its name (CLUS-17).

    A lease ends the one that the node of this name had before. A node that stood still, and whose
    name was taken meanwhile, would end that of its successor, which would do the same in turn.

    Args:
        cluster: knows whether the name is this node's.
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


class SharedPresence:
    """The store of a node, the turns of groups beside it, and whether Redis is fit for them.

    Args:
        cluster: has the connection.
        prefix: begins the names of keys and channels.
        options: of the store.
        presence: takes part in the turns under its boots; it gets the store.

    Attributes:
        settings: of Redis.
        store: has the seats of all nodes.
        turns: of the groups of backends, whichever nodes they are connected to, and of the nodes in
            posting to the webhook.
    """

    def __init__(
        self,
        cluster: "Cluster",
        prefix: str,
        options: "PresenceOptions",
        presence: "Presence",
    ) -> None:
        self.settings = RedisSettings(cluster.redis)
        self.store = NamedStore(cluster, prefix, options)
        self.turns = RedisTurns(cluster.redis, lambda: presence.boot, prefix=prefix)
