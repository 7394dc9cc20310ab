"""Nodes with confirmed delivery on a fake bus, and clients without connections."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio
from tests.cluster.cluster import Cluster, Node
from tests.socketio.in_process import FakeSession, join, session_of

from trio_socketio import Joining, JoiningState, Namespace, Server, Socket, Step
from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.node_methods import NodeDeliveries
from trio_socketio.im.deliveries.options import DeliveriesOptions
from trio_socketio.im.deliveries.order import Accepted, Order
from trio_socketio.im.deliveries.record import Key, Record
from trio_socketio.im.deliveries.service import Deliveries
from trio_socketio.im.deliveries.store import DeliveryStore

CHAT: Final = "/chat"
TEXT: Final = {"id": "m1", "text": "hello"}


def identify(joining: Joining) -> None:
    if "user" in joining.auth:
        joining.identify(joining.auth["user"])


@dataclass
class Place:
    """A server with deliveries, in a namespace of which clients are who they say."""

    server: Server
    deliveries: Deliveries
    node: Node | None = None

    @property
    def chat(self) -> Namespace:
        return self.server.of(CHAT)

    def come(self, user: str | None, *rooms: str) -> "Client":
        socket = join(self.chat, FakeSession(), {} if user is None else {"user": user}).socket
        assert socket is not None
        socket.join(rooms)
        return Client(socket)

    async def deliver(self, *users: str, text: Any = TEXT, **more: Any) -> Accepted:
        return await self.deliveries.start(
            Order(namespace=CHAT, event="news", args=[text], users=users, **more)
        )

    async def report(self, name: str = "m1") -> Record:
        return await self.deliveries.find(Key(CHAT, name))

    async def outcome(self, name: str = "m1") -> tuple[str, list[str]]:
        """The state of a message, and who has confirmed it."""
        record = await self.report(name)
        return record.outcome, sorted(record.confirmed)


class Client:
    """What a client was sent, and how it answers."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.ids: list[int] = []
        self._read = 0

    def take(self) -> list[Any]:
        """Return the arguments of all events since the last call."""
        packets = session_of(self.socket).sent
        found = []
        for packet in packets[self._read :]:
            head, _, body = packet.text[2:].decode().partition("[")
            if body and head.startswith(f"{CHAT},"):
                self.ids.append(int(re.sub(r".*,", "", head)))
                found.append(json.loads("[" + body)[1:])
        self._read = len(packets)
        return found

    def acknowledge(self, number: int = -1, *arguments: Any) -> None:
        """Answer an event, by default the last one."""
        self.socket._open_acks().receive(self.ids[number], list(arguments), self.socket.public_id)

    def leave(self) -> None:
        self.socket.disconnect()


def make_place(
    server: Server,
    store: DeliveryStore | None = None,
    durable: DeliveryStore | None = None,
    node: Node | None = None,
    **options: Any,
) -> Place:
    server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    server.of(CHAT)
    chosen = DeliveriesOptions(**options)
    store = MemoryDeliveries(chosen.bounds) if store is None else store
    nodes = None if node is None else node.nodes
    deliveries = Deliveries(server, chosen, store, durable, nodes, clock=trio.current_time)
    if nodes is not None:
        nodes.serve(NodeDeliveries(deliveries))
    return Place(server, deliveries, node)


@asynccontextmanager
async def one_node(**options: Any) -> AsyncIterator[Place]:
    """A node of its own. Its time is that of trio."""
    async with trio.open_nursery() as tasks:
        place = make_place(Server(), **options)
        await tasks.start(place.deliveries.run)
        yield place
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def several_nodes(*names: str, **options: Any) -> AsyncIterator[Mapping[str, Place]]:
    """Nodes on a fake bus."""
    async with trio.open_nursery() as tasks:
        cluster = Cluster(tasks, 0.001)
        places = {}
        for name in names:
            node = cluster.nodes[name] = cluster.make(name)
            places[name] = make_place(node.server, node=node, **options)
            await tasks.start(cluster._run, node)
            await tasks.start(places[name].deliveries.run)
        await trio.sleep(2)
        yield places
        tasks.cancel_scope.cancel()
