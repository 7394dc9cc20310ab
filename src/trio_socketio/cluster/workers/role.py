"""What a process of a program does: everything, or the part of a parent or of a worker."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from trio_socketio.cluster.forwarding.internal import Internal, find_internal
from trio_socketio.socketio.options import group_options

if TYPE_CHECKING:
    import trio

    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.cluster.options import ClusterOptions
    from trio_socketio.control.workers import Workers
    from trio_socketio.runtime.endpoints import Endpoint
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server


_MORE_S: Final = 30.0
"""The extra time that the services of a process get to end, on top of its stages."""


class Family(NamedTuple):
    """What other nodes are told of the program that a node belongs to.

    Args:
        parent: the node whose worker it is; empty if it is none.
        workers: how many workers it has; it has no clients then.
    """

    parent: str = ""
    workers: int = 0


ALONE: Final = Family()
"""One process does everything."""


def longest_stop_s(server: "Server") -> float:
    """Return how long a process may take to stop in stages before it is ended."""
    stop = group_options(server.options).stop  # the app may have set it itself
    return stop.delay_s + stop.window_s + 2 * (stop.grace_s + stop.flush_s) + _MORE_S


class Reloaded(Protocol):
    """What a reload has changed; see reloading.Plan."""

    @property
    def changed(self) -> Sequence[Any]:
        """What is new."""

    @property
    def needs_restart(self) -> Sequence[Any]:
        """What holds only after the next start."""


class Program(Protocol):
    """The program in this process, as far as a parent has to steer it."""

    def stop(self, why: str) -> None:
        """Stop in stages. Does nothing if that has begun."""

    def end(self, why: str) -> None:
        """End at once."""

    async def reload(self) -> Reloaded:
        """Read the configuration again and apply it; see standalone.Program."""


class MetricsText(Protocol):
    """Writes the metrics; see ops.metrics."""

    def add(self, collector: Any) -> None:
        """Add a collector."""

    async def encode(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""


class EncodedMetrics(Protocol):
    """Writes the metrics for the admin port."""

    async def encode(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""


class HealthChecks(Protocol):
    """Whether the program is ready; see ops.health."""

    def add(self, check: Any) -> None:
        """Add a check."""


class Role(Protocol):
    """What a process of a program does."""

    @property
    def family(self) -> Family:
        """What other nodes are told of it."""

    @property
    def node(self) -> str | None:
        """The name of its node; None means the one that is configured."""

    @property
    def listeners(self) -> Sequence[int]:
        """The descriptors of public listening sockets that it was given; none if it opens them."""

    @property
    def inherited(self) -> Sequence[str]:
        """The purposes for which its parent has sockets that systemd has opened."""

    @property
    def workers(self) -> "Workers | None":
        """Its workers; None if it has none."""

    def find_internal(
        self, options: "ClusterOptions", credentials: "Credentials | None"
    ) -> Internal | None:
        """Return where it listens for other nodes; None if nothing is passed on.

        Args:
            options: of the cluster.
            credentials: what was read from the files that they name.
        Raises:
            OptionError: there is no port for it.
        """

    def opened(
        self, program: Program, endpoints: Sequence["Endpoint"]
    ) -> AbstractAsyncContextManager[None]:
        """Return the block in which the program and its services run.

        Args:
            program: the program.
            endpoints: where it listens for clients.
        Raises:
            ConfigurationError: it is not possible to listen there.
        """

    async def serve(
        self,
        server: "Server",
        runtime: "Runtime",
        endpoints: Sequence["Endpoint"],
        *,
        task_status: "trio.TaskStatus[list[Any]]",
    ) -> None:
        """Serve until the server is told to stop; task_status is told the addresses."""

    def use_metrics(self, metrics: MetricsText, health: HealthChecks) -> EncodedMetrics:
        """Return what writes the metrics for the admin port."""

    async def reload(self) -> None:
        """Have other processes of the program do what this one has done: it was reloaded.

        Raises:
            ConfigurationError: one has not; it says which, and why.
        """

    async def add_up(self, statistics: dict[str, Any]) -> Mapping[str, Any]:
        """Add the numbers of the other processes of the program to those of this one."""


class Alone:
    """One process does everything."""

    family = ALONE
    node: str | None = None
    listeners: Sequence[int] = ()
    inherited: Sequence[str] = ()
    workers: "Workers | None" = None

    def find_internal(
        self, options: "ClusterOptions", credentials: "Credentials | None"
    ) -> Internal | None:
        return find_internal(options, credentials)

    @asynccontextmanager
    async def opened(
        self, program: Program, endpoints: Sequence["Endpoint"]
    ) -> AsyncIterator[None]:
        yield

    async def serve(
        self,
        server: "Server",
        runtime: "Runtime",
        endpoints: Sequence["Endpoint"],
        *,
        task_status: "trio.TaskStatus[list[Any]]",
    ) -> None:
        await server.serve(runtime=runtime, endpoints=endpoints, task_status=task_status)

    def use_metrics(self, metrics: MetricsText, health: HealthChecks) -> EncodedMetrics:
        return metrics

    async def reload(self) -> None:
        """Do nothing: there are no others."""

    async def add_up(self, statistics: dict[str, Any]) -> Mapping[str, Any]:
        return statistics
