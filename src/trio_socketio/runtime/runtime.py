"""The runtime of a serving program: its poller, its deadlines, and the rings of its tasks.

The rings are nurseries inside each other. A program ends from the innermost outwards: ::

    connections              the poller and the deadlines, which everything else needs
    └─ services              Redis, stores, control: started first, ended last
       └─ handlers           job pools
          └─ listeners       the first to end, so that no new clients come

A service that fails ends the program with its error. No fault of a client does.
"""

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import get_ident
from typing import Any, Final, Protocol

import trio

from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.endpoints import Endpoint
from trio_socketio.runtime.fair_accept import Balance, accept_fairly
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.jobs import Workers
from trio_socketio.runtime.listeners import accept_forever
from trio_socketio.runtime.options import RuntimeOptions
from trio_socketio.runtime.poller import TURN_S, Poller
from trio_socketio.runtime.readiness import create_poller
from trio_socketio.runtime.standstill import NOTE_S, Standstill

log = logging.getLogger(__name__)


END_S: Final = 5.0
"""The time in which a service that was asked to end has to do so, before it is cancelled."""


class Service(Protocol):
    """An async function that runs for as long as the program serves."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[None]:
        """Call task_status.started when others may rely on it; then run until cancelled."""


@dataclass(eq=False, slots=True)
class _Running:
    """A service that runs."""

    name: str
    end: Callable[[], None] | None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


class Runtime:
    """The basis of a serving program, which listeners of several kinds share (RUN-01).

    Programs get one from `open_runtime`.

    Attributes:
        poller: drives every connection of the program.
        deadlines: watches every deadline of the program.
        options: the options that the runtime was opened with.
        slow_turns: the number of turns that took longer than slow_handler_s.
    """

    def __init__(
        self,
        options: RuntimeOptions,
        poller: Poller,
        deadlines: Deadlines,
        services: trio.Nursery,
    ) -> None:
        self.options = options
        self.poller = poller
        self.deadlines = deadlines
        self._services = services
        self._running: list[_Running] = []  # services, in the order of their start
        self._thread = get_ident()
        self._pools: list[Workers] = []
        self._standstill = Standstill(poller.fences, deadlines, self._forget_last)
        self.slow_turns = 0
        self._note_s = min(NOTE_S, options.slow_handler_s)
        poller.on_slow_turn(self._note_s, self._note_slow_turn)

    def last_blocked(self) -> str:
        """Say in words why the program stood still since its leases were last renewed.

        They name the handler, if one was called then, and for how long. It is known only while a
        lease is held, until right after it was lost.

        Returns:
            What can be known from inside; empty if the program did not stand still.
        """
        return self._standstill.describe()

    def _forget_last(self) -> None:
        for pool in self._pools:
            pool.running = None

    def _note_slow_turn(self, elapsed_s: float) -> None:
        """Take note that a turn of the poller took long, with the handlers that were called last.

        Several servers share the poller, and any of them may have called the one that blocked.
        """
        running = [pool.running for pool in self._pools]
        last = [str(handler) for handler in running if handler and not handler.is_private]
        names = " or ".join(last)  # none, as where many clients log in at once, and there is no app
        if names:
            self._standstill.note(elapsed_s, f"{names} was called last in a turn that took")
        else:
            self._standstill.note(
                elapsed_s, "no handler of the app was called last in a turn that took"
            )
        if elapsed_s - TURN_S <= self.options.slow_handler_s:
            return
        self.slow_turns += 1
        if names:
            log.warning(
                "a turn took %.0f ms; the last call was to %s: if that took so long, move its work "
                "to a thread",
                elapsed_s * 1000,
                names,
            )
        else:
            log.warning(
                "a turn took %.0f ms, and the last call was not to a handler of the app",
                elapsed_s * 1000,
            )

    def check_thread(self) -> None:
        """Refuse a call from another thread, before anything has changed.

        Raises:
            LocalProtocolError: the runtime belongs to another thread; nothing was done.
        """
        if get_ident() != self._thread:
            raise LocalProtocolError("the runtime belongs to another thread, and nothing was done")

    async def start_service(
        self, name: str, service: Service, *, end: Callable[[], None] | None = None
    ) -> Any:
        """Run a service until the runtime ends; return when it has started.

        Services end one after the other, the one that was started last first, because those that
        were started later may use the others. Connections are still driven then.

        Args:
            name: the name of the service for the log.
            service: the function that runs the service.
            end: asks it to return by itself, such as when its peers have their last answers. It is
                cancelled if that takes longer than END_S. None cancels it at once.
        Returns:
            What the service passed to task_status.started.
        Raises:
            Exception: what the service raises before it has started. What it raises later ends the
                program.
        """
        self.check_thread()
        running = _Running(name, end)
        return await self._services.start(partial(self._run_service, running, service), name=name)

    async def _run_service(
        self,
        running: _Running,
        service: Service,
        *,
        task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._running.append(running)
        try:
            with running.scope:
                await service(task_status=task_status)
        except ConfigurationError:
            raise  # it says itself what is wrong, and where
        except Exception:
            log.error("the service %s has failed: the program ends", running.name)
            raise  # RUN-04
        finally:
            self._running.remove(running)
            running.ended.set()

    async def _end_services(self) -> None:
        if self._running:  # RUN-25
            names = sorted(running.name for running in self._running)
            log.info("ending the services %s", ", ".join(names))
        while self._running:
            last = self._running[-1]
            if last.end is None:
                last.scope.cancel()
            else:
                last.end()  # RUN-42
                last.scope.deadline = trio.current_time() + END_S
            await last.ended.wait()
            if last.scope.cancelled_caught and last.end is not None:
                log.warning("the service %s took longer and is cancelled", last.name)

    @asynccontextmanager
    async def running_jobs(self, jobs: Workers, *, grace_s: float) -> AsyncIterator[None]:
        """Run a job pool while the block runs, in the ring of handlers.

        Args:
            jobs: the pool.
            grace_s: how long jobs may go on after the block, before they are cancelled.
        """
        jobs.slow_handler_s = self.options.slow_handler_s
        jobs.note_s, jobs.note = self._note_s, self._standstill.note
        jobs.fences, jobs.wait_fenced = self.poller.fences, self.poller.wait_fenced
        self._pools.append(jobs)
        try:
            async with alone(trio.open_nursery()) as nursery:
                jobs.start(nursery)
                yield
                if jobs.count:
                    log.info("waiting up to %g s for %d handlers", grace_s, jobs.count)
                with trio.move_on_after(grace_s):  # RUN-21
                    await jobs.wait_idle()
                if jobs.count:
                    log.warning("%d handlers took longer and are cancelled", jobs.count)
                nursery.cancel_scope.cancel()
        finally:
            jobs.stop()
            self._pools.remove(jobs)

    @asynccontextmanager
    async def holding(self, connections: Connections, *, flush_s: float) -> AsyncIterator[None]:
        """Keep a group of connections open while the block runs.

        Args:
            connections: the group.
            flush_s: how long peers may take to accept their last bytes after the block, before
                their connections are aborted.
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
            with trio.move_on_after(flush_s):  # RUN-22
                await connections.wait_empty()
        finally:
            connections.abort_all()

    @asynccontextmanager
    async def listening(
        self, connections: Connections, *endpoints: Endpoint, balance: Balance | None = None
    ) -> AsyncIterator[list[Any]]:
        """Accept connections into a group while the block runs.

        The block is given the addresses of the listening sockets.

        Args:
            connections: the group.
            endpoints: where to listen.
            balance: of the processes that share the listening sockets; None if no other has them.
        Raises:
            ConfigurationError: it is not possible to listen at an endpoint.
            Exception: what the block has raised, as itself and not in a group.
        """
        self.check_thread()
        async with AsyncExitStack() as stack, alone(trio.open_nursery()) as listeners:
            addresses: list[Any] = []
            for endpoint in endpoints:
                for listener in await stack.enter_async_context(endpoint.listen()):
                    addresses.append(listener.getsockname())
                    accept = partial(_accept, connections, endpoint)
                    wait_place = connections.wait_place
                    if balance is None:
                        listeners.start_soon(accept_forever, listener, accept, wait_place)
                    else:
                        count = connections.__len__
                        listeners.start_soon(
                            accept_fairly, listener, accept, balance, count, wait_place
                        )
            yield addresses
            listeners.cancel_scope.cancel()


def _accept(
    connections: Connections, endpoint: Endpoint, sock: socket.socket, address: str
) -> None:
    connections.accept(sock, address, endpoint.tls)


@asynccontextmanager
async def open_runtime(options: RuntimeOptions | None = None) -> AsyncIterator[Runtime]:
    """Open a runtime for the block; it belongs to the calling thread.

    Raises:
        Exception: what the block or a service has raised. A single exception is raised as itself
            and not in a group.
    """
    options = options or RuntimeOptions()
    poller, deadlines = create_poller(), Deadlines(options.deadline_slack_s)
    async with alone(poller.running()), alone(trio.open_nursery()) as walks:
        walks.start_soon(deadlines.run, poller.read_ready)
        async with alone(trio.open_nursery()) as services:
            runtime = Runtime(options, poller, deadlines, services)
            yield runtime
            await runtime._end_services()  # RUN-03: after everything that the block has mounted
        walks.cancel_scope.cancel()
