"""Nodes on a real Redis that ask clients who they are, and share what is revoked."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from typing import Any

import trio
from tests import wire
from tests.cluster.cluster import Node
from tests.control.serving import FakeSystem
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from tests.wire import SocketIOClient

from trio_socketio import Redis, RedisOptions, Server, TcpEndpoint, open_runtime
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService
from trio_socketio.im.identity.methods import AuthMethods, NodeRevocations
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.identity.shared_revocations import SharedRevocations

CHAT = "/chat"


@dataclass(eq=False)
class IdentifiedNode(Node):
    """A node, its identity service and its port."""

    identity: IdentityService = field(kw_only=True)
    port: int = 0
    stack: AsyncExitStack = field(kw_only=True)

    @property
    def shared(self) -> SharedRevocations:
        shared = self.identity.revoking.shared
        assert shared is not None
        return shared

    @property
    def users(self) -> list[str]:
        return sorted(socket.user or "" for socket in self.server.of(CHAT).sockets.values())

    async def come(self, token: str) -> SocketIOClient:
        """A client that has joined; it stays until the node ends."""
        client = await self.stack.enter_async_context(wire.open_client(self.port))
        await client.connect(CHAT, {"token": token})
        return client

    async def lets_in(self, token: str) -> bool:
        """Whether a client gets in with a token; it leaves at once."""
        async with wire.open_client(self.port) as client:
            await client.send(f'0{CHAT},{{"token":"{token}"}}')
            try:
                answer = str((await client.receive())[0])
            except wire.ConnectionEnded:  # so that it comes again
                return False
            assert answer.startswith((f"0{CHAT},", f"4{CHAT},"))
            return answer[0] == "0"

    async def why_not(self, token: str) -> str:
        """What a client is told that does not get in with a token."""
        async with wire.open_client(self.port) as client:
            await client.send(f'0{CHAT},{{"token":"{token}"}}')
            try:
                answer = str((await client.receive())[0])
            except wire.ConnectionEnded as end:  # so that it comes again
                return f"hung up on: {end}"
            assert answer.startswith(f"4{CHAT},")
            return answer

    async def wait_let_in(self, token: str, *, is_in: bool = True) -> None:
        """Wait until a client gets in with a token, or does not."""
        with trio.fail_after(10):
            while await self.lets_in(token) is not is_in:
                await trio.lowlevel.checkpoint()

    async def revoke(self, user: str, **params: Any) -> Any:
        return await self.call("auth.revoke", user=user, **params)


class IdentifiedNodes:
    """The nodes, by name, and how to start and end one.

    Args:
        nursery: for what they run.
        redis: the server.
        options: of the identity of each node.
    """

    def __init__(self, nursery: trio.Nursery, redis: RedisServer, options: Any) -> None:
        self.prefix = f"t{token_hex(4)}"
        self.nodes: dict[str, IdentifiedNode] = {}
        self._nursery = nursery
        self._redis = redis
        self._options = options

    def __getitem__(self, name: str) -> IdentifiedNode:
        return self.nodes[name]

    @property
    def key(self) -> str:
        return f"{self.prefix}:{{presence#0}}:revoked"

    async def start(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        ask: Any = None,
        settles: bool = True,
        **options: Any,
    ) -> IdentifiedNode:
        node: IdentifiedNode = await self._nursery.start(
            partial(self._run, name, clock, ask, {**self._options, **options})
        )
        if settles:
            await until(lambda: node.shared.is_current)
            await until(
                lambda: all(
                    len(one.nodes.others()) == len(self.nodes) - 1 for one in self.nodes.values()
                )
            )
        return node

    async def end(self, name: str) -> None:
        """End a node."""
        self.nodes.pop(name).scope.cancel()
        await until(lambda: all(name not in self.others(one) for one in self.nodes.values()))

    def others(self, node: IdentifiedNode) -> list[str]:
        return [one.name for one in node.nodes.others()]

    async def _run(
        self,
        name: str,
        clock: Callable[[], float],
        ask: Any,
        options: dict[str, Any],
        task_status: trio.TaskStatus[IdentifiedNode],
    ) -> None:
        redis = Redis(RedisOptions(url=self._redis.url, command_timeout_s=0.5))
        server = Server()
        server.of(CHAT)
        nodes = ClusterNodes(redis, server, name, prefix=self.prefix)
        methods = AuthMethods(None, nodes)
        nodes.serve(NodeRevocations(methods))
        service = ControlService(
            server, FakeSystem(), ControlOptions(), further=[methods], nodes=nodes
        )
        identity = methods.service = IdentityService(
            server, IdentityOptions(**options), ask, clock=clock, redis=redis, prefix=self.prefix
        )
        async with AsyncExitStack() as stack:
            scope = stack.enter_context(trio.CancelScope())
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(redis.run)
            await redis.wait_connected()
            runtime = await stack.enter_async_context(open_runtime())
            await runtime.start_service("nodes", nodes.run)
            await runtime.start_service("identity", partial(identity.run, runtime))
            connections = await stack.enter_async_context(server.mounted(runtime))
            listening = runtime.listening(connections, TcpEndpoint(port=0))
            ((_, port),) = await stack.enter_async_context(listening)
            node = IdentifiedNode(
                name,
                redis,
                server,
                nodes,
                service,
                scope,
                identity=identity,
                port=port,
                stack=stack,
            )
            self.nodes[name] = node
            task_status.started(node)
            await trio.sleep_forever()


@asynccontextmanager
async def identified_nodes(
    redis: RedisServer, *names: str, ask: Any = None, **options: Any
) -> AsyncIterator[IdentifiedNodes]:
    """Nodes of these names; the options are those of identity."""
    async with trio.open_nursery() as nursery:
        found = IdentifiedNodes(nursery, redis, options)
        for name in names:
            await found.start(name, ask=ask)
        yield found
        nursery.cancel_scope.cancel()
