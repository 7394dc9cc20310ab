"""Several nodes in one process, on a fake bus, with their control methods."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
from msgspec import Raw
from tests.cluster.fake_bus import BusAdapter, FakeBus, FakeRedis
from tests.control.serving import FakeSystem

from trio_socketio import Server
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.codec.json_rpc import Request
from trio_socketio.control.options import BackendOptions, ControlOptions, ForwardedEvents
from trio_socketio.control.service import ControlService
from trio_socketio.control.tokens import LOCAL, Grant
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.im.presence.user_methods import UserMethods

MAX_LINE_BYTES = 1 << 20


class Operator:
    """Makes calls on a node; may be a backend, too."""

    def __init__(self, peer: Any = None) -> None:
        self._peer = peer

    @property
    def grant(self) -> Grant:
        return LOCAL

    def authenticate(self, secret: str) -> Grant:
        return LOCAL

    def connected(self) -> Any:
        return self._peer


@dataclass(eq=False)
class Node:
    """A node of the cluster."""

    name: str
    redis: Any
    server: Server
    nodes: ClusterNodes
    service: ControlService
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def call(self, method: str, *, by: Operator | None = None, **params: Any) -> Any:
        """Call a method of its control API; its errors are raised."""
        given = {name.removesuffix("_"): value for name, value in params.items()}
        request = Request(method, _raw(given), _raw(1))
        answer = await self.service._dispatcher.answer(request, by or Operator())
        assert answer is not None
        found = json.loads(answer)
        if "error" in found:
            error = found["error"]
            raise ControlError(error["code"], error["message"], error.get("data"))
        return found["result"]

    def kill(self) -> None:
        """End it without a goodbye; its connection goes with it."""
        self.redis.cut()
        self.redis.bus.connections.remove(self.redis)
        self.scope.cancel()

    def freeze(self) -> None:
        """Have it neither hear nor say anything, while its connection stays."""
        self.redis.connected = False


class Cluster:
    """The nodes, and their bus."""

    def __init__(self, nursery: trio.Nursery, delay_s: float) -> None:
        self.bus = FakeBus(delay_s)
        self.nodes: dict[str, Node] = {}
        self._nursery = nursery

    def make(self, name: str, *, in_memory: bool = False, **options: Any) -> Node:
        redis = FakeRedis(self.bus)
        server = Server() if in_memory else Server(adapter=partial(BusAdapter, redis=redis))
        nodes = ClusterNodes(redis, server, name, version="0.1.0")
        backends = BackendOptions(forward=(ForwardedEvents(),), deadline_s=5.0)
        control = ControlOptions(backends=backends, max_line_bytes=MAX_LINE_BYTES, **options)
        further = [UserMethods(server), PresenceMethods(server)]
        service = ControlService(server, FakeSystem(), control, further=further, nodes=nodes)
        return Node(name, redis, server, nodes, service)

    async def start(self, name: str, **options: Any) -> Node:
        node = self.nodes[name] = self.make(name, **options)
        await self._nursery.start(self._run, node)
        return node

    async def _run(
        self, node: Node, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with node.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.redis.run)
                await nursery.start(node.nodes.run)
                task_status.started()


@asynccontextmanager
async def open_cluster(*names: str, delay_s: float = 0.001) -> AsyncIterator[Cluster]:
    """Nodes of these names, that know one another."""
    async with trio.open_nursery() as nursery:
        cluster = Cluster(nursery, delay_s)
        for name in names:
            await cluster.start(name)
        await trio.sleep(0.1)
        yield cluster
        nursery.cancel_scope.cancel()


def _raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())
