"""The server: its namespaces, where it listens, how it starts and ends."""

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from threading import get_ident
from typing import Any, overload

import trio

from trio_socketio.codec.parsers import Parser
from trio_socketio.engine.hooks import Engine
from trio_socketio.engine.session import OpenSession
from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.option_checks import check_path, check_seconds
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import Endpoint, TcpEndpoint, UnixEndpoint, bind
from trio_socketio.runtime.fence import Fence
from trio_socketio.runtime.runtime import Runtime, open_runtime
from trio_socketio.signatures import check_function
from trio_socketio.socketio.adapter import Adapter
from trio_socketio.socketio.channel import Channel
from trio_socketio.socketio.from_thread import Calls, FromThread
from trio_socketio.socketio.handlers import Function
from trio_socketio.socketio.host import Host
from trio_socketio.socketio.lifecycle import Lifecycle, State
from trio_socketio.socketio.lifespans import Lifespans
from trio_socketio.socketio.mount import Mount, open_mount
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.namespaces import AdapterFactory, Namespaces
from trio_socketio.socketio.options import (
    ServerOptions,
    group_options,
    runtime_options,
    take_over,
)
from trio_socketio.socketio.parent_namespace import Matcher, ParentNamespace, check_matcher
from trio_socketio.socketio.registrar import Observer, check_observer
from trio_socketio.socketio.statistics import Statistics
from trio_socketio.socketio.steps import Step

log = logging.getLogger(__name__)

Lifespan = Callable[["Server"], AsyncIterator[None]]
"""Runs around the time in which a server serves; see Server.lifespan."""


