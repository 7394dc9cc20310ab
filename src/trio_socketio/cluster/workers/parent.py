"""The parent of worker processes: a node without clients, which owns what there is once."""

import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.cluster.workers.process import Launcher
from trio_socketio.cluster.workers.role import Family, longest_stop_s
from trio_socketio.cluster.workers.shares import Shares
from trio_socketio.cluster.workers.supervision import Starter, Supervision
from trio_socketio.cluster.workers.totals import add_up
from trio_socketio.codec.worker_messages import WorkerPlace
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.cluster.options import ClusterOptions
    from trio_socketio.cluster.workers.role import (
        EncodedMetrics,
        HealthChecks,
        MetricsText,
        Program,
    )
    from trio_socketio.runtime.endpoints import Endpoint
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.lifespans import Lifespan
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_PACKAGE: Final = "trio_socketio."
_LONGEST_NAME: Final = 128


class Parent:
    """The role of the process that has workers.

    Args:
        name: of its node; None means host:pid.
        count: how many workers there are.
        command: the words that start this program.
        environment: its variables.
        inherited: the purposes for which systemd has opened sockets.
        starter: starts the workers, in place of one that starts processes.
        max_blocked_s: how long a worker may fail to answer before it is killed; 0 means for ever.

    Attributes:
        workers: they run once the server serves.

    Raises:
        ConfigurationError: the names of the workers would be too long.
    """

    listeners: Sequence[int] = ()  # it opens them

    def __init__(
        self,
        name: str | None,
        count: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        inherited: Sequence[str] = (),
        starter: Starter | None = None,
        max_blocked_s: float = 0.0,
    ) -> None:
        self.node = name or f"{socket.gethostname()}:{os.getpid()}"
        self.family = Family(workers=count)
        self.inherited = inherited
        names = [f"{self.node}-{index}" for index in range(1, count + 1)]
        if len(names[-1]) > _LONGEST_NAME:
            raise ConfigurationError(
                f"the name of the node {names[-1]} is longer than {_LONGEST_NAME} characters: each "
                "worker adds its number to that of the program, so choose a shorter one"
            )
        self._names = names
        self._sockets: list[socket.socket] = []
        self._shares = Shares.create(count)
        launcher = Launcher(command, environment, self._place_of, self._descriptors)
        self.workers = Supervision(
            names, starter or launcher, self._shares.reset, max_blocked_s=max_blocked_s
        )

    def _place_of(self, index: int, link: int) -> WorkerPlace:
        """Return what a worker is told when it is started."""
        return WorkerPlace(
            index=index,
            count=len(self._names),
            node=self._names[index - 1],
            parent=self.node,
            link=link,
            shares=self._shares.fileno,
            listeners=tuple(sock.fileno() for sock in self._sockets),
            inherited=tuple(self.inherited),
        )

    def _descriptors(self) -> Sequence[int]:
        return (self._shares.fileno, *(sock.fileno() for sock in self._sockets))

    def find_internal(self, options: "ClusterOptions", credentials: "Credentials | None") -> None:
        """Return None: it has no sessions, and gets no requests of clients."""

    @asynccontextmanager
    async def opened(
        self, program: "Program", endpoints: Sequence["Endpoint"]
    ) -> AsyncIterator[None]:
        """Listen while the block runs, before anything else is started (WORK-20)."""
        async with AsyncExitStack() as stack:
            stack.callback(self._shares.close)
            for endpoint in endpoints:
                self._sockets += await stack.enter_async_context(endpoint.listen())
            yield

    async def serve(
        self,
        server: "Server",
        runtime: "Runtime",
        endpoints: Sequence["Endpoint"],
        *,
        task_status: "trio.TaskStatus[list[Any]]",
    ) -> None:
        """Be a node without clients, whose workers serve, until the server is told to stop.

        The lifespans of the app are not entered: they belong to processes that have clients.
        """
        server._lifespans.leave_out(_is_of_app)  # WORK-21
        self.workers.stop_s = longest_stop_s(server)
        addresses = [sock.getsockname() for sock in self._sockets]
        has_started = False

        async def tell_started() -> None:
            nonlocal has_started
            await self.workers.wait_serving()
            has_started = True
            task_status.started(addresses)

        async with server.mounted(runtime), alone(trio.open_nursery()) as tasks:
            tasks.start_soon(tell_started)
            tasks.start_soon(self._stop_with, server)
            await self.workers.run()
            tasks.cancel_scope.cancel()
        if not has_started:  # it was stopped before
            task_status.started(addresses)

    async def _stop_with(self, server: "Server") -> None:
        """Have the workers stop when the server does, and accept nobody when its delay is over."""
        await server.wait_stopping()
        self.workers.drain()
        await server.wait_closing()
        for sock in self._sockets:  # clients that wait there would wait in vain
            sock.close()

    def use_metrics(self, metrics: "MetricsText", health: "HealthChecks") -> "EncodedMetrics":
        # It needs prometheus-client, which is there if there is an admin port.
        from trio_socketio.cluster.workers.metrics import MergedMetrics, WorkersCollector

        health.add(self.workers.check)
        metrics.add(WorkersCollector(self.workers))
        return MergedMetrics(metrics, self.workers)

    async def reload(self) -> None:
        """Have the workers read the configuration again, one after the other.

        Raises:
            ConfigurationError: some have not, and keep their old configuration until they do.
        """
        faults = await self.workers.reload()
        for fault in faults:
            log.error("not reloaded: %s", fault)
        if faults:
            raise ConfigurationError(
                "not every process was reloaded, and these go on as before until they are: "
                f"{'; '.join(faults)}"
            )

    async def add_up(self, statistics: dict[str, Any]) -> Mapping[str, Any]:
        """Add the numbers of the workers that answer in time."""
        answers = await self.workers.ask("statistics")
        return add_up([statistics, *answers.values()])


def _is_of_app(lifespan: "Lifespan") -> bool:
    return not lifespan.__module__.startswith(_PACKAGE)
