"""Those who wait for something in Redis, and the messages that wake them."""

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_socketio.redis.redis import Redis
    from trio_socketio.redis.subscriptions import Subscription

LOOK_S: Final = 1.0
"""How long a message that was lost can hold somebody up."""
MAX_FOLLOWED: Final = 1000
"""How many logs are subscribed to for those who wait for more entries."""

_ALL: Final = b"*"


class Watch:
    """One task that looks at something, waits, and looks again."""

    __slots__ = ("_woken",)

    def __init__(self) -> None:
        self._woken = trio.Event()

    def wake(self) -> None:
        """Have it look again."""
        self._woken.set()

    def begin(self) -> None:
        """Note that it is about to look: a message that comes from now on ends the next wait."""
        if self._woken.is_set():
            self._woken = trio.Event()

    async def wait(self) -> None:
        """Wait for a message."""
        await self._woken.wait()

    async def wait_to_look(self) -> None:
        """Wait until it is time to look again: for LOOK_S at most, as messages can be lost."""
        with trio.move_on_after(LOOK_S):
            await self._woken.wait()


class Wakings:
    """Wakes those who wait for something.

    Args:
        redis: the connection.
        channels: begins the names of the channels.
    """

    def __init__(self, redis: "Redis", channels: str) -> None:
        self._redis = redis
        self._channels = channels
        self._watches: dict[str, set[Watch]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._followed: OrderedDict[str, Subscription] = OrderedDict()

    # -- waiting

    @contextmanager
    def watching(self, name: str) -> "Iterator[Watch]":
        """Be woken under a name while the block runs."""
        watch = Watch()
        self._watches.setdefault(name, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[name]
            watches.remove(watch)
            if not watches:
                del self._watches[name]

    def wake(self, name: str) -> None:
        """Wake those who wait under a name."""
        for watch in self._watches.get(name, ()):
            watch.wake()

    def wake_all(self) -> None:
        """Wake everybody."""
        for name in self._watches:
            self.wake(name)

    # -- messages

    def subscribe(self, channel: str, name: str | None = None) -> None:
        """Have a message wake those who wait for a name.

        Args:
            channel: without what begins its name.
            name: what they wait for; None means the one that the message has, or everybody if
                it is "*".
        """
        if channel in self._subscriptions:
            return

        def receive(_: bytes, payload: bytes) -> None:
            if name is not None:
                self.wake(name)
            elif payload == _ALL:
                self.wake_all()
            else:
                self.wake(payload.decode(errors="replace"))

        def tell_gap(_: float) -> None:
            self.wake_all()

        full = self._channels + channel
        self._subscriptions[channel] = self._redis.subscribe(full, receive, gap=tell_gap)

    def unsubscribe(self, channel: str) -> None:
        """Have messages on a channel wake nobody any more."""
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.close()

    def follow(self, name: str) -> None:
        """Have messages on the channel of a log wake those who wait for it.

        There are MAX_FOLLOWED at most, so the one that was not asked for longest may give way.
        """
        if name in self._followed:
            self._followed.move_to_end(name)
            return
        self._followed[name] = self._redis.subscribe(
            self._channels + name, lambda *_: self.wake(name)
        )
        if len(self._followed) > MAX_FOLLOWED:
            _, subscription = self._followed.popitem(last=False)
            subscription.close()
