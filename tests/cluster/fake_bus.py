"""A Redis for nodes of one process: it delays messages, keeps their order, and can be cut."""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from math import inf
from typing import Any

import msgspec
import trio

from trio_socketio import Adapter, Namespace, Target
from trio_socketio.acks import Ack, Keep
from trio_socketio.errors import TrioSocketIOError
from trio_socketio.socketio.acks import GatheredAcks

Receive = Callable[[bytes, bytes], None]


class Unreachable(TrioSocketIOError):
    """There is no connection."""


class FakeSubscription:
    def __init__(
        self,
        redis: "FakeRedis",
        channel: str,
        receive: Receive,
        gap: Callable[[float], None] | None,
    ) -> None:
        self.redis = redis
        self.channel = channel
        self.receive = receive
        self.gap = gap

    def close(self) -> None:
        self.redis.subscriptions.remove(self)

    async def wait_confirmed(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeBus:
    """What all connections have in common.

    Attributes:
        adapters: those that reach one another over the bus, by namespace.
        foreign: how many nodes of other programs serve each namespace.
        log: all that was published.
    """

    def __init__(self, delay_s: float = 0.001) -> None:
        self.delay_s = delay_s
        self.connections: list[FakeRedis] = []
        self.adapters: dict[str, list[BusAdapter]] = {}
        self.foreign = 0
        self.log: list[tuple[str, bytes]] = []


class FakeRedis:
    """One connection to the bus; `run` delivers what comes."""

    def __init__(self, bus: FakeBus) -> None:
        self.bus = bus
        self.connected = True
        self.subscriptions: list[FakeSubscription] = []
        self._send, self._receive = trio.open_memory_channel[tuple[float, Callable[[], None]]](inf)
        bus.connections.append(self)

    async def run(self) -> None:
        try:
            while True:
                try:  # all that has come is read in one go
                    due_at, deliver = self._receive.receive_nowait()
                except trio.WouldBlock:
                    due_at, deliver = await self._receive.receive()
                if due_at > trio.current_time():
                    await trio.sleep_until(due_at)
                deliver()
        finally:
            if self in self.bus.connections:
                self.bus.connections.remove(self)

    def later(self, deliver: Callable[[], None]) -> None:
        self._send.send_nowait((trio.current_time() + self.bus.delay_s, deliver))

    def publish(self, channel: str, payload: bytes) -> bool:
        if not self.connected:
            return False
        self.bus.log.append((channel, payload))
        for one in self.bus.connections:
            if one.connected:
                one.deliver(channel, payload)
        return True

    def deliver(self, channel: str, payload: bytes) -> None:
        def receive() -> None:
            for one in list(self.subscriptions):
                if one.channel == channel and self.connected:
                    one.receive(channel.encode(), payload)

        self.later(receive)

    def subscribe(
        self, channel: str, receive: Receive, *, gap: Callable[[float], None] | None = None
    ) -> FakeSubscription:
        subscription = FakeSubscription(self, channel, receive, gap)
        self.subscriptions.append(subscription)
        return subscription

    async def execute(self, *arguments: str, timeout_s: float | None = None) -> Any:
        assert arguments[:2] == ("PUBSUB", "NUMSUB")
        if not self.connected:
            raise Unreachable
        channel = arguments[2]
        every = (sub for one in self.bus.connections if one.connected for sub in one.subscriptions)
        number = sum(sub.channel == channel for sub in every)
        done = trio.Event()
        self.later(done.set)
        await done.wait()
        return [channel.encode(), number]

    def cut(self) -> None:
        self.connected = False

    def mend(self, gap_s: float = 1.0) -> None:
        self.connected = True
        for one in list(self.subscriptions):
            if one.gap is not None:
                one.gap(gap_s)


class BusAdapter(Adapter):
    """Reaches the namespaces of the same name on the bus."""

    def __init__(self, namespace: Namespace, redis: FakeRedis) -> None:
        super().__init__(namespace)
        self.redis = redis
        self.channel = f"bus#{namespace.name}#"
        self.fellows = redis.bus.adapters.setdefault(namespace.name, [])
        self.fellows.append(self)
        redis.subscribe(self.channel, self._receive)

    def _receive(self, channel: bytes, payload: bytes) -> None:
        sender, arguments, target = json.loads(payload)
        if sender != id(self):
            super().broadcast(arguments, msgspec.convert(target, Target))

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        payload = msgspec.json.encode((id(self), arguments, target))
        self.redis.publish(self.channel, payload)
        return super().broadcast(arguments, target)

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        acks = GatheredAcks(keep)
        with ExitStack() as stack:
            asked = [one.asking(arguments, target, acks) for one in self.live()]
            acks.expect(sum(stack.enter_context(one) for one in asked))
            return await acks.wait(timeout_s)

    async def node_count(self) -> int:
        if not self.redis.connected:
            raise Unreachable
        await trio.lowlevel.checkpoint()
        return len(list(self.live())) + self.redis.bus.foreign

    def live(self) -> "Iterable[BusAdapter]":
        return (one for one in self.fellows if one.redis in self.redis.bus.connections)
