"""Nodes in one process that pass requests on to one another, on a fake bus and real sockets."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import Any, Final

import trio
from tests.cluster.fake_bus import BusAdapter, FakeBus, FakeRedis
from tests.socketio.serving import until
from tests.wire import (
    PATH,
    HttpClient,
    PollingEngine,
    Response,
    SocketIOClient,
    WebSocketClient,
    WebSocketEngine,
)

from trio_socketio import Runtime, Server, ServerOptions, Session, Socket, TcpEndpoint, open_runtime
from trio_socketio.cluster.forwarding.credentials import Credentials
from trio_socketio.cluster.forwarding.forwarding import Forwarding
from trio_socketio.cluster.forwarding.internal import find_internal
from trio_socketio.cluster.forwarding.pool import Times
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.runtime.options import ConnectionLimits

SECRET: Final = b"secret of the cluster, 32 bytes."
NAMES: Final = ("a", "b", "c")
NO_TRIALS: Final = Times(soon_s=1e9)
"""For tests that count what they do themselves."""
_ANY_FILE: Final = ("secret",)  # it is not read here


@dataclass(eq=False)
class ForwardingNode:
    """A node, and what it has received."""

    name: str
    redis: FakeRedis
    server: Server
    nodes: ClusterNodes
    forwarding: Forwarding
    runtime: Runtime
    port: int = 0
    said: list[Any] = field(default_factory=list)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def internal_port(self) -> int:
        """Where it listens for other nodes."""
        return int(self.nodes.reach[0].rpartition(":")[2])

    @property
    def sessions(self) -> list[Session]:
        """Those of this node."""
        assert self.server._running is not None
        return list(self.server._running.engine.sessions.values())

    @property
    def refused(self) -> dict[str, int]:
        """What it has refused to pass on, by reason, without zeros."""
        return {reason: n for reason, n in self.forwarding.counts.refused.items() if n}


class Nodes(dict[str, ForwardingNode]):
    """The nodes by name, and how to make more."""

    def __init__(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        super().__init__()
        self.bus = FakeBus()
        self.stack = stack
        self._nursery = nursery

    async def start(self, name: str, **how: Any) -> ForwardingNode:
        node: ForwardingNode = await self._nursery.start(partial(self._run, name, **how))
        self[name] = node
        return node

    async def _run(
        self,
        name: str,
        *,
        options: ServerOptions | None = None,
        prepare: Callable[[Server], None] | None = None,
        credentials: Credentials | None = None,
        place: str = "local",
        max_connections: int = 1000,
        internal: str = "127.0.0.1:0",
        advertise: str | None = None,
        times: Times = NO_TRIALS,
        task_status: trio.TaskStatus[ForwardingNode],
    ) -> None:
        redis = FakeRedis(self.bus)
        server = Server(options or ServerOptions(), adapter=partial(BusAdapter, redis=redis))
        nodes = ClusterNodes(redis, server, name)
        asked = ClusterOptions(
            internal=internal, internal_advertise=advertise, secret_files=_ANY_FILE
        )
        found = find_internal(asked, credentials or Credentials((SECRET,)))
        assert found is not None
        forwarding = server._host.forwarding = Forwarding(
            server,
            nodes,
            found,
            ConnectionLimits(max_connections=max_connections),
            place,
            server.options.sid_prefix,
            times,
        )
        async with AsyncExitStack() as stack:
            scope = stack.enter_context(trio.CancelScope())
            runtime = await stack.enter_async_context(open_runtime())
            node = ForwardingNode(name, redis, server, nodes, forwarding, runtime, scope=scope)

            @server.on("say")
            def say(socket: Socket, word: Any) -> Any:
                node.said.append(word)
                return word

            if prepare is not None:
                prepare(server)
            end = forwarding.end
            await runtime.start_service("forwarding", partial(forwarding.run, runtime), end=end)
            await runtime.start_service("bus", _as_service(redis))
            await runtime.start_service("nodes", nodes.run)
            connections = await stack.enter_async_context(server.mounted(runtime))
            listening = runtime.listening(connections, TcpEndpoint(port=0))
            ((_, node.port),) = await stack.enter_async_context(listening)
            task_status.started(node)
            await server.wait_closing()
        node.ended.set()

    async def wait_known(self) -> None:
        """Wait until every node knows all the others."""
        await until(
            lambda: all(
                len(one.nodes.others()) == len(self) - 1
                for one in self.values()
                if one.redis.connected
            )
        )


def _as_service(redis: FakeRedis) -> Any:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await redis.run()

    return run


@asynccontextmanager
async def forwarding_nodes(*names: str, **how: Any) -> AsyncIterator[Nodes]:
    """Nodes that know one another; see Nodes._run for how they can be made."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        nodes = Nodes(stack, nursery)
        for name in names or NAMES:
            await nodes.start(name, **how)
        await nodes.wait_known()
        yield nodes
        await stack.aclose()
        for node in nodes.values():
            assert node.server.statistics().defects == 0
        nursery.cancel_scope.cancel()


class RoundRobin(HttpClient):
    """A keep-alive connection to every node; each request goes over the next one."""

    def __init__(self, nodes: Iterable[ForwardingNode]) -> None:
        super().__init__(0)
        self._every = cycle([HttpClient(node.port) for node in nodes])

    async def request(self, *arguments: Any, **more: Any) -> Response:
        return await next(self._every).request(*arguments, **more)

    async def aclose(self) -> None:
        for one in islice(self._every, 3):
            await one.aclose()


@asynccontextmanager
async def polling_by_turns(nodes: Nodes) -> AsyncIterator[SocketIOClient]:
    """A client on polling whose session is of the first node, and whose requests go to each."""
    first, *others = nodes.values()
    engine = await PollingEngine.open(first.port)
    engine.getter, engine.poster = RoundRobin([*others, first]), RoundRobin([*others, first])
    try:
        yield SocketIOClient(engine)
    finally:
        await engine.aclose()


async def upgraded(nodes: Nodes, owner: ForwardingNode, through: ForwardingNode) -> SocketIOClient:
    """A client on WebSocket whose session was opened on one node, and leads through another."""
    engine = await PollingEngine.open(owner.port)
    await engine.aclose()
    sid = engine.handshake["sid"]
    target = f"{PATH}?EIO=4&transport=websocket&sid={sid}"
    websocket = await WebSocketClient.open(through.port, target)
    nodes.stack.push_async_callback(websocket.aclose)
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    return SocketIOClient(WebSocketEngine(websocket, engine.handshake))


async def open_sid(node: ForwardingNode) -> str:
    """The sid of a session on polling that has joined nothing."""
    engine = await PollingEngine.open(node.port)
    await engine.aclose()
    sid: str = engine.handshake["sid"]
    return sid


def target_of(sid: str, transport: str = "polling", **more: str) -> str:
    return f"{PATH}?EIO=4&transport={transport}&sid={sid}" + "".join(
        f"&{name}={value}" for name, value in more.items()
    )
