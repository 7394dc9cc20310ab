"""Who is subscribed to which channels, over all connections."""

import logging
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Final

import trio

from trio_socketio.errors import LocalProtocolError, RedisCommandError, RedisUnavailable
from trio_socketio.protocol.channel_life import Input, State, advance
from trio_socketio.protocol.redis_pipeline import Confirmation, Message, Pipeline
from trio_socketio.redis.commands import pack
from trio_socketio.redis.statistics import Counts
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.runtime.failures import FailureLog
from trio_socketio.runtime.sampling import Pace, SampledLog
from trio_socketio.runtime.verdicts import function_name

log = logging.getLogger(__name__)

Receive = Callable[[bytes, bytes], object]
"""Called with the channel and the payload of a message."""
Gap = Callable[[float], object]
"""Called with the seconds for which messages may have been missed."""

_REFUSALS: Final = Pace(5, 1)


class _Channel:
    """A channel or pattern, with those who are subscribed to it."""

    __slots__ = ("changed", "is_pattern", "name", "refusal", "state", "subscriptions")

    def __init__(self, name: bytes, *, is_pattern: bool) -> None:
        self.name = name
        self.is_pattern = is_pattern
        self.state = State.IDLE
        self.refusal = ""
        self.changed = trio.Event()
        # Replaced whenever it changes, because receivers may change it while it is iterated over.
        self.subscriptions: tuple[Subscription, ...] = ()

    def advance(self, event: Input) -> None:
        self.state = advance(self.state, event)
        self.wake()

    def wake(self) -> None:
        """Have those who wait look again at the state of the channel and of their subscription."""
        self.changed.set()
        self.changed = trio.Event()

    def confirmation(
        self, verb: str, done: Callable[[RedisCommandError | None], None]
    ) -> tuple[bytes, Confirmation]:
        """Return the command that begins or ends the subscription, and the slot for it."""
        name = f"p{verb}" if self.is_pattern else verb
        return pack(name.upper(), self.name), Confirmation(name.encode(), self.name, done)


