"""Nodes whose namespaces are made at run time, alone with a disk or together on a real Redis."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import trio
from msgspec import Raw
from tests import wire
from tests.cluster.cluster import Operator
from tests.control.serving import FakeSystem
from tests.im.identity.identified import STATIC
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from tests.wire import SocketIOClient

from trio_socketio import Server, ServerOptions, TcpEndpoint, open_runtime
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.cluster.service import Cluster
from trio_socketio.codec.json_rpc import Code, Request
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.options import IdentityOptions, NamespaceIdentity
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.namespaces.service import DefinedNamespaces
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.im.presence.options import NamespaceSeats, PresenceOptions
from trio_socketio.redis.options import RedisOptions
from trio_socketio.state_services import StateServices
from trio_socketio.storage.options import StateOptions


@dataclass(eq=False)
class DefinedNode:
    """A node, and how to drive it."""

    name: str
    server: Server
    state: StateServices
    service: ControlService
    cluster: Cluster | None
    identity: IdentityService | None
    presence: Presence | None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    port: int = 0

    @property
    def namespaces(self) -> DefinedNamespaces:
        return self.state.namespaces

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of its control API; its errors are raised."""
        request = Request(method, Raw(json.dumps(params).encode()), Raw(b"1"))
        answer = await self.service._dispatcher.answer(request, Operator())
        assert answer is not None
        found = json.loads(answer)
        if "error" in found:
            error = found["error"]
            raise ControlError(error["code"], error["message"], error.get("data"))
        return found["result"]

    async def listed(self) -> dict[str, Any]:
        """The definitions as namespaces.list tells them, as soon as other nodes can be asked."""
        found: dict[str, Any] = {}
        after = None
        while True:
            try:
                page = await self.call("namespaces.list", after=after, limit=1000)
            except ControlError as error:
                if error.code != Code.UNAVAILABLE:
                    raise
                await trio.sleep(0.01)
                continue
            found |= {one["namespace"]: one.get("definition") for one in page["namespaces"]}
            after = page["next"]
            if after is None:
                return {name: one for name, one in found.items() if one is not None}

    async def why_not(self, namespace: str, auth: Any = None) -> Any:
        """What a client is told that may not join; None if it may."""
        async with wire.open_client(self.port) as client:
            return await ask(client, namespace, auth)

    @asynccontextmanager
    async def client(self, namespace: str, auth: Any = None) -> AsyncIterator[SocketIOClient]:
        async with wire.open_client(self.port) as client:
            assert await ask(client, namespace, auth) is None
            yield client


async def ask(client: SocketIOClient, namespace: str, auth: Any = None) -> Any:
    """Have a client join; give what it is told if it may not, and None if it may."""
    await client.send(f"0{namespace},{json.dumps(auth) if auth else ''}")
    while True:
        answer = str((await client.receive())[0])
        if answer.startswith(f"0{namespace},"):
            return None
        if answer.startswith(f"4{namespace},"):
            return json.loads(answer.partition(",")[2])


async def put_out(client: SocketIOClient, namespace: str, reason: str) -> None:
    """The client is told why, and then that it is out."""
    with trio.fail_after(5):
        told = {"errcode": -1, "errmsg": reason}
        if reason == "namespace changed":  # NSP-41
            told |= {"reason": "namespace_changed", "retry_after_s": 0}
        assert await client.receive_event(namespace) == ["logic/error", told]
        assert (await client.receive())[0] == f"1{namespace},"


