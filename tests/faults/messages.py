"""Two nodes that emit numbered messages to all clients, and what arrives where.

Every message names its sender and has a number. From these it can be told what is promised and what
is not: a client of the same node gets every message, in order and once; one of another node gets
them in order and once, and those that are missing were counted by the sender, or fall into a gap of
which the receiver was told.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from tests.socketio.serving import open_client, serving
from trio_socketio import Server
from trio_socketio.adapters.redis_pubsub import RedisPubSub
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.redis import Redis

BATCH: Final = 50
"""How many messages a node emits in a row."""


@dataclass
class Heard:
    """What one client has received of one sender.

    Args:
        count: how many numbered messages.
        last: the number of the last one.
        at: when it came, on trio's clock.
        disorder: what came twice or out of order.
    """

    count: int = 0
    last: int = -1
    at: float = 0.0
    disorder: list[tuple[int, int]] = field(default_factory=list)

    def take(self, number: int) -> None:
        if number <= self.last:
            self.disorder.append((self.last, number))
        self.count += 1
        self.last = number
        self.at = trio.current_time()


class Node:
    """A server with one client.

    Attributes:
        emitted: how many messages it has emitted.
        heard: what its client has received, by sender.
        largest_queue: the most bytes that waited for Redis, as far as was seen.
    """

    def __init__(self, name: str, options: RedisOptions) -> None:
        self.name = name
        self.redis = Redis(options)
        self.server = Server(adapter=RedisPubSub(self.redis))
        self.emitted = 0
        self.heard: dict[str, Heard] = {}
        self.largest_queue = 0
        self._news = trio.Event()  # set, and replaced, when the client has received something

    def emit(self) -> None:
        """Emit one message to everybody."""
        self.server.emit("message", self.name, self.emitted)
        self.emitted += 1

    async def emit_many(self, count: int, pause_s: float) -> None:
        """Emit so many messages, in batches with a pause behind each."""
        for number in range(count):
            self.emit()
            if number % BATCH == BATCH - 1:
                await trio.sleep(pause_s)
                waiting = self.redis.statistics().waiting_bytes
                self.largest_queue = max(self.largest_queue, waiting)

    def last_of(self, sender: "Node") -> int:
        """Return the number of the last message of a node that the client has received."""
        return self.heard[sender.name].last if sender.name in self.heard else -1

    async def wait_heard(self, sender: "Node") -> None:
        """Wait until the client has received the last message of a node."""
        while self.last_of(sender) < sender.emitted - 1:
            await self._news.wait()

    async def listen(self, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_client(port) as client:
            await client.connect()
            task_status.started()
            while True:
                _, sender, number = await client.receive_event()
                self.heard.setdefault(sender, Heard()).take(number)
                self._news.set()
                self._news = trio.Event()


@asynccontextmanager
async def open_node(name: str, options: RedisOptions) -> AsyncIterator[Node]:
    """A node with its client, connected to Redis."""
    node = Node(name, options)
    async with trio.open_nursery() as redis:
        await redis.start(node.redis.run)
        async with serving(node.server) as port, trio.open_nursery() as clients:
            await clients.start(node.listen, port)
            yield node
            clients.cancel_scope.cancel()
        redis.cancel_scope.cancel()


async def time_until_right(nodes: list[Node], limit_s: float) -> float:
    """Emit from every node until each has received a message of each; return how long it took.

    When it returns, nothing is on its way any more.

    Raises:
        trio.TooSlowError: it took longer than limit_s.
    """
    began = trio.current_time()
    first = {node.name: node.emitted for node in nodes}
    pairs = [(sender, receiver) for sender in nodes for receiver in nodes]
    with trio.fail_after(limit_s):
        while any(receiver.last_of(sender) < first[sender.name] for sender, receiver in pairs):
            for node in nodes:
                node.emit()
            await trio.sleep(0.01)
        right_s = trio.current_time() - began
        for sender, receiver in pairs:
            await receiver.wait_heard(sender)
    return right_s


def faults_of(sender: Node, receiver: Node) -> list[str]:
    """Return what is wrong with what a client has received of a sender, in words."""
    heard = receiver.heard.get(sender.name, Heard())
    faults = [
        f"{receiver.name} got {number} of {sender.name} after {last}"
        for last, number in heard.disorder
    ]
    missing = sender.emitted - heard.count
    if sender is receiver and missing:
        faults.append(f"{sender.name} has lost {missing} of its own messages")
    return faults
