"""The options of worker processes."""

import os
from typing import Final, Literal

from trio_socketio.codec.worker_messages import MAX_WORKERS
from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup

AUTO: Final = "auto"
LEAST_BLOCKED_S: Final = 2.0
"""A worker is asked once a second, and needs time to answer."""


class WorkersOptions(OptionGroup, frozen=True, kw_only=True):
    """Several processes that accept clients on the same addresses; they need [redis] url.

    Args:
        count: how many there are; "auto" is one for each CPU that the program may use. With 1, a
            single process does everything. Each of several workers is a node of its own with bounds
            of its own, such as max_connections.
        max_blocked_s: how long a worker may leave its parent without an answer, because its app
            blocks it, before it is killed and started again; 0 means for ever.
    """

    _may_be_zero = frozenset(("max_blocked_s",))

    count: int | Literal["auto"] = 1
    max_blocked_s: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.max_blocked_s < LEAST_BLOCKED_S:
            raise OptionError(
                "max_blocked_s",
                f"must be 0, or {LEAST_BLOCKED_S:g} or more, not {self.max_blocked_s}",
            )
        is_number = isinstance(self.count, int) and not isinstance(self.count, bool)
        if not (is_number or self.count == AUTO):
            raise OptionError("count", f'expected a whole number or "auto", not {self.count!r}')
        if isinstance(self.count, int) and not 1 <= self.count <= MAX_WORKERS:
            raise OptionError("count", f"must be 1 to {MAX_WORKERS}, not {self.count}")

    @property
    def number(self) -> int:
        """How many workers there are."""
        return min(usable_cpus(), MAX_WORKERS) if self.count == AUTO else int(self.count)


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