class DefinedNodes:
    """The nodes, by name, and how to start and end one.

    Args:
        nursery: for what they run.
        redis: the server; None for one node alone.
        folder: of the state of one node alone; None if nothing is kept.
        options: of the server.

    Attributes:
        timeout_s: how long Redis may take to answer.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        redis: RedisServer | None,
        folder: Path | None,
        options: dict[str, Any],
    ) -> None:
        self.prefix = f"t{token_hex(4)}"
        self.nodes: dict[str, DefinedNode] = {}
        self.timeout_s = 0.5
        self._nursery = nursery
        self._redis = redis
        self._folder = folder
        self._options = options

    @property
    def redis(self) -> RedisServer:
        assert self._redis is not None
        return self._redis

    def __getitem__(self, name: str) -> DefinedNode:
        return self.nodes[name]

    @property
    def key(self) -> str:
        return f"{self.prefix}:{{namespaces}}:defined"

    async def start(
        self,
        name: str,
        *,
        identity: IdentityOptions | None = None,
        app: Iterable[str] = (),
        own_presence: bool = False,
        settles: bool = True,
    ) -> DefinedNode:
        """Start a node, and wait until the others know it."""
        node: DefinedNode = await self._nursery.start(
            partial(self._run, name, identity, app, own_presence)
        )
        if settles and node.cluster is not None:
            await until(
                lambda: all(
                    one.cluster is not None
                    and len(one.cluster.nodes.others()) == len(self.nodes) - 1
                    for one in self.nodes.values()
                )
            )
        return node

    async def end(self, name: str) -> None:
        """End a node, as SIGTERM does."""
        node = self.nodes.pop(name)
        node.scope.cancel()
        await node.over.wait()

    async def _run(
        self,
        name: str,
        identity: IdentityOptions | None,
        app: Iterable[str],
        own_presence: bool,
        task_status: trio.TaskStatus[DefinedNode],
    ) -> None:
        node = self._make(name, identity, app, own_presence)
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(node.scope)
                runtime = await stack.enter_async_context(open_runtime())
                if node.cluster is not None:
                    await node.cluster.start(runtime)
                await node.state.start(runtime)
                if node.identity is not None:
                    run = partial(node.identity.run, runtime)
                    await runtime.start_service("identity", run)
                if node.cluster is not None:
                    await node.cluster.wait_joined()
                await node.state.namespaces.wait_read()
                connections = await stack.enter_async_context(node.server.mounted(runtime))
                listening = runtime.listening(connections, TcpEndpoint(port=0))
                ((_, node.port),) = await stack.enter_async_context(listening)
                self.nodes[name] = node
                task_status.started(node)
                await trio.sleep_forever()
        finally:
            node.over.set()

    def _make(
        self,
        name: str,
        identity: IdentityOptions | None,
        app: Iterable[str],
        own_presence: bool,
    ) -> DefinedNode:
        """Wire a node as `services` does."""
        server = Server(ServerOptions(**self._options))
        for namespace in app:
            server.of(namespace)
        url = None if self._redis is None else self._redis.url
        configuration = Configuration(
            redis=RedisOptions(url=url, prefix=self.prefix, command_timeout_s=self.timeout_s),
            cluster=ClusterOptions(node=name),
            state=StateOptions(folder=None if url else self._folder),
            identity=IdentityOptions(
                tokens=STATIC, namespaces=(NamespaceIdentity(name="/open-*", methods=()),)
            )
            if identity is None
            else identity,
            presence=PresenceOptions(namespaces=(NamespaceSeats(name="/none-*", policy="none"),)),
        )
        cluster: Cluster | None = None
        if url is not None:
            cluster = Cluster(
                server,
                configuration.redis,
                configuration.cluster,
                name=name,
                version="0.1.0",
                max_answer_bytes=1 << 20,
            )
        state = StateServices(server, configuration, cluster)
        asks: IdentityService | None = None
        presence = Presence(server, MemoryStore()) if own_presence else None
        if configuration.identity.asks:
            redis = None if cluster is None else cluster.redis
            asks = IdentityService(server, configuration.identity, redis=redis, prefix=self.prefix)
            if presence is None:
                presence = Presence(server, MemoryStore())
                presence.seat_by_name(configuration.presence, asks.asks_in)
        state.use(asks, presence)
        service = ControlService(
            server,
            FakeSystem(),
            ControlOptions(),
            further=[state.methods],
            nodes=None if cluster is None else cluster.nodes,
            find_definition=state.namespaces.find,
        )
        return DefinedNode(name, server, state, service, cluster, asks, presence)


@asynccontextmanager
async def defined_nodes(
    *names: str,
    redis: RedisServer | None = None,
    folder: Path | None = None,
    timeout_s: float = 0.5,
    **options: Any,
) -> AsyncIterator[DefinedNodes]:
    """Nodes of these names; the options are those of the server."""
    async with trio.open_nursery() as nursery:
        found = DefinedNodes(nursery, redis, folder, options)
        found.timeout_s = timeout_s
        for name in names:
            await found.start(name)
        yield found
        for name in tuple(found.nodes):
            await found.end(name)
        nursery.cancel_scope.cancel()
