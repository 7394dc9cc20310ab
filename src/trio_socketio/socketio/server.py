"""The server: its namespaces, what it listens on, its start and its end."""

import inspect
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import trio

from trio_socketio.codec.parsers import Parser
from trio_socketio.engine.hooks import Engine
from trio_socketio.engine.ids import SOCKET_ID_CHARACTERS, RandomText
from trio_socketio.engine.session import OpenSession
from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.options import ServerOptions
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import Endpoint, TcpEndpoint, UnixEndpoint, bind
from trio_socketio.runtime.runtime import Runtime, RuntimeOptions, open_runtime
from trio_socketio.signatures import check_function
from trio_socketio.socketio.adapter import Adapter, AdapterFactory
from trio_socketio.socketio.from_thread import Calls, FromThread
from trio_socketio.socketio.mount import Mount, open_mount
from trio_socketio.socketio.namespaces import Namespaces
from trio_socketio.socketio.statistics import Statistics

log = logging.getLogger(__name__)

Lifespan = Callable[["Server"], AsyncIterator[None]]
"""Runs around the time in which a server serves."""


class Server(Namespaces):
    """A Socket.IO server. What is broadcast from it goes to the main namespace.

    Register handlers, then ``await server.serve(...)`` or use ``open_server``. Nothing is started
    before.

    Args:
        options: see ServerOptions.
        adapter: reaches other nodes; the default serves this one.
        parser: of your own; None is the one that the options name.

    Attributes:
        engine: middleware and events of the HTTP requests below it.
        from_thread: emits, and more, from threads other than the one that serves.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        adapter: AdapterFactory = Adapter,
        parser: Parser | None = None,
    ) -> None:
        self.engine = Engine()
        self.draw_id = RandomText().draw
        self._mounts: dict[str, OpenSession] = {}
        self._running: Mount | None = None
        self._lifespans: list[Callable[[Server], AbstractAsyncContextManager[None]]] = []
        self._stopping = trio.Event()
        self._serving = False
        super().__init__(options or ServerOptions(), adapter, parser)
        self._calls = Calls(self.workers)
        self.from_thread = FromThread(self._calls, self)

    def mount(self, path: str, open_session: OpenSession) -> None:
        """Serve bare Engine.IO at another path of the same port.

        Args:
            path: absolute; a trailing slash is added.
            open_session: called with every new session, returns its Listener.
        """
        self.workers.check_thread()
        path = path.rstrip("/") + "/"
        if path in self._mounts or path.rstrip("/") == self.options.path.rstrip("/"):
            raise LocalProtocolError(f"{path} is served already")
        self._mounts[path] = open_session

    def _server(self) -> "Server":
        return self

    # -- what the parts below and above need

    def new_socket_id(self) -> str:
        """Public name of a socket: random, and never its sid."""
        return self.draw_id(SOCKET_ID_CHARACTERS)

    def statistics(self) -> Statistics:
        """What is going on. Zeros when the server does not serve."""
        running, recovery = self._running, self.recovery
        namespaces = tuple(self.namespaces.items())  # a thread that exports figures may ask
        newcomers = running.engine.newcomers if running else None
        return Statistics(
            connections=len(running.connections) if running else 0,
            connections_refused=running.connections.refused if running else 0,
            sessions=len(running.engine.sessions) if running else 0,
            sessions_unjoined=len(newcomers) if newcomers else 0,
            sessions_refused=newcomers.refused if newcomers else 0,
            sockets={name: len(space.sockets) for name, space in namespaces},
            joining=sum(len(space.joinings) for _, space in namespaces),
            packets_dropped=running.engine.packets_dropped + running.connections.writes_dropped
            if running
            else 0,
            handler_failures=self.workers.failed,
            events_dropped=self.workers.events_dropped,
            input_held=self.intake.held,
            input_dropped=self.intake.dropped,
            defects=running.runtime.poller.failures if running else 0,
            sessions_saved=recovery.session_count if recovery else 0,
            sessions_recovered=recovery.recovered if recovery else 0,
            sessions_expired=recovery.expired if recovery else 0,
            recoveries_refused=recovery.refused if recovery else 0,
        )

    # -- serving

    def stop(self) -> None:
        """Accept nobody new, say goodbye to everybody, and let serve return. Plain."""
        self.workers.check_thread()
        self._stopping.set()

    async def serve(
        self,
        *,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 3000,
        unix_path: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
        endpoints: Sequence[Endpoint] = (),
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on a runtime of its own until stop is called or the task is cancelled.

        Args:
            host: a name or address to listen on, or several; "all" is every address of the machine,
                IPv4 and IPv6.
            port: the same on all of them; 0 takes a free one.
            unix_path: listen there instead.
            ssl_context: speak TLS.
            endpoints: listen at all of these instead: TCP, Unix and inherited ones, each with TLS
                or without.
            task_status: told the addresses, as socket.getsockname gives them.
        Raises:
            ConfigurationError: cannot listen there.
        """
        if not endpoints:
            tcp = TcpEndpoint(host, port, ssl_context)
            endpoints = (tcp if unix_path is None else UnixEndpoint(unix_path, tls=ssl_context),)
        if self._serving:
            raise LocalProtocolError("the server is running already")
        self._serving = True
        self._stopping = trio.Event()
        try:
            await self._serve(endpoints, task_status)
        finally:
            self._serving = False

    async def _serve(
        self, endpoints: Sequence[Endpoint], task_status: trio.TaskStatus[list[Any]]
    ) -> None:
        options = self.options
        quickest_s = min(options.ping_interval_s, options.ping_timeout_s)
        runtime_options = RuntimeOptions(
            slow_handler_s=options.slow_handler_s, deadline_slack_s=min(0.05, quickest_s / 40)
        )
        async with (
            open_runtime(runtime_options) as runtime,
            AsyncExitStack() as opened,
        ):
            bound = [await opened.enter_async_context(bind(endpoint)) for endpoint in endpoints]
            connections = await opened.enter_async_context(self.mounted(runtime))
            addresses = await opened.enter_async_context(runtime.listening(connections, *bound))
            task_status.started(addresses)
            await self._stopping.wait()
            if options.stop_delay_s:
                log.info("stopping: new clients are served for %g s more", options.stop_delay_s)
                await trio.sleep(options.stop_delay_s)

    @asynccontextmanager
    async def mounted(self, runtime: Runtime) -> AsyncIterator[Connections]:
        """Serve on a runtime while the block runs: listen there for what it gives.

        ::

            async with open_runtime() as runtime, sio.mounted(runtime) as connections:
                async with runtime.listening(connections, TcpEndpoint(port=3000)):
                    await sio.wait_stopping()

        The end of the block is the end of the sessions, then of the handlers, the lifespans and
        the adapters. Each stage has its time, and the log says what it waits for.

        Raises:
            ConfigurationError: an option asks for what the adapter or the parser cannot do.
            LocalProtocolError: it is mounted already.
        """
        runtime.check_thread()
        if self._running is not None:
            raise LocalProtocolError("the server is running already")
        self.workers.thread = get_ident()
        dropped_before = self.workers.events_dropped
        try:
            self.workers.queue_bound = self.options.handler_queue
            running = self._running = open_mount(self, runtime, self._mounts)
            self.engine.set_running(running.engine)
            self.prepare(runtime.deadlines)
            async with self._running_adapters(), AsyncExitStack() as lifespans:
                for lifespan in self._lifespans:
                    await lifespans.enter_async_context(lifespan(self))
                async with running.serving(self):
                    self._calls.open()
                    yield running.connections
                    self._calls.close()
        finally:
            self._calls.abandon()
            self._running = None
            self._stopping = trio.Event()
            self.engine.set_running(None)
            self.workers.thread = None
            self.workers.failures.flush()
            dropped = self.workers.events_dropped - dropped_before
            if dropped:
                log.warning("%d events still waited for handlers and were dropped", dropped)

    @asynccontextmanager
    async def _running_adapters(self) -> AsyncIterator[None]:
        """Start the adapters before anything else, and close them last."""
        try:
            for namespace in tuple(self.namespaces.values()):
                await namespace.start_adapter()
            yield
        finally:
            self.close_adapters()

    async def wait_stopping(self) -> None:
        """Wait until stop is called."""
        await self._stopping.wait()

    def lifespan(self, function: Lifespan) -> Lifespan:
        """Register what runs around the time in which the server serves: tasks, connections.

        An async generator that yields once. What is before its ``yield`` is done before the server
        accepts clients; what is behind it, when the last handler has ended. It may emit on both
        sides, and hold a nursery open. Several are entered in the order of their registration.

        What it raises, or a task of it, ends the server.

        Raises:
            LocalProtocolError: the server is running, or it is no async generator function.
        """
        if self._running is not None:
            raise LocalProtocolError("the server is running: register lifespans before it serves")
        if not inspect.isasyncgenfunction(function):
            raise LocalProtocolError(f"a lifespan is an async generator function, not {function!r}")
        check_function("lifespan", function, ("server",))
        self._lifespans.append(asynccontextmanager(function))
        return function


@asynccontextmanager
async def open_server(
    server: Server,
    *,
    host: str | Sequence[str] = "127.0.0.1",
    port: int = 0,
    unix_path: Path | None = None,
    ssl_context: ssl.SSLContext | None = None,
    endpoints: Sequence[Endpoint] = (),
) -> AsyncIterator[list[Any]]:
    """Serve while the block runs, then stop in order. Gives the addresses; see Server.serve.

    Raises:
        ConfigurationError: cannot listen there. It comes alone, not in a group.
    """

    async def serve(task_status: trio.TaskStatus[list[Any]]) -> None:
        await server.serve(
            host=host,
            port=port,
            unix_path=unix_path,
            ssl_context=ssl_context,
            endpoints=endpoints,
            task_status=task_status,
        )

    unusable: ConfigurationError | None = None
    async with trio.open_nursery() as nursery:
        try:
            addresses: list[Any] = await nursery.start(serve)
        except ConfigurationError as error:
            unusable = error
        else:
            yield addresses
            server.stop()
    if unusable is not None:
        raise unusable
