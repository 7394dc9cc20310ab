"""Those who wait for something in Redis, and the messages that wake them."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis
    from trio_socketio.redis.subscriptions import Subscription

LOOK_S: Final = 1.0
"""How long a message that was lost can hold somebody up."""
MAX_FOLLOWED: Final = 1000
"""How many logs are subscribed to for those who wait for more entries."""

_ALL: Final = b"*"


class Wakings:
    """Wakes those who wait. They look by themselves every LOOK_S, as messages may be lost.

    Args:
        redis: the connection.
        channels: begins the names of the channels.
    """

    def __init__(self, redis: "Redis", channels: str) -> None:
        self._redis = redis
        self._channels = channels
        self._events: dict[str, trio.Event] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._followed: OrderedDict[str, Subscription] = OrderedDict()

    # -- waiting

    def prepare(self, name: str) -> trio.Event:
        """Return what to wait for; called before looking, so that nothing is missed in between."""
        return self._events.setdefault(name, trio.Event())

    async def wait(self, event: trio.Event) -> None:
        """Wait until it is time to look again."""
        with trio.move_on_after(LOOK_S):
            await event.wait()

    def wake(self, name: str) -> None:
        """Wake those who wait for a name."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Wake everybody."""
        for name in tuple(self._events):
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
