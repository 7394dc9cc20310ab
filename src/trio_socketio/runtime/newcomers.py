"""The connections that come after those of clients who have joined."""

import select
from collections import deque
from typing import Final

from trio_socketio.net.driving import HANG_UP, READ, Pollable

HALF_CLOSED: Final = 0x2000  # EPOLLRDHUP: the peer sends nothing more; connections ignore it
CLOSED: Final = HANG_UP | HALF_CLOSED
_EDGE: Final = 1 << 31  # EPOLLET: report each change once


def watch_mask(events: int) -> int:
    """Return what epoll is asked for, to report READ and WRITE of a connection.

    A hang-up is reported in any case. Nothing is done about it while reading is held, so it must
    not be reported again and again (RUN-60).
    """
    return events | HALF_CLOSED if events & READ else events or _EDGE


class Newcomers:
    """The connections that are not preferred.

    Attributes:
        epoll: watches them, and is itself watched by that of the preferred connections.
        connections, numbers: by the numbers of their descriptors, and the other way round.
        are_ready: whether some may be ready.
        closed: those that were preferred until their peers closed them, and have not had their
            turn since, with their events.
        waiting: those that were found ready, with their events, and have not had their turn.
    """

    __slots__ = ("are_ready", "closed", "connections", "epoll", "numbers", "waiting")

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.connections: dict[int, Pollable] = {}
        self.numbers: dict[Pollable, int] = {}
        self.are_ready = False
        self.closed: deque[tuple[Pollable | Newcomers, int]] = deque()
        self.waiting: deque[tuple[Pollable | Newcomers, int]] = deque()

    def fileno(self) -> int:
        return self.epoll.fileno()

    def on_ready(self, _: int) -> None:
        """Take note that some are ready: their turn comes after the preferred connections."""
        self.are_ready = True

    def fail(self, error: BaseException) -> None:
        """Do nothing; never called, because on_ready does not raise."""

    def add(self, connection: Pollable, events: int) -> None:
        number = connection.fileno()
        self.epoll.register(number, watch_mask(events))
        self.connections[number] = connection
        self.numbers[connection] = number

    def take(self, most: int) -> "deque[tuple[Pollable | Newcomers, int]]":
        """Return up to this many that are ready, those first that became so first."""
        connections = self.connections
        return deque((connections[number], events) for number, events in self.epoll.poll(0, most))
