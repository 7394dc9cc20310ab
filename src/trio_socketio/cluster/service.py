"""A node of a cluster as the program runs it: its Redis, the adapters of its server, its name."""

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_socketio.adapters.redis_pubsub import RedisPubSub
from trio_socketio.cluster.forwarding.forwarding import Forwarding
from trio_socketio.cluster.forwarding.peers import tell_faults
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.cluster.workers.role import ALONE, Family
from trio_socketio.errors import ConfigurationError
from trio_socketio.redis.redis import Redis
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.options import ConnectionLimits

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.internal import Internal
    from trio_socketio.cluster.options import ClusterOptions
    from trio_socketio.redis.options import RedisOptions
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server


class Cluster:
    """The services of a node, and why it is not ready.

    Args:
        server: gets the adapters that reach the other nodes; it does not serve yet.
        redis: where Redis is.
        options: those of the node.
        name: of the node.
        version: of trio-socketio.
        max_answer_bytes: the longest answer that this node gives to emit_with_ack.
        internal: where this node listens for others; None if nothing is passed on.
        connections: the bounds on connections.
        sid_prefix: the 4 characters that the sids of this node start with; None for random ones.
        lease_s: how long a node may have clients after it has fallen silent.
        family: what other nodes are told of the program.

    Attributes:
        forwarding: passes on what belongs to other nodes; None if nothing is passed on.
        redis: the connection.
        adapters: those of the namespaces.
        nodes: the cluster.

    Raises:
        ConfigurationError: the app has given its server adapters of its own.
    """

    def __init__(
        self,
        server: "Server",
        redis: "RedisOptions",
        options: "ClusterOptions",
        *,
        name: str,
        version: str,
        max_answer_bytes: int,
        internal: "Internal | None" = None,
        connections: "ConnectionLimits | None" = None,
        sid_prefix: str | None = None,
        lease_s: float = 10.0,
        family: Family = ALONE,
    ) -> None:
        if server._namespaces.has_own_adapters:
            raise ConfigurationError(
                "[redis] url and the app contradict each other, because the app has given its "
                "Server an adapter: leave out one of them"
            )
        self._joined = trio.Event()
        self.redis = Redis(redis)
        self.adapters = RedisPubSub(
            self.redis,
            key=options.key,
            request_timeout_s=options.request_timeout_s,
            has_clients=not family.workers,
        )
        server._namespaces.use_adapter(self.adapters)
        self.nodes = ClusterNodes(
            self.redis,
            server,
            name,
            prefix=redis.prefix,
            version=version,
            max_answer_bytes=max_answer_bytes,
            lease_s=lease_s,
            family=family,
        )
        self.forwarding: Forwarding | None = None
        if internal is not None:
            limits = connections or ConnectionLimits()
            self.forwarding = server._host.forwarding = Forwarding(
                server, self.nodes, internal, limits, options.place, sid_prefix
            )

    async def start(self, runtime: "Runtime") -> None:
        """Begin to connect to Redis, and to be one of its nodes; both end with the runtime.

        They are services of their own, because a node says goodbye while it still has Redis. A
        ConfigurationError of theirs ends the program: Redis refuses us, or the name is taken.
        """
        await runtime.start_service("redis", self._run_redis)
        if self.forwarding is not None:  # before the nodes, which are told its address
            run = partial(self.forwarding.run, runtime)
            await runtime.start_service("forwarding", run, end=self.forwarding.end)
        await runtime.start_service("nodes", self._run_nodes)

    async def _run_redis(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()  # at once, so that control and metrics are there while it waits
        await self.redis.run()

    async def _run_nodes(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await self.redis.wait_connected()
        async with alone(trio.open_nursery()) as nursery:
            await nursery.start(self.nodes.run)
            self._joined.set()

    async def wait_joined(self) -> None:
        """Wait until this node is one of the cluster: for as long as Redis cannot be reached.

        Until then no client is let in, because other nodes could not reach it.
        """
        await self._joined.wait()

    def check_redis(self) -> str:
        """Return why Redis cannot be used; empty text if it can; see ops.health."""
        if self.redis.connected:
            return ""
        return f"Redis: {self.redis.fault or 'connecting'}"

    def check_forwarding(self) -> str:
        """Name the nodes that requests cannot be passed on to; empty if none (FWD-59)."""
        return "" if self.forwarding is None else tell_faults(self.forwarding.faults())

    def check_name(self) -> str:
        """Return why this node is not one of the cluster; empty text if it is.

        Without Redis it cannot be, and that is said by check_redis.
        """
        return self.nodes.fault if self.redis.connected else ""
