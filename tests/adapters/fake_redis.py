"""A Redis in memory that keeps the order of what is published, and nodes that share it."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_socketio import RedisCommandError, RedisUnavailable, Server
from trio_socketio.adapters.redis_pubsub import RedisAdapter, RedisPubSub

Receive = Callable[[bytes, bytes], None]


class FakeRedis:
    """The server. Messages arrive at once, or when `deliver` is called if it is held.

    Attributes:
        published: every message, with its channel.
    """

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.published: list[tuple[bytes, bytes]] = []
        self.is_held = False
        self._waiting: list[tuple[bytes, bytes]] = []
        self._delivers = False

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.published.append((channel, payload))
        self._waiting.append((channel, payload))
        if not self.is_held:
            self.deliver()

    def deliver(self) -> None:
        """Hand over what was published, in order; what is published meanwhile comes last."""
        if self._delivers:
            return
        self._delivers = True
        while self._waiting:
            channel, payload = self._waiting.pop(0)
            for connection in tuple(self.connections):
                connection.receive(channel, payload)
        self._delivers = False

    def count(self, channel: bytes) -> int:
        """How many connections are subscribed to a channel."""
        return sum(
            connection.connected and any(one.channel == channel for one in connection.subscriptions)
            for connection in self.connections
        )

    def taken(self) -> list[tuple[bytes, bytes]]:
        """What was published since the last call."""
        taken, self.published = self.published, []
        return taken


class FakeConnection:
    """The connection of one node. It satisfies RedisConnection."""

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.connected = True
        self.stands_still = False
        self.refusal: str | None = None  # the answer to every command
        self.subscriptions: list[FakeSubscription] = []
        redis.connections.append(self)

    def publish(self, channel: bytes, payload: bytes) -> bool:
        if self.connected:
            self.redis.publish(channel, payload)
        return self.connected

    def subscribe(
        self,
        channel: bytes,
        receive: Receive,
        *,
        pattern: bool = False,
        gap: Callable[[float], None] | None = None,
    ) -> "FakeSubscription":
        subscription = FakeSubscription(self, channel, receive, pattern, gap)
        self.subscriptions.append(subscription)
        return subscription

    async def execute(self, *arguments: str | bytes) -> Any:
        await trio.lowlevel.checkpoint()
        if self.stands_still:
            await trio.sleep_forever()
        if not self.connected:
            raise RedisUnavailable("no connection")
        if self.refusal is not None:
            raise RedisCommandError(self.refusal)
        assert arguments[:2] == ("PUBSUB", "NUMSUB")
        channel = arguments[2]
        assert isinstance(channel, bytes)
        return [channel, self.redis.count(channel)]

    def receive(self, channel: bytes, payload: bytes) -> None:
        if self.connected:
            for subscription in tuple(self.subscriptions):
                if subscription.matches(channel):
                    subscription.receive(channel, payload)

    def cut(self) -> None:
        """Lose the connection."""
        self.connected = False

    def restore(self, duration_s: float) -> None:
        """Connect again, and subscribe to everything."""
        self.connected = True
        for subscription in self.subscriptions:
            if subscription.gap is not None:
                subscription.gap(duration_s)


class FakeSubscription:
    """A channel or pattern of one connection."""

    def __init__(
        self,
        connection: FakeConnection,
        channel: bytes,
        receive: Receive,
        pattern: bool,
        gap: Callable[[float], None] | None,
    ) -> None:
        self.channel = channel
        self.receive = receive
        self.gap = gap
        self._connection = connection
        self._match = _glob(channel) if pattern else re.compile(re.escape(channel)).fullmatch

    def matches(self, channel: bytes) -> bool:
        return self._match(channel) is not None

    async def wait_confirmed(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._connection.stands_still:
            await trio.sleep_forever()
        if not self._connection.connected:
            raise RedisUnavailable("no connection")
        if self._connection.refusal is not None:
            raise RedisCommandError(self._connection.refusal)

    def close(self) -> None:
        self._connection.subscriptions.remove(self)


def _glob(pattern: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    """Match as Redis does, as far as our patterns go: a star, and characters behind backslashes."""
    parts = re.findall(rb"\\(.)|(\*)|(.)", pattern, re.DOTALL)
    regex = b"".join(
        b".*" if star else re.escape(escaped or plain) for escaped, star, plain in parts
    )
    return re.compile(regex, re.DOTALL).fullmatch


class Node:
    """A server that shares a Redis."""

    def __init__(self, redis: FakeRedis, **options: Any) -> None:
        self.connection = FakeConnection(redis)
        self.pubsub = RedisPubSub(self.connection, **options)
        self.server = Server(adapter=self.pubsub)

    async def start(self, *names: str) -> None:
        """Start the adapters of these namespaces, as serving does."""
        for name in names or ("/",):
            await self.server.of(name)._adapter_life.start(10)

    def adapter(self, name: str = "/") -> RedisAdapter:
        adapter = self.server.of(name).adapter
        assert isinstance(adapter, RedisAdapter)
        return adapter


@asynccontextmanager
async def started_nodes(
    redis: FakeRedis, count: int, *names: str, **options: Any
) -> AsyncIterator[list[Node]]:
    """Nodes whose handlers run while the block does."""
    nodes = [Node(redis, **options) for _ in range(count)]
    async with trio.open_nursery() as handlers:
        for node in nodes:
            node.server._workers.start(handlers)
            await node.start(*names)
        yield nodes
        handlers.cancel_scope.cancel()
