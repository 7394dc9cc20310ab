"""Any interleaving of commands, messages, subscriptions, losses and chunks, against a model.

The server is a fake without I/O. What it sends is cut anywhere, and so is what it gets.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.properties import examples
from tests.redis.fake_redis import FakeRedis, FakeSession

from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis.commands import pack
from trio_socketio.redis.redis import Publications
from trio_socketio.redis.statistics import Counts
from trio_socketio.redis.subscriptions import Subscription, Subscriptions
from trio_socketio.runtime.failures import FailureLog

CHANNELS = st.sampled_from(["a", "b", "ab"])
PATTERNS = st.sampled_from(["a*", "*b"])
MAX_COMMANDS = 8


@dataclass
class Echo:
    """A command whose reply tells whose it is. It stays in its place if nobody waits any more."""

    token: str
    deadline: float = inf
    fate: list[str] = field(default_factory=list)

    def answer(self, reply: Any) -> None:
        self.fate.append(reply.decode())

    def expire(self) -> None:
        raise AssertionError("it has no deadline")

    def lose(self, reason: str) -> None:
        self.fate.append("lost")


@dataclass(eq=False)
class Subscriber:
    """Somebody who is subscribed, with what was received and what should have been."""

    name: str
    pattern: bool
    subscription: Subscription | None = None
    received: list[tuple[bytes, bytes]] = field(default_factory=list)
    expected: list[tuple[bytes, bytes]] = field(default_factory=list)
    gaps: int = 0
    losses: int = 0

    def receive(self, channel: bytes, payload: bytes) -> None:
        self.received.append((channel, payload))

    def gap(self, duration_s: float) -> None:
        assert duration_s >= 0
        self.gaps += 1


class RedisConnections(RuleBasedStateMachine):
    """One client over all its connections; while there is none, `pipeline` is None."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.counts = Counts()
        self.subscriptions = Subscriptions(self.counts, FailureLog(), lambda: self.now)
        self.publications = Publications(self.counts)
        self.echoes: list[Echo] = []
        self.subscribers: list[Subscriber] = []
        self.published = 0
        self.refused = 0
        self.redis = FakeRedis()
        self.pipeline: Pipeline | None = None

    @initialize()
    def begin(self) -> None:
        self.connect()

    # -- the network

    @precondition(lambda self: self.pipeline is None)
    @rule()
    def connect(self) -> None:
        self.session = FakeSession(self.redis)
        self.to_server = bytearray()
        self.pipeline = Pipeline(
            self._receive,
            lambda: None,
            max_commands=MAX_COMMANDS,
            max_bytes=10_000,
            max_reply_bytes=10_000,
        )
        self.subscriptions.attach(self.pipeline)

    @precondition(lambda self: self.pipeline is not None)
    @rule(elapsed_s=st.floats(0, 10))
    def drop(self, elapsed_s: float) -> None:
        assert self.pipeline is not None
        for one in self.subscribers:
            one.losses += one.subscription is not None and one.subscription.confirmed
        self.session.close()
        self.subscriptions.detach(self.now)
        self.pipeline.lose("cut")
        self.pipeline = None
        self.now += elapsed_s

    @precondition(lambda self: self.pipeline is not None)
    @rule(share=st.floats(0, 1))
    def send(self, share: float) -> None:
        """Have a part of the output arrive at the server."""
        assert self.pipeline is not None
        taken, _ = self.pipeline.take()
        self.pipeline.sent(len(taken))
        self.to_server += taken
        cut = round(len(self.to_server) * share)
        self.session.feed(bytes(self.to_server[:cut]))
        del self.to_server[:cut]

    @precondition(lambda self: self.pipeline is not None)
    @rule(share=st.floats(0, 1), limit=st.integers(1, 4))
    def receive(self, share: float, limit: int) -> None:
        """Have a part of what the server has sent arrive here."""
        assert self.pipeline is not None
        cut = round(len(self.session.output) * share)
        self.pipeline.feed(bytes(self.session.output[:cut]))
        del self.session.output[:cut]
        while self.pipeline.dispatch(limit):
            pass
        self.subscriptions.retry()

    def _receive(self, message: list[Any]) -> None:
        """Note who should get a message: whoever is subscribed in the moment it is read."""
        name, pattern = message[-2], message[0] == b"pmessage"
        for one in self.subscribers:
            key = message[1] if pattern else name
            if one.subscription is not None and (one.pattern, one.name.encode()) == (pattern, key):
                one.expected.append((name, message[-1]))
        self.subscriptions.receive(message)

    # -- the program

    @rule()
    def echo(self) -> None:
        self.number += 1
        echo = Echo(str(self.number))
        if self.pipeline is not None and self.pipeline.add(pack("ECHO", echo.token), echo):
            self.echoes.append(echo)
        else:
            assert self.pipeline is None or self.pipeline.waiting >= MAX_COMMANDS

    @rule(channel=CHANNELS)
    def publish(self, channel: str) -> None:
        self.number += 1
        command = pack("PUBLISH", channel, str(self.number))
        if self.pipeline is not None and self.pipeline.add(command, self.publications):
            self.published += 1

    @rule(name=CHANNELS)
    def publish_elsewhere(self, name: str) -> None:
        self.number += 1
        self.redis.publish(name.encode(), b"%d" % self.number)

    @rule(name=CHANNELS)
    def subscribe(self, name: str) -> None:
        self._subscribe(Subscriber(name, pattern=False))

    @rule(name=PATTERNS)
    def subscribe_pattern(self, name: str) -> None:
        self._subscribe(Subscriber(name, pattern=True))

    def _subscribe(self, one: Subscriber) -> None:
        one.subscription = self.subscriptions.subscribe(
            one.name, one.receive, pattern=one.pattern, gap=one.gap
        )
        self.subscribers.append(one)

    @precondition(lambda self: any(one.subscription for one in self.subscribers))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        open_ones = [one for one in self.subscribers if one.subscription is not None]
        one = data.draw(st.sampled_from(open_ones))
        assert one.subscription is not None
        one.subscription.close()
        assert not one.subscription.confirmed
        one.subscription = None

    # -- what holds

    @invariant()
    def every_reply_went_to_its_command(self) -> None:
        for echo in self.echoes:
            assert echo.fate in ([], ["lost"], [echo.token])

    @invariant()
    def every_message_went_to_whoever_was_subscribed(self) -> None:
        for one in self.subscribers:
            assert one.received == one.expected

    @invariant()
    def every_message_is_counted_once(self) -> None:
        told = self.counts.published + self.counts.unconfirmed
        assert self.counts.unpublished == 0
        assert told <= self.published <= told + (self.pipeline.waiting if self.pipeline else 0)

    @precondition(lambda self: self.pipeline is not None)
    @rule()
    def settle(self) -> None:
        """When everything has arrived, both sides agree on who is subscribed."""
        assert self.pipeline is not None
        while self.pipeline.waiting or self.session.output:
            self.send(1.0)
            self.receive(1.0, 4)
        wanted = Counter(
            (one.pattern, one.name.encode()) for one in self.subscribers if one.subscription
        )
        assert self.session.channels == {name for pattern, name in wanted if not pattern}
        assert self.session.patterns == {name for pattern, name in wanted if pattern}
        assert len(self.subscriptions) == len(wanted)
        assert all(one.subscription.confirmed for one in self.subscribers if one.subscription)
        for one in self.subscribers:
            if one.subscription is not None:
                assert one.gaps == one.losses
        assert self.counts.published + self.counts.unconfirmed == self.published


RedisConnections.TestCase.settings = settings(
    max_examples=examples(25), stateful_step_count=30, deadline=None
)
TestRedisConnections = RedisConnections.TestCase
