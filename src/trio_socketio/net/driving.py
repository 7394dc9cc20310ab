"""The interfaces that a connection needs: the poller, the deadlines, and its group."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from trio_socketio.net.traffic import Traffic

# The values of epoll, which every poller uses.
READ: Final = 0x001
WRITE: Final = 0x004
HANG_UP: Final = 0x018  # an error, or both directions are closed; reported without being asked for


class Failing(Protocol):
    """Something of which the poller calls methods."""

    def fail(self, error: BaseException) -> None:
        """Give up, because one of the other methods raised. Never raises."""


class Flushable(Failing, Protocol):
    """Something that gathers output during a turn."""

    def flush(self) -> None:
        """Send what was gathered. Called once for each mark_dirty."""


class Resumable(Failing, Protocol):
    """Something that has more to do than fits into a turn."""

    def on_more(self) -> None:
        """Go on with what was read before. Called once for each Poller.call_again."""


class Pollable(Flushable, Resumable, Protocol):
    """A connection, as the poller sees it."""

    def fileno(self) -> int:
        """The descriptor."""

    def on_ready(self, events: int) -> object:
        """Handle some of READ, WRITE and HANG_UP. May be called once more after closing.

        Pollers ignore what it returns.
        """

    def release(self) -> None:
        """Close the descriptor. Called once, at the end of a turn. Never raises."""


class Poller(Protocol):
    """Drives connections in turns; see runtime/poller.py."""

    turn_ends: float
    """When this turn should end, on perf_counter's clock."""

    def watch(self, connection: Pollable, events: int) -> None:
        """Change the events that a registered connection is watched for."""

    def prefer(self, connection: Pollable) -> None:
        """Have a connection come before all newcomers; ignored if it is preferred already."""

    def mark_dirty(self, item: Flushable) -> None:
        """Have item.flush called at the end of this turn, or soon if there is none."""

    def defer(self, callback: Callable[[], None]) -> None:
        """Call back when this turn's batch is done, or soon if there is none; never from here."""

    def call_again(self, item: Resumable) -> None:
        """Have item.on_more called in the next turn."""

    def close_later(self, connection: Pollable) -> None:
        """Have connection.release called when this turn's batch is done."""

    def is_fenced(self) -> bool:
        """Whether nothing may be sent before the turn ends; see runtime/fence.py."""


class Entry(Protocol):
    """An entry of the timetable."""

    at: float
    """When the timetable looks at the item's deadline."""


class Expiring(Protocol):
    """Something with a deadline that may move."""

    deadline_entry: Any
    """Belongs to the timetable; None at first."""

    def next_deadline(self) -> float:
        """The deadline, in seconds on trio's clock; infinity for none."""

    def expire(self, now: float) -> None:
        """Act on the deadline. Called at next_deadline or somewhat later."""


class Timetable(Protocol):
    """Watches deadlines; see runtime/deadlines.py."""

    now: Callable[[], float]
    """Reads trio's clock."""

    def schedule(self, item: Expiring) -> None:
        """Take note that the item's deadline may have come nearer."""

    def forget(self, item: Expiring) -> None:
        """Stop watching the item's deadline, and drop the reference to it."""


class Owner(Protocol):
    """The group that a connection belongs to; see runtime/connections.py."""

    @property
    def poller(self) -> Poller:
        """The poller that drives the connection."""

    @property
    def deadlines(self) -> Timetable:
        """The timetable that watches its deadlines."""

    output_bound_bytes: int
    slow_client_s: float
    traffic: Traffic
    """The traffic of new connections, which speak HTTP at first."""
    writes_dropped: int
    """The number of writes that were dropped because their peers were too slow."""

    def connection_released(self, connection: Any) -> None:
        """Take note that the connection's descriptor is closed."""
