"""Nodes that serve clients with seats, on a fake bus, whose presence may be in one store."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio
from tests import wire
from tests.cluster.cluster import Cluster, Node
from tests.socketio.serving import until
from tests.wire import SocketIOClient

from trio_socketio import Joining, JoiningState, Step, TcpEndpoint, open_runtime
from trio_socketio.im.presence import Presence, PresenceStore

CHAT: Final = "/chat"
FREE: Final = "/free"
"""Clients have no seats there."""


@dataclass(eq=False)
class SeatedNode:
    """A node, its presence and its port."""

    node: Node
    presence: Presence
    port: int
    stack: AsyncExitStack

    async def come(self, user: str, namespace: str = CHAT) -> SocketIOClient:
        """A client that has joined; it stays until the cluster ends."""
        client = await self.stack.enter_async_context(wire.open_client(self.port))
        await client.connect(namespace, {"user": user})
        return client

    async def call(self, method: str, **params: Any) -> Any:
        return await self.node.call(method, **params)


async def identify(joining: Joining) -> None:
    joining.identify(joining.auth["user"])


@asynccontextmanager
async def seated(
    stores: Mapping[str, PresenceStore | None], places: Mapping[str, list[str]] | None = None
) -> AsyncIterator[dict[str, SeatedNode]]:
    """Nodes by name, with the store of each; None means no presence.

    Args:
        stores: of the nodes, by their names.
        places: namespaces that only some nodes have, with their names.
    """
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        cluster = Cluster(nursery, 0.001)
        found: dict[str, SeatedNode] = {}
        for name, store in stores.items():
            node = cluster.nodes[name] = cluster.make(name)
            server = node.server
            server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
            mine = [one for one, names in (places or {}).items() if name in names]
            for place in (CHAT, FREE, *mine):
                server.of(place)
            presence = Presence(server, store, node=name)
            if store is not None:
                for place in (CHAT, *mine):
                    presence.seat(place, policy="many", maximum=5)
                presence.seat(server.of(re.compile(r"/room-\d")))
            runtime = await stack.enter_async_context(open_runtime())
            connections = await stack.enter_async_context(server.mounted(runtime))
            listening = runtime.listening(connections, TcpEndpoint(port=0))
            ((_, port),) = await stack.enter_async_context(listening)
            await nursery.start(cluster._run, node)
            found[name] = SeatedNode(node, presence, port, stack)
        await until(
            lambda: all(len(one.node.nodes.others()) == len(found) - 1 for one in found.values())
        )
        yield found
        await stack.aclose()
        nursery.cancel_scope.cancel()
