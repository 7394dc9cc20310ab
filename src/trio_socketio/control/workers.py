"""The methods that concern the worker processes of a program."""

from typing import Literal, Protocol

import msgspec

from trio_socketio.control.failures import unavailable
from trio_socketio.control.methods import rpc

WorkerState = Literal["starting", "serving", "blocked", "draining", "waiting", "dead"]


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: one of the processes that serve the clients of a program.

    Args:
        index: its number, from 1.
        node: the name of its node.
        pid: of its process; null while it has none.
        state: starting, serving, blocked if it serves but has not answered for some seconds,
            draining, waiting to be started again, or dead because it was drained.
        connections: how many connections it has, as it has told within the last second.
        restarts: how often it was started again.
        since_s: when it came into this state, seconds since 1970.
        died_of: why its last process has died; empty if none has, or it was drained.
    """

    index: int
    node: str
    pid: int | None
    state: WorkerState
    connections: int
    restarts: int
    since_s: float
    died_of: str = ""


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of a program.

    Args:
        workers: all of them, in the order of their numbers; none if one process does everything.
    """

    workers: list[WorkerInfo]


class Restarting(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to workers.restart.

    Args:
        workers: the numbers of those that are replaced from now on, one after the other.
        blocked: those of them that do not answer now, and so cannot drain. Each of them is killed
            when its time is up, and then replaced.
    """

    workers: list[int]
    blocked: list[int]


class Workers(Protocol):
    """The workers of this program."""

    def listed(self) -> list[WorkerInfo]:
        """Return all of them, in order."""

    def count_connections(self) -> int:
        """Return how many connections all of them have, as they have told."""

    def restart(self) -> list[int]:
        """Begin to replace them, one after the other; return their numbers.

        Raises:
            ControlError: that is under way, or the program stops.
        """


class WorkerMethods:
    """The methods workers.*.

    Args:
        workers: of this program; None if one process does everything.
    """

    def __init__(self, workers: Workers | None) -> None:
        self._workers = workers

    @rpc("workers.list")
    def list_workers(self) -> WorkerList:
        """Show the worker processes of this program."""
        return WorkerList(workers=[] if self._workers is None else self._workers.listed())

    @rpc("workers.restart")
    def restart(self) -> Restarting:
        """Begin to drain and replace the workers, one after the other.

        Each new one serves before the next one is drained; workers.list shows how far it has come.
        """
        if self._workers is None:
            raise unavailable("this program has no workers: one process does everything")
        workers = self._workers.restart()
        blocked = [one.index for one in self._workers.listed() if one.state == "blocked"]
        return Restarting(workers=workers, blocked=blocked)
