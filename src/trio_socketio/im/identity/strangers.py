"""Hangs up on clients that were refused, unless they are identified meanwhile."""

from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

import trio

from trio_socketio.socketio.refusing import hang_up_on_stranger

if TYPE_CHECKING:
    from trio_socketio.net.driving import Timetable

MAX_REFUSALS: Final = 10
"""A client that is refused so often before its time is over is hung up on at once: each of its
tokens costs as much as many messages."""


class Stranger:
    """A client that was refused.

    Args:
        client: the client. It is not kept: whoever has left is forgotten (IDENT-72).
        ends_at: when it is hung up on.
        last_at: when, if it is just joining a namespace at that time.

    Attributes:
        refusals: how often it was refused.
    """

    __slots__ = ("_client", "deadline_entry", "ends_at", "last_at", "refusals")

    def __init__(self, client: Any, ends_at: float, last_at: float) -> None:
        self._client = ref(client)
        self.deadline_entry: Any = None
        self.ends_at = ends_at
        self.last_at = last_at
        self.refusals = 1

    def next_deadline(self) -> float:
        return self.ends_at

    def expire(self, now: float) -> None:
        client = self._client()
        if client is not None and client._joinings and now < self.last_at:
            self.ends_at = self.last_at
            return
        self.ends_at = inf
        if client is not None and client.session.is_open:
            hang_up_on_stranger(client)


class Strangers:
    """All clients that were refused and have not been hung up on."""

    def __init__(self) -> None:
        self._deadlines: Timetable | None = None
        self._strangers: WeakKeyDictionary[Any, Stranger] = WeakKeyDictionary()

    def __len__(self) -> int:
        return sum(stranger.ends_at < inf for stranger in self._strangers.values())

    def begin(self, deadlines: "Timetable") -> None:
        """Watch them from now on: the server is about to serve."""
        self._deadlines = deadlines

    def hang_up_later(self, client: Any, patience_s: float) -> None:
        """Hang up on a client that was refused, unless it is identified anywhere by then.

        Not at once: its CONNECTs for other namespaces may stand right behind (IDENT-32).
        """
        if self._deadlines is None:
            return
        now = trio.current_time()
        stranger = self._strangers.get(client)
        if stranger is not None and stranger.ends_at < inf:
            stranger.refusals += 1
            if stranger.refusals == MAX_REFUSALS:  # IDENT-49: after it was told this one, too
                stranger.ends_at = stranger.last_at = now
                self._deadlines.schedule(stranger)
            return
        stranger = Stranger(client, now + patience_s, now + 2 * patience_s)
        self._strangers[client] = stranger
        self._deadlines.schedule(stranger)
