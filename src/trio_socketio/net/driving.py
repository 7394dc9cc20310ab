"""What a connection needs of whoever drives it: a poller, and a timetable of deadlines."""

from collections.abc import Callable
from typing import Any, Final, Protocol

# The values of epoll, used with every poller.
READ: Final = 0x001
WRITE: Final = 0x004
HANG_UP: Final = 0x018  # error or both directions closed; reported unasked


class Flushable(Protocol):
    """Something that gathers output during a turn."""

    def flush(self) -> None:
        """Send what was gathered; called once per mark_dirty."""

    def fail(self, error: BaseException) -> None:
        """A defect of ours or of a handler surfaced: give this one up. Never raises."""


class Resumable(Protocol):
    """Something that has more to do than fits into a turn."""

    def on_more(self) -> None:
        """Asked for with Poller.call_again: go on with what is read already."""

    def fail(self, error: BaseException) -> None:
        """See Flushable."""


class Pollable(Flushable, Resumable, Protocol):
    """A connection, as the poller sees it."""

    def fileno(self) -> int:
        """Its descriptor."""

    def on_ready(self, events: int) -> None:
        """Something of READ, WRITE, HANG_UP happened; may come once more after closing."""

    def release(self) -> None:
        """Close the descriptor; called once, after a turn. Never raises."""


class Poller(Protocol):
    """Drives connections; see runtime/poller.py."""

    turn_ends: float

    def watch(self, connection: Pollable, events: int) -> None:
        """Change what a connection is watched for."""

    def mark_dirty(self, item: Flushable) -> None:
        """Have item.flush called at the end of this turn, or soon outside one."""

    def defer(self, callback: Callable[[], None]) -> None:
        """Call back when this turn's batch is done; never from here."""

    def call_again(self, item: Resumable) -> None:
        """Have item.on_more called in the next turn."""

    def close_later(self, connection: Pollable) -> None:
        """Release a connection when the batch is done."""


class Expiring(Protocol):
    """Something with a deadline that moves."""

    deadline_entry: Any
    """Kept by the timetable, None at first."""

    def next_deadline(self) -> float:
        """Seconds on trio's clock; infinity for none."""

    def expire(self, now: float) -> None:
        """Called at or after next_deadline."""


class Timetable(Protocol):
    """Watches deadlines; see runtime/deadlines.py."""

    def schedule(self, item: Expiring) -> None:
        """Tell that item's deadline may have come nearer."""

    def forget(self, item: Expiring) -> None:
        """Watch it no longer."""
