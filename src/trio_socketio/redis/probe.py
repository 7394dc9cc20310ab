"""Finds out whether messages arrive, by messages of a connection to itself."""

from collections.abc import Callable
from math import inf
from secrets import token_hex
from typing import Any

import trio

from trio_socketio.errors import ConfigurationError, RedisCommandError, RedisUnavailable
from trio_socketio.protocol.redis_liveness import Liveness, Verdict
from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis.commands import pack
from trio_socketio.redis.greeting import refusal
from trio_socketio.redis.statistics import Counts
from trio_socketio.redis.subscriptions import Subscriptions


class Probe:
    """The probe of one connection. `protocol.redis_liveness` decides what its results mean.

    Args:
        pipeline: of the connection.
        prefix: of its channel.
        interval_s: how long a message may take.
        counts: where misses are counted.
    """

    def __init__(self, pipeline: Pipeline, prefix: str, interval_s: float, counts: Counts) -> None:
        self.deadline = inf  # each probe is judged by `run`
        self._pipeline = pipeline
        self._interval_s = interval_s
        self._counts = counts
        self._names = f"{prefix}:probe:"
        self._channel = f"{self._names}{token_hex(8)}"
        self._liveness = Liveness()
        self._fault: ConfigurationError | RedisUnavailable | None = None  # of the last reply
        self._replied = trio.Event()  # to the first probe
        self._refused = trio.Event()  # a probe, for good

    async def run(
        self, subscriptions: Subscriptions, ready: Callable[[], None], read_bytes: Callable[[], int]
    ) -> None:
        """Subscribe, and send messages until they do not come back.

        Args:
            subscriptions: are attached to the pipeline.
            ready: called when the subscription is confirmed and the first message was taken. As
                answers have an order, all earlier subscriptions are confirmed then as well.
            read_bytes: says how many bytes were read on the connection until now.
        Raises:
            ConfigurationError: Redis does not let us use a channel of our own.
            RedisUnavailable: it does not do so now.
        """
        subscription = subscriptions.subscribe(self._channel, self._receive)
        try:
            await subscription.wait_confirmed()
            self._send(read_bytes)
            await self._replied.wait()
            if self._fault is not None:  # REDIS-37
                raise self._fault
            ready()
            while True:
                await self._judge(read_bytes)
                if self._liveness.is_dead:
                    break
                self._send(read_bytes)
            if self._fault is not None:
                raise self._fault
        except RedisCommandError as error:
            raise self._refusal(error) from None
        finally:
            subscription.close()

    def _refusal(self, error: RedisCommandError) -> ConfigurationError | RedisUnavailable:
        # Without the rest of the name, which differs each time: REDIS-18.
        return refusal(error, f"it does not let us use {self._names}*: {error}")

    def _send(self, read_bytes: Callable[[], int]) -> None:
        number = self._liveness.next_probe(read_bytes())
        self._pipeline.add(pack("PUBLISH", self._channel, number), self, is_bounded=False)

    async def _judge(self, read_bytes: Callable[[], int]) -> None:
        verdict = Verdict.BEHIND
        while verdict is Verdict.BEHIND:
            with trio.move_on_after(self._interval_s):
                await self._refused.wait()
            if self._refused.is_set() and self._fault is not None:
                raise self._fault
            # If the process has stood still, what has arrived meanwhile is read first.
            await trio.lowlevel.checkpoint()
            verdict = self._liveness.judge(read_bytes())
        if verdict is Verdict.MISSED:
            self._counts.probe_failures += 1

    def _receive(self, _: bytes, payload: bytes) -> None:
        if payload == b"%d" % self._liveness.sent:
            self._liveness.came_back()

    # -- the slot of each probe

    def answer(self, reply: Any) -> None:
        self._liveness.answered()
        self._fault = self._refusal(reply) if isinstance(reply, RedisCommandError) else None
        # What passes by itself, such as BUSY, is only named if the connection is lost over it.
        if isinstance(self._fault, ConfigurationError):
            self._refused.set()
        self._replied.set()

    def expire(self) -> None:
        """Do nothing: it has no deadline."""

    def lose(self, reason: str) -> None:
        """Do nothing: the connection is lost, and this with it."""
