"""The broadcasts of other servers, for all namespaces of this one."""

from collections.abc import Callable
from typing import Protocol

from trio_socketio.codec.redis_channels import broadcast_pattern

Receive = Callable[[bytes, bytes], None]
"""Called with the channel and the payload of a broadcast."""


class Subscription(Protocol):
    """A channel, or a pattern of channels, whose messages are received."""

    async def wait_confirmed(self) -> None:
        """Wait until Redis has confirmed it.

        Raises:
            RedisUnavailable: there is no connection; the subscription takes effect with the next.
        """

    def close(self) -> None:
        """Receive nothing more."""


class Subscribing(Protocol):
    """The part of a connection to Redis that subscribes; see Redis."""

    def subscribe(
        self,
        channel: bytes,
        receive: Receive,
        *,
        pattern: bool = False,
        gap: Callable[[float], None] | None = None,
    ) -> Subscription:
        """Have receive called with the channel and the payload of each message."""


class Broadcasts:
    """One subscription for the broadcasts of all namespaces (BUS-02).

    Servers of Node have a pattern for each namespace. Redis compares each message with every
    pattern, so many namespaces would make it slow; and a rule of its ACL allows a pattern only if
    it is exactly that one, so nobody could write a rule for namespaces that clients make up.

    Args:
        redis: the connection.
        key: the prefix of all channels.
        tell_gap: called with the seconds for which messages may have been missed.

    Attributes:
        skipped: how many messages were for namespaces that this server does not have.
    """

    def __init__(self, redis: Subscribing, key: str, tell_gap: Callable[[float], None]) -> None:
        self.skipped = 0
        self._redis = redis
        self._key = key
        self._tell_gap = tell_gap
        self._prefix_length = len(key.encode()) + 1
        self._receivers: dict[bytes, Receive] = {}
        self._odd: dict[bytes, Receive] = {}  # of namespaces with a # in their names
        self._subscription: Subscription | None = None

    def join(self, namespace: str, receive: Receive) -> None:
        """Have the broadcasts of a namespace received."""
        name = namespace.encode()
        (self._odd if b"#" in name else self._receivers)[name] = receive
        if self._subscription is None:
            self._subscription = self._redis.subscribe(
                broadcast_pattern(self._key), self._receive, pattern=True, gap=self._tell_gap
            )

    def leave(self, namespace: str, receive: Receive) -> None:
        """Receive no more broadcasts of a namespace.

        Args:
            namespace: its name. Another one of that name may have joined since.
            receive: as it was given to `join`.
        """
        name = namespace.encode()
        receivers = self._odd if b"#" in name else self._receivers
        if receivers.get(name) == receive:
            del receivers[name]
        if self._subscription is not None and not (self._receivers or self._odd):
            self._subscription.close()
            self._subscription = None

    async def wait_confirmed(self) -> None:
        """Wait until Redis has confirmed the subscription; see Subscription."""
        if self._subscription is not None:
            await self._subscription.wait_confirmed()

    def _receive(self, channel: bytes, message: bytes) -> None:
        start = self._prefix_length
        receive = self._receivers.get(channel[start : channel.find(b"#", start)])
        if receive is not None:
            receive(channel, message)
        elif not self._odd:
            self.skipped += 1
        for name, receive in self._odd.items():
            if channel.startswith(name + b"#", start):
                receive(channel, message)