class Subscription:
    """A subscription to a channel or pattern of Redis. It lasts until it is closed.

    It survives the loss of the connection: it is made anew with the next one, and its gap is told.
    """

    __slots__ = ("_channel", "_gap", "_lost_at", "_receive", "_subscriptions")

    def __init__(
        self, subscriptions: "Subscriptions", channel: _Channel, receive: Receive, gap: Gap | None
    ) -> None:
        self._subscriptions: Subscriptions | None = subscriptions  # None when it is closed
        self._channel = channel
        self._receive = receive
        self._gap = gap
        self._lost_at: float | None = None

    @property
    def confirmed(self) -> bool:
        """Whether Redis has confirmed it on the present connection, so that messages arrive."""
        return self._subscriptions is not None and self._channel.state is State.CONFIRMED

    async def wait_confirmed(self) -> None:
        """Wait until Redis has confirmed the subscription.

        Raises:
            RedisUnavailable: there is no connection, or it was lost meanwhile. The subscription is
                made with the next one all the same.
            RedisCommandError: Redis refuses it. It is asked for again with the next connection.
            LocalProtocolError: the subscription is closed.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._subscriptions is None:
                raise LocalProtocolError("the subscription is closed")
            if self._channel.state is State.CONFIRMED:
                return
            if self._channel.state is State.REFUSED:
                raise RedisCommandError(self._channel.refusal)
            if not self._subscriptions.is_attached:
                raise RedisUnavailable("not subscribed yet: there is no connection to Redis")
            await self._channel.changed.wait()

    def close(self) -> None:
        """End the subscription: nothing more is received. Closing it again does nothing."""
        if self._subscriptions is not None:
            self._subscriptions.check_thread()
            subscriptions, self._subscriptions = self._subscriptions, None
            subscriptions.leave(self, self._channel)


class Subscriptions:
    """The subscriptions of a `Redis`, and the function that gives them their messages.

    Args:
        counts: where messages and failures are counted.
        failures: logs the failures of receivers.
        clock: in seconds.
    """

    def __init__(
        self, counts: Counts, failures: FailureLog, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._counts = counts
        self._failures = failures
        self._clock = clock
        self._thread = get_ident()
        self._channels: dict[bytes, _Channel] = {}
        self._patterns: dict[bytes, _Channel] = {}
        self._pipeline: Pipeline | None = None
        # Channels that could not be asked for or left, because the queue was full.
        self._deferred: dict[_Channel, None] = {}
        self._refusals = SampledLog(log, logging.WARNING, _REFUSALS)

    def __len__(self) -> int:
        return len(self._channels) + len(self._patterns)

    @property
    def is_attached(self) -> bool:
        """Whether there is a connection to subscribe on."""
        return self._pipeline is not None

    def check_thread(self) -> None:
        """Refuse a call from another thread.

        Raises:
            LocalProtocolError: the connection belongs to another thread; nothing was done.
        """
        if get_ident() != self._thread:  # REDIS-35
            raise LocalProtocolError(
                "the connection to Redis belongs to another thread, and nothing was done: use "
                "trio.from_thread.run_sync"
            )

    # -- who is subscribed

    def subscribe(
        self, name: str | bytes, receive: Receive, *, pattern: bool = False, gap: Gap | None = None
    ) -> Subscription:
        """Add a subscription; see `Redis.subscribe`."""
        try:
            key = name.encode() if isinstance(name, str) else bytes(name)
        except UnicodeError as error:
            raise LocalProtocolError(f"the channel has no UTF-8: {error}") from None
        channels = self._patterns if pattern else self._channels
        channel = channels.get(key)
        if channel is None:
            channel = channels[key] = _Channel(key, is_pattern=pattern)
        subscription = Subscription(self, channel, receive, gap)
        channel.subscriptions += (subscription,)
        self._settle(channel)
        return subscription

    def leave(self, subscription: Subscription, channel: _Channel) -> None:
        """Remove a subscription."""
        channel.subscriptions = tuple(
            one for one in channel.subscriptions if one is not subscription
        )
        channel.wake()  # the state stays as it is if there are other subscriptions: REDIS-38
        self._settle(channel)

    def _settle(self, channel: _Channel) -> None:
        """Ask Redis for what a channel needs now, or put that off if the queue is full."""
        self._deferred.pop(channel, None)
        pipeline = self._pipeline
        if channel.subscriptions:
            if channel.state is State.IDLE and pipeline is not None:
                asked = channel.confirmation("subscribe", partial(self._asked, channel))
                if pipeline.add(*asked):
                    channel.advance(Input.ASK)
                else:
                    self._deferred[channel] = None
            return
        has_asked = channel.state in (State.ASKED, State.CONFIRMED)
        if has_asked and not self._leave(channel):
            self._deferred[channel] = None
            return
        channel.advance(Input.LEAVE)
        del (self._patterns if channel.is_pattern else self._channels)[channel.name]

    def _leave(self, channel: _Channel) -> bool:
        """Send the end of a subscription, unless the queue is full."""
        assert self._pipeline is not None, "without a connection nothing was asked for"
        return self._pipeline.add(*channel.confirmation("unsubscribe", _ignore))

    def _asked(self, channel: _Channel, refusal: RedisCommandError | None) -> None:
        """Note what Redis has answered to a SUBSCRIBE."""
        if refusal is not None:
            channel.refusal = str(refusal)
            channel.advance(Input.REFUSE)  # REDIS-29
            if self._refusals.admits("Redis refuses subscriptions"):
                log.warning("Redis refuses the subscription to %a: %s", channel.name, refusal)
            return
        channel.advance(Input.CONFIRM)
        now = self._clock()
        for one in channel.subscriptions:
            lost_at, one._lost_at = one._lost_at, None
            if lost_at is not None and one._gap is not None and one._subscriptions is not None:
                self._call(one._gap, now - lost_at)  # REDIS-27

    # -- connections

    def attach(self, pipeline: Pipeline) -> None:
        """Make all subscriptions on a new connection (REDIS-26).

        Channels that could not be left, because the queue was full, are forgotten. Patterns come
        first: whoever hears a question about an event has heard the event before (NODE-40).
        """
        self._pipeline = pipeline
        for channel in (*self._patterns.values(), *self._channels.values()):
            self._settle(channel)

    def detach(self, lost_at: float) -> None:
        """Note that the connection is lost.

        Args:
            lost_at: since when messages may have been missed.
        """
        self._pipeline = None
        for channel in (*self._channels.values(), *self._patterns.values()):
            if channel.state is State.CONFIRMED:
                for one in channel.subscriptions:
                    one._lost_at = lost_at
            channel.advance(Input.DISCONNECT)
        self._deferred.clear()

    def retry(self) -> None:
        """Ask for what was put off, as far as there is room now."""
        if self._deferred:
            for channel in tuple(self._deferred):
                self._settle(channel)

    # -- messages

    def receive(self, message: Message) -> None:
        """Give a message to those who are subscribed (REDIS-25)."""
        self._counts.messages += 1
        if len(message) == 3:
            _, name, payload = message
            channel = self._channels.get(name)
        else:
            _, pattern, name, payload = message
            channel = self._patterns.get(pattern)
        if channel is None:
            return  # it was left, and Redis did not know yet when it sent this
        for one in channel.subscriptions:
            if one._subscriptions is not None:  # REDIS-30: not closed by one before it
                try:
                    one._receive(name, payload)
                except BaseException as error:  # REDIS-28
                    self._failed(one._receive, error)

    def _call(self, gap: Gap, duration_s: float) -> None:
        try:
            gap(duration_s)
        except BaseException as error:
            self._failed(gap, error)

    def _failed(self, function: Callable[..., object], error: BaseException) -> None:
        failure, unwinding = split_failure(error)
        if failure is not None:
            self._counts.receiver_failures += 1
            self._failures.tell(f"the receiver {function_name(function)}", "", failure)
        if unwinding is not None:
            raise unwinding


def _ignore(_: RedisCommandError | None) -> None:
    """Nobody waits for the end of a subscription."""
