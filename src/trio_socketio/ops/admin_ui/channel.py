"""Tells administrators what happens, on this server and, through the adapter, on all others."""

from typing import TYPE_CHECKING, Any, Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.token_bucket import TokenBuckets, token_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.socketio.namespace import Namespace

_EVENTS: Final = "events"


class Channel:
    """Sends events to the namespace of administrators.

    Args:
        space: the namespace.
        max_events_per_s: how many events of clients are shown.
        clock: in seconds.

    Attributes:
        told: how many events of clients were shown.
        untold: how many were only counted, because there were too many or they cannot be shown.
    """

    def __init__(
        self, space: "Namespace", max_events_per_s: int, clock: "Callable[[], float]"
    ) -> None:
        self.told = 0
        self.untold = 0
        self._space = space
        self._clock = clock
        self._rate = token_rate(max_events_per_s, max_events_per_s)
        self._bucket = TokenBuckets[str](1)

    @property
    def is_heard(self) -> bool:
        """Whether there may be an administrator: here, or on another server."""
        return bool(self._space.sockets) or self._space.adapter.reaches_other_nodes

    def tell(self, event: str, *arguments: Any) -> None:
        """Tell all administrators. What cannot be sent is only counted."""
        if self.is_heard:
            try:
                self._space.emit(event, *arguments)
            except LocalProtocolError:
                self.untold += 1

    def has_room(self) -> bool:
        """Whether one more event of a client may be shown; it then counts as shown (AUI-23)."""
        if not self.is_heard:
            return False
        if self._bucket.take(_EVENTS, self._rate, self._clock()):
            self.untold += 1
            return False
        self.told += 1
        return True
