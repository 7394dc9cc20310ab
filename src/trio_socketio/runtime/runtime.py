"""What a serving program stands on: the poller, the deadlines, the job pool, and their rings.

The rings nest, and their order is the order of the end: ::

    services                 Redis, stores, control: started first, ended last
    └─ connections           the poller and the deadlines
       └─ handlers           job pools
          └─ listeners       accept nobody any more: the first thing at the end

A service that fails ends the program with its error. A client's fault never does.
"""

import logging
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from threading import get_ident
from typing import Any, Protocol

import trio

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.endpoints import Endpoint
from trio_socketio.runtime.jobs import Workers
from trio_socketio.runtime.listeners import accept_forever
from trio_socketio.runtime.options import RuntimeOptions
from trio_socketio.runtime.readiness import create_poller

log = logging.getLogger(__name__)


class Service(Protocol):
    """An async function that runs for as long as the program serves."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[None]:
        """Call task_status.started as soon as others may rely on it; then run until cancelled."""


class Runtime:
    """See the module. Opened with `open_runtime`.

    Attributes:
        poller: drives every connection of the program.
        deadlines: watches every deadline.
        options: that it was opened with.
    """

    def __init__(self, options: RuntimeOptions, services: trio.Nursery) -> None:
        self.options = options
        self.poller = create_poller()
        self.deadlines = Deadlines(options.deadline_slack_s)
        self._services = services
        self._thread = get_ident()

    def check_thread(self) -> None:
        """Refuse a call from another thread, before anything has changed.

        Raises:
            LocalProtocolError: it is one.
        """
        if get_ident() != self._thread:
            raise LocalProtocolError("the runtime belongs to another thread, and nothing was done")

    async def start_service(self, name: str, service: Service) -> Any:
        """Run a service until the runtime ends; return when it has started.

        Args:
            name: for the log.
            service: see Service.
        Returns:
            What it gave to task_status.started.
        Raises:
            Exception: whatever it raises before that. What it raises later ends the program.
        """
        self.check_thread()
        return await self._services.start(partial(_run_service, name, service))

    @asynccontextmanager
    async def running_jobs(self, jobs: Workers, *, grace_s: float) -> AsyncIterator[None]:
        """Run a job pool in the handlers' ring while the block runs.

        Args:
            jobs: the pool.
            grace_s: how long jobs may go on after the block; then they are cancelled.
        """
        jobs.slow_handler_s = self.options.slow_handler_s
        self.poller.on_slow_turn(self.options.slow_handler_s, jobs.log_slow)
        try:
            async with trio.open_nursery() as nursery:
                jobs.start(nursery)
                yield
                if jobs.count:
                    log.info("waiting up to %g s for %d handlers", grace_s, jobs.count)
                with trio.move_on_after(grace_s):
                    await jobs.wait_idle()
                if jobs.count:
                    log.warning("%d handlers took longer and are cancelled", jobs.count)
                nursery.cancel_scope.cancel()
        finally:
            jobs.stop()

    @asynccontextmanager
    async def holding(self, connections: Connections, *, flush_s: float) -> AsyncIterator[None]:
        """Keep a group of connections open while the block runs.

        Args:
            connections: the group.
            flush_s: how long peers may take to accept the last bytes after the block.
        """
        try:
            yield
            connections.finish_all()
            if connections:
                log.info(
                    "waiting up to %g s for %d connections to take their last bytes",
                    flush_s,
                    len(connections),
                )
            with trio.move_on_after(flush_s):
                await connections.wait_empty()
        finally:
            connections.abort_all()

    @asynccontextmanager
    async def listening(
        self, connections: Connections, *endpoints: Endpoint
    ) -> AsyncIterator[list[Any]]:
        """Accept connections into a group while the block runs. Gives the addresses.

        Raises:
            ConfigurationError: cannot listen there.
        """
        self.check_thread()
        async with AsyncExitStack() as stack, trio.open_nursery() as listeners:
            addresses: list[Any] = []
            for endpoint in endpoints:
                for listener in await stack.enter_async_context(endpoint.listen()):
                    addresses.append(listener.getsockname())
                    accept = partial(_accept, connections, endpoint)
                    listeners.start_soon(accept_forever, listener, accept)
            yield addresses
            listeners.cancel_scope.cancel()


def _accept(
    connections: Connections, endpoint: Endpoint, sock: socket.socket, address: str
) -> None:
    connections.accept(sock, address, endpoint.tls)


async def _run_service(
    name: str, service: Service, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    try:
        await service(task_status=task_status)
    except Exception:
        log.error("the service %s has failed: the program ends", name)
        raise


@asynccontextmanager
async def open_runtime(options: RuntimeOptions | None = None) -> AsyncIterator[Runtime]:
    """A runtime that belongs to the calling thread, while the block runs.

    Raises:
        Exception: what ended it, of the block or of a service; one exception comes alone, not in a
            group.
    """
    try:
        async with trio.open_nursery() as services:
            runtime = Runtime(options or RuntimeOptions(), services)
            async with runtime.poller.running(), trio.open_nursery() as walks:
                walks.start_soon(runtime.deadlines.run, runtime.poller.read_ready)
                yield runtime
                walks.cancel_scope.cancel()
            services.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only_one(group) from None


def _only_one(error: BaseException) -> BaseException:
    """What is in a group that holds one exception: trio wraps what leaves a nursery."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