class Server(Channel):
    """A Socket.IO server. What is registered with it, or broadcast from it, is for "/".

    Nothing is started before ``await server.serve(...)`` or ``open_server``.

    Args:
        options: see ServerOptions.
        adapter: makes the adapter of each namespace; the default one serves a single node.
        parser: its name, or one of your own; None means the one that the options name.

    Raises:
        ConfigurationError: the options or the parser cannot be used.
        LocalProtocolError: the adapter cannot be made with a namespace.

    Attributes:
        engine: middleware and events of the HTTP requests below Socket.IO.
        from_thread: emits, and more, from threads other than the one in which the server serves.
        namespaces: those that exist, by name. Do not change it.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        adapter: AdapterFactory = Adapter,
        parser: str | Parser | None = None,
    ) -> None:
        self.engine = Engine()
        self._mounts: dict[str, OpenSession] = {}
        self._running: Mount | None = None
        self._lifespans = Lifespans()
        self._lifecycle = Lifecycle()
        check_function("adapter", adapter, ("namespace",))  # SURF-61
        self._options = ServerOptions() if options is None else options
        self._host = Host(group_options(self._options), self.engine, parser)
        self._namespaces = Namespaces(self._host, adapter)
        self.namespaces = self._namespaces.by_name
        main = self._namespaces.main
        super().__init__(main._registry, main)
        self._workers = self._host.workers
        self._calls = Calls(self._workers)
        self.from_thread = FromThread(self._calls, self, self)

    @property
    def options(self) -> ServerOptions:
        """The options. They can be changed while the server does not serve.

        Raises:
            LocalProtocolError: they are set while it serves; nothing was changed.
        """
        return self._options

    @options.setter
    def options(self, options: ServerOptions) -> None:
        if not self._lifecycle.is_idle:  # RUN-28
            raise LocalProtocolError("the server is running: set its options before it serves")
        self._host.options = group_options(options)
        self._options = options

    def apply(self, options: ServerOptions) -> tuple[str, ...]:
        """Apply those options that can be changed while the server serves.

        These are cors_origins and the other options of `CorsOptions`, max_connections,
        max_connections_per_address, max_unjoined_sessions, max_unjoined_sessions_per_address,
        session_rate_per_address and session_burst_per_address.
        They hold for new connections and requests; connected clients stay connected.

        Returns:
            The names of the other options whose new values differ, and which keep their old
            ones. To set them, stop the server and set `options`.
        Raises:
            ConfigurationError: the options cannot be used; nothing was changed.
            LocalProtocolError: it was called in another thread; nothing was changed.
        """
        self._workers.check_thread()
        self._options, waiting = take_over(self._options, options)
        self._host.options = groups = group_options(self._options)
        if self._running is not None:
            self._running.apply(groups)
        return waiting

    @overload
    def of(self, name: str) -> Namespace: ...

    @overload
    def of(self, name: Matcher) -> ParentNamespace: ...

    def of(self, name: str | Matcher) -> Namespace | ParentNamespace:
        """Return the namespace of that name, or the parent of all names that a matcher accepts.

        It is created if need be. When a client asks for a name that does not exist, the matchers
        are asked in their order, and the first that accepts it is the parent of the new namespace.
        Matchers say which names exist, not who may join: once a namespace exists, only its
        middleware is asked.

        Args:
            name: a leading slash may be left out; or a compiled pattern that the whole name must
                match; or a predicate, plain or async, called with the name and the CONNECT's
                payload. One that raises does not accept the name.
        Raises:
            LocalProtocolError: no namespace can have this name.
        """
        if isinstance(name, str):
            return self._namespaces.find_or_create(name)
        return self._namespaces.parent_of(check_matcher(name))

    async def remove(self, name: str, reason: str = "namespace removed") -> None:
        """End a namespace: disconnect its clients and forget it. `of` makes a new one of that name.

        Clients that ask for it later are told that it does not exist. Its saved sessions expire.
        The method returns when all clients are out and the handlers of their events have ended, or
        have had REMOVAL_S. A handler of the namespace may call it, and is not waited for then; but
        it must not wait for another task that calls it, since that task waits for the handler.

        If it is cancelled, either nothing has changed, or all clients are out and the adapter is
        closed.

        Args:
            name: of a namespace that `of` or a client has created; not the main one.
            reason: told to "disconnect" handlers, and to clients that are joining.
        Raises:
            LocalProtocolError: there is no such namespace, or it is the main one.
        """
        await self._namespaces.remove(name, reason)

    def add_steps(self, steps: Iterable[Step]) -> None:
        """Add steps to every namespace, also those created later; see Namespace.add_steps.

        Raises:
            LocalProtocolError: these are not steps.
        """
        self._namespaces.everywhere.add_steps(steps)

    def observe(self, observer: Observer) -> None:
        """Tell observer of the sockets of every namespace, also those created later."""
        self._namespaces.everywhere.observe((check_observer(observer),))

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """Register the handler of an event of the main namespace; see Namespace.on.

        The event "new_namespace" is the server's own. Its handlers, of which there may be several,
        are plain functions that are called with every namespace created from now on, before any
        client joins it.
        """
        if event != "new_namespace":
            return super().on(event, concurrent=concurrent)
        return self._namespaces.on_created

    def mount(self, path: str, open_session: OpenSession) -> None:
        """Serve bare Engine.IO at another path of the same port.

        Its sessions count as sessions that have joined nothing (`max_unjoined_sessions`), until the
        app calls `session.joined()` because it knows the client.

        Args:
            path: absolute; a trailing slash is added.
            open_session: called with every new session; returns its Listener.
        Raises:
            LocalProtocolError: the path is served already.
        """
        self._workers.check_thread()
        check_path(path)
        check_function("open_session", open_session, ("session",))
        path = path.rstrip("/") + "/"
        if path in self._mounts or path.rstrip("/") == self.options.path.rstrip("/"):
            raise LocalProtocolError(f"{path} is served already")
        self._mounts[path] = open_session

    def statistics(self) -> Statistics:
        """Return what the server does at the moment; zeros where it does not serve."""
        namespaces = tuple(self.namespaces.items())  # a copy, as another thread may call this
        return self._summarize(
            {name: len(space.sockets) for name, space in namespaces},
            sum(len(space._joinings) for _, space in namespaces),
        )

    def _summarize(self, sockets: dict[str, int], joining: int) -> Statistics:
        """Add all other numbers to those of the namespaces."""
        running, recovery = self._running, self._host.recovery
        unjoined = running.engine.unjoined if running else None
        return Statistics(
            connections=len(running.connections) if running else 0,
            connections_refused=running.connections.refused if running else 0,
            sessions=len(running.engine.sessions) if running else 0,
            sessions_unjoined=len(unjoined) if unjoined else 0,
            sessions_refused=unjoined.refused if unjoined else 0,
            sockets=sockets,
            joining=joining,
            packets_dropped=running.engine.packets_dropped + running.connections.writes_dropped
            if running
            else 0,
            handler_failures=self._workers.failed,
            events_dropped=self._workers.events_dropped,
            input_held=self._host.intake.held,
            input_dropped=self._host.intake.dropped,
            defects=running.runtime.poller.failures if running else 0,
            sessions_saved=recovery.session_count if recovery else 0,
            sessions_recovered=recovery.recovered if recovery else 0,
            sessions_expired=recovery.expired if recovery else 0,
            recoveries_refused=recovery.refused if recovery else 0,
        )

    @property
    def _fence(self) -> Fence:
        """The fence of this server, for one lifespan that holds a lease for it."""
        assert self._running is not None, "the server does not serve"
        return self._running.fence

    # -- serving

    @property
    def state(self) -> str:
        """The stage of its life: "idle", "starting", "serving" or "stopping"."""
        return self._lifecycle.told

    def stop(self, *, delay_s: float | None = None, window_s: float | None = None) -> None:
        """Begin to stop: accept no new client, close all sessions, and let `serve` return.

        A stop is never lost. While the server starts, it stops as soon as it has started. While it
        does not serve, the stop is kept, and the next `serve` ends as soon as it has started. While
        a stop is under way, another one may bring it forward, but never puts it off (OPS-31).

        Args:
            delay_s: how long new clients are still accepted; None means the value of the options.
            window_s: the time over which sessions are closed after that; None likewise.
        Raises:
            OptionError: a time is not a number of seconds.
        """
        self._workers.check_thread()
        options, state = self._host.options.stop, self._lifecycle.state
        delay_s = options.delay_s if delay_s is None else check_seconds("delay_s", delay_s)
        window_s = options.window_s if window_s is None else check_seconds("window_s", window_s)
        if state in (State.SERVING, State.STOPPING):
            self._host.stopping.ask(delay_s, window_s, is_first=state is State.SERVING)
        self._lifecycle.stop()

    async def serve(
        self,
        *,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 3000,
        unix_path: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
        endpoints: Sequence[Endpoint] = (),
        runtime: Runtime | None = None,
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` is called or the task is cancelled.

        Args:
            host: a name or address to listen at, or several; "all" means every address of the
                machine, IPv4 and IPv6.
            port: the same for all of them; 0 takes a free one.
            unix_path: listen at this Unix socket instead.
            ssl_context: speak TLS.
            endpoints: listen at all of these instead: TCP, Unix and inherited ones, each with or
                without TLS.
            runtime: the runtime of the server; None opens one that ends with the server. See
                `mounted` for several servers on one.
            task_status: told the addresses, as socket.getsockname returns them.
        Raises:
            ConfigurationError: the server cannot listen there.
            LocalProtocolError: it is running already.
        """
        if endpoints and (ssl_context is not None or unix_path is not None):
            raise ConfigurationError(
                "ssl_context and unix_path have no effect beside endpoints: give each endpoint its "
                "own, as in TcpEndpoint(port=443, tls=context)"
            )
        if not endpoints:
            tcp = TcpEndpoint(host, port, ssl_context)
            endpoints = (tcp if unix_path is None else UnixEndpoint(unix_path, tls=ssl_context),)
        if runtime is not None:
            runtime.check_thread()
        with self._lifecycle.running():
            opened = open_runtime(runtime_options(self._host.options))
            async with opened if runtime is None else nullcontext(runtime) as on:
                await self._serve(on, endpoints, task_status)

    async def _serve(
        self,
        runtime: Runtime,
        endpoints: Sequence[Endpoint],
        task_status: trio.TaskStatus[list[Any]],
    ) -> None:
        async with AsyncExitStack() as opened:
            bound = [await opened.enter_async_context(bind(endpoint)) for endpoint in endpoints]
            connections = await opened.enter_async_context(self._mounted(runtime))
            addresses = await opened.enter_async_context(runtime.listening(connections, *bound))
            task_status.started(addresses)
            await self.wait_closing()

    @asynccontextmanager
    async def mounted(self, runtime: Runtime) -> AsyncIterator[Connections]:
        """Serve on a runtime while the block runs. Listen there for the connections that it yields.

        ::

            async with open_runtime() as runtime, sio.mounted(runtime) as connections:
                async with runtime.listening(connections, TcpEndpoint(port=3000)):
                    await sio.wait_stopping()

        At the end of the block the sessions end, then the handlers, the lifespans and the adapters.
        Each stage has its time, and the log says what it waits for (RUN-02).

        Raises:
            ConfigurationError: an option asks for what the adapter or the parser cannot do.
            LocalProtocolError: the server is mounted already.
        """
        runtime.check_thread()
        with self._lifecycle.running():
            async with self._mounted(runtime) as connections:
                yield connections

    @asynccontextmanager
    async def _mounted(self, runtime: Runtime) -> AsyncIterator[Connections]:
        self._workers.thread = get_ident()
        dropped_before = self._workers.events_dropped
        try:
            self._workers.queue_bound = self.options.handler_queue
            running = self._running = open_mount(
                self._host, self._namespaces, runtime, self._mounts
            )
            self.engine._set_running(running.engine)
            self._host.begin(runtime.deadlines)
            self._namespaces.begin()
            async with (
                self._running_adapters(),
                self._lifespans.entered(self, self._host.options.stop.grace_s),
                running.serving(self._host),
            ):
                self._calls.open()
                self._lifecycle.started()
                yield running.connections
                self._lifecycle.stop()
                self._calls.close()
                dropped_before = self._workers.events_dropped
        finally:
            self._calls.abandon()
            if self._running is not None:
                self._running.fence.close()
            self._running = None
            self.engine._set_running(None)
            self._workers.thread = None
            self._workers.failures.flush()
            dropped = self._workers.events_dropped - dropped_before
            if dropped:
                log.warning("%d events still waited for handlers and were dropped", dropped)

    @asynccontextmanager
    async def _running_adapters(self) -> AsyncIterator[None]:
        """Start the adapters before anything else, and close them last."""
        try:
            await self._namespaces.start_adapters()
            yield
        finally:
            self._namespaces.close_adapters()

    async def wait_stopping(self) -> None:
        """Wait until `stop` is called, or the server ends without that.

        It may be called before the server serves, and then waits for the end of the next serving.
        """
        await self._lifecycle.wait_stopping()

    async def wait_closing(self) -> None:
        """Wait until a stop is asked for and its delay is over, when listeners have to close."""
        await self._lifecycle.wait_stopping()
        await self._host.stopping.wait_accepting_over()

    def lifespan(self, function: Lifespan) -> Lifespan:
        """Register what runs around the time in which the server serves: tasks, connections.

        It is an async generator function that yields once. What is before its ``yield`` is done
        before the server accepts clients; what is behind it, when the last handler has ended. It
        may emit on both sides, and hold a nursery open. Several are entered in order of
        registration, and left in the reverse order. Each may take stop_grace_s behind its
        ``yield``; one that takes longer is cancelled, and the log says so (RUN-23).

        An exception that it raises, or one of its tasks, ends the server.

        Raises:
            LocalProtocolError: the server is running, or it is not an async generator function.
        """
        if not self._lifecycle.is_idle:
            raise LocalProtocolError("the server is running: register lifespans before it serves")
        self._lifespans.add(function)
        return function
