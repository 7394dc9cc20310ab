"""The server: its namespaces, what it listens on, its start and its end."""

import logging
import os
import socket as socket_module
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Any, overload

import trio

from trio_socketio.codec.parsers import Parser
from trio_socketio.engine.client_bundle import ClientBundle, find_client
from trio_socketio.engine.cors import Cors
from trio_socketio.engine.hooked import create_engine
from trio_socketio.engine.hooks import Engine
from trio_socketio.engine.newcomers import Newcomers
from trio_socketio.engine.routes import Routes
from trio_socketio.engine.server import EngineServer, new_node_name
from trio_socketio.engine.session import OpenSession
from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.net.deadlines import Deadlines
from trio_socketio.net.listener import accept_forever, open_tcp_listeners, open_unix_listener
from trio_socketio.net.poller import Poller
from trio_socketio.net.pollers import create_poller
from trio_socketio.net.server import HttpServer
from trio_socketio.options import ServerOptions
from trio_socketio.socketio.adapter import Adapter
from trio_socketio.socketio.channel import Channel
from trio_socketio.socketio.from_thread import Calls, FromThread
from trio_socketio.socketio.handlers import Function
from trio_socketio.socketio.host import Host
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.namespaces import AdapterFactory, Namespaces
from trio_socketio.socketio.parent_namespace import Matcher, ParentNamespace
from trio_socketio.socketio.reading import open_reader
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Step

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""How long handlers may go on when the server stops, disconnect handlers included."""
FLUSH_S = 2.0
"""How long clients may take to accept the last bytes."""
_RESTART = 1012  # WebSocket close code: come back


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a running server.

    Args:
        connections: open connections, whatever they carry.
        connections_refused: answered 503 for being too many, since the start.
        sessions: Engine.IO sessions of the Socket.IO path.
        sessions_unjoined: of those, whose clients have not joined a namespace yet.
        sessions_refused: requests for a session that were answered 503 or 429, as too many had not.
        sockets: sockets by namespace.
        joining: clients that are on their way into a namespace.
        packets_dropped: sent to clients that were gone or, if volatile, behind.
        handler_failures: handlers and middleware that raised.
        events_dropped: that still waited for their handlers, "disconnect" among them, when the
            server stopped.
        input_held: weight of what clients have sent and their handlers have not finished with; see
            input_bound_bytes.
        input_dropped: large packets whose clients were lost, or closed for an overload, before it
            was their turn to be decoded.
        defects: exceptions that only the last barrier stopped.
        sessions_saved: whose clients were lost and may go on with them; see state_recovery.
        sessions_recovered: that clients went on with.
        sessions_expired: that were given up, each told to on_session_expired.
        recoveries_refused: clients that came back, and had to begin anew.
    """

    connections: int
    connections_refused: int
    sessions: int
    sessions_unjoined: int
    sessions_refused: int
    sockets: dict[str, int]
    joining: int
    packets_dropped: int
    handler_failures: int
    events_dropped: int
    input_held: int
    input_dropped: int
    defects: int
    sessions_saved: int
    sessions_recovered: int
    sessions_expired: int
    recoveries_refused: int


@dataclass(frozen=True, slots=True)
class Running:
    """What exists only while the server serves."""

    poller: Poller
    http: HttpServer
    engine: EngineServer
    engines: tuple[EngineServer, ...]


class Server(Channel):
    """A Socket.IO server. What is registered with it, and broadcast from it, is of "/".

    Nothing is started before ``await server.serve(...)`` or ``open_server``.

    Args:
        options: see ServerOptions.
        adapter: reaches other nodes; the default serves this one.
        parser: of your own; None is the one that the options name.

    Attributes:
        engine: middleware and events of the HTTP requests below it.
        from_thread: emits, and more, from threads other than the one that serves.
        namespaces: those that exist, by name. Do not change it.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        adapter: AdapterFactory = Adapter,
        parser: Parser | None = None,
    ) -> None:
        self.engine = Engine()
        self._mounts: dict[str, OpenSession] = {}
        self._running: Running | None = None
        self._stopping = trio.Event()
        self._serving = False
        self._host = Host(options or ServerOptions(), self.engine, parser)
        self._namespaces = Namespaces(self._host, adapter)
        self.namespaces = self._namespaces.by_name
        self.close_adapters = self._namespaces.close_adapters
        self.recovery = self._host.recovery
        main = self._namespaces.main
        super().__init__(main._registry, main)
        self.workers = self._host.workers
        self.intake = self._host.intake
        self._calls = Calls(self.workers)
        self.from_thread = FromThread(self._calls, self, self)

    @property
    def options(self) -> ServerOptions:
        """Those that are there when serving begins are the ones that count."""
        return self._host.options

    @options.setter
    def options(self, options: ServerOptions) -> None:
        self._host.options = options

    @overload
    def of(self, name: str) -> Namespace: ...

    @overload
    def of(self, name: Matcher) -> ParentNamespace: ...

    def of(self, name: str | Matcher) -> Namespace | ParentNamespace:
        """The namespace of that name, or the parent of all that a matcher accepts; new if need be.

        When a client asks for a name that does not exist, the matchers are asked in their order;
        the first that accepts it is the parent of the new namespace. They say which names there
        are, not who may join: once a namespace exists, only its middleware is asked.

        Args:
            name: a leading slash may be left out; or a compiled pattern that the whole name must
                match; or a predicate, plain or async, called with the name and the CONNECT's
                payload. One that raises does not accept.
        Raises:
            LocalProtocolError: there can be no such namespace.
        """
        if isinstance(name, str):
            return self._namespaces.find_or_create(name)
        return self._namespaces.parent_of(name)

    async def remove(self, name: str, reason: str = "namespace removed") -> None:
        """End a namespace: put everybody out, and forget it. `of` makes a new one of that name.

        Clients that ask for it later are told that it does not exist.

        Args:
            name: of a namespace that `of` or a client has made; not of the main one.
            reason: what "disconnect" handlers are told, and clients that are on their way in.
        Returns:
            When everybody is out, and the handlers of their events have ended or had REMOVAL_S.
        Raises:
            LocalProtocolError: there is no such namespace, or it is the main one.
        """
        await self._namespaces.remove(name, reason)

    def add_steps(self, steps: Iterable[Step]) -> None:
        """See Namespace.add_steps, of every namespace that is there or comes."""
        self._namespaces.everywhere.add_steps(steps)

    def observe(self, observer: Observer) -> None:
        """See Namespace.observe, of every namespace that is there or comes."""
        self._namespaces.everywhere.observe((observer,))

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """See Namespace.on, of the main namespace.

        "new_namespace" is the server's own: a plain function that is called with every namespace
        that is created from now on, before anybody joins it.
        """
        if event != "new_namespace":
            return super().on(event, concurrent=concurrent)
        return self._namespaces.on_created

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

    def prepare(self, deadlines: Deadlines) -> None:
        """Serving begins: the options hold from here on. Raises as Host.begin does."""
        self._host.begin(deadlines)
        self.recovery = self._host.recovery
        self._namespaces.begin()

    def statistics(self) -> Statistics:
        """What is going on. Zeros when the server does not serve."""
        running, recovery = self._running, self.recovery
        namespaces = tuple(self.namespaces.items())  # a thread that exports figures may ask
        newcomers = running.engine.newcomers if running else None
        return Statistics(
            connections=running.http.connection_count if running else 0,
            connections_refused=running.http.refused_count if running else 0,
            sessions=len(running.engine.sessions) if running else 0,
            sessions_unjoined=len(newcomers) if newcomers else 0,
            sessions_refused=newcomers.refused if newcomers else 0,
            sockets={name: len(space.sockets) for name, space in namespaces},
            joining=sum(len(space._joinings) for _, space in namespaces),
            packets_dropped=running.engine.packets_dropped + running.http.writes_dropped
            if running
            else 0,
            handler_failures=self.workers.failed,
            events_dropped=self.workers.events_dropped,
            input_held=self.intake.held,
            input_dropped=self.intake.dropped,
            defects=running.poller.failures if running else 0,
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
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until stop is called or the task is cancelled.

        Args:
            host: a name or address to listen on, or several; "all" is every address of the machine,
                IPv4 and IPv6.
            port: the same on all of them; 0 takes a free one.
            unix_path: listen there instead.
            ssl_context: speak TLS.
            task_status: told the addresses, as socket.getsockname gives them.
        Raises:
            ConfigurationError: cannot listen there.
        """
        if self._serving:
            raise LocalProtocolError("the server is running already")
        self._serving = True
        self.workers.thread = get_ident()
        dropped_before = self.workers.events_dropped
        self._stopping = trio.Event()
        listeners: list[socket_module.socket] = []
        unix_file: os.stat_result | None = None
        try:
            if unix_path is None:
                listeners = await open_tcp_listeners(host, port)
            else:
                listeners = [open_unix_listener(unix_path)]
                unix_file = os.stat(unix_path)
            await self._serve(listeners, ssl_context, task_status)
        finally:
            self._calls.abandon()
            if self._running is not None:
                self.close_adapters()
            self._running = None
            self.engine.set_running(None)
            self._serving = False
            self.workers.thread = None
            self.workers.failures.flush()
            dropped = self.workers.events_dropped - dropped_before
            if dropped:
                log.warning("%d events still waited for handlers and were dropped", dropped)
            for listener in listeners:
                listener.close()
            if unix_path is not None and unix_file is not None:
                _unlink_if_same(unix_path, unix_file)

    async def _serve(
        self,
        listeners: list[socket_module.socket],
        ssl_context: ssl.SSLContext | None,
        task_status: trio.TaskStatus[list[Any]],
    ) -> None:
        quickest = min(self.options.ping_interval_s, self.options.ping_timeout_s)
        deadlines = Deadlines(min(0.05, quickest / 40))
        poller = create_poller()
        poller.on_slow_turn(self.options.slow_handler_s, self.workers.log_slow)
        self.workers.slow_handler_s = self.options.slow_handler_s
        self.workers.queue_bound = self.options.handler_queue
        running = self._running = self._create_engines(poller, deadlines)
        self.engine.set_running(running.engine)
        self.prepare(deadlines)
        http = running.http
        async with poller.running(), trio.open_nursery() as services:
            services.start_soon(deadlines.run, poller.read_ready)
            services.start_soon(self.intake.run)
            try:
                async with trio.open_nursery() as handlers:
                    self.workers.start(handlers)
                    async with trio.open_nursery() as accepting:
                        for listener in listeners:
                            accepting.start_soon(
                                accept_forever,
                                listener,
                                lambda sock, peer: http.accept(sock, peer, ssl_context),
                            )
                        self._calls.open()
                        task_status.started([listener.getsockname() for listener in listeners])
                        await self._stopping.wait()
                        self._calls.close()
                        accepting.cancel_scope.cancel()
                    for listener in listeners:
                        listener.close()  # who comes now is refused at once
                    for engine in running.engines:
                        engine.close_all("server shutting down", code=_RESTART)
                    await poller.wait_settled()
                    if self.recovery is not None:
                        self.recovery.stop()
                    with trio.move_on_after(GRACE_S):
                        await self.workers.wait_idle()
                    with trio.move_on_after(FLUSH_S):
                        for engine in running.engines:
                            await engine.wait_ended()
                    http.finish_all()
                    with trio.move_on_after(FLUSH_S):
                        await http.wait_empty()
                    handlers.cancel_scope.cancel()
            finally:
                self.workers.stop()
                for engine in running.engines:
                    engine.close_all("server shutting down", code=_RESTART)
                http.abort_all()
                services.cancel_scope.cancel()

    def _create_engines(self, poller: Poller, deadlines: Deadlines) -> Running:
        node = new_node_name()

        options, workers = self.options, self.workers

        def create(open_session: OpenSession) -> EngineServer:
            return create_engine(
                options, poller, deadlines, open_session, node, workers, self.engine
            )

        engine = create(lambda session: open_reader(self._host, self._namespaces, session))
        engine.newcomers = Newcomers(options)
        engines = {options.path: engine}
        for path, open_session in self._mounts.items():
            if path.rstrip("/") == options.path.rstrip("/"):  # it may have changed meanwhile
                raise ConfigurationError(f"{path} is asked for twice: by an app and as the path")
            engines[path] = create(open_session)
        cors = Cors(options, workers)
        routes = Routes(destroy_upgrade=options.destroy_upgrade, error_headers=cors.headers_for)
        for path, target in engines.items():
            routes.add_tree(path, target.receive_request)
        if options.serve_client:
            folder = find_client(options.client_dist)
            bundle = ClientBundle(folder, cors, workers, poller)
            for path, handler in bundle.handlers(options.path).items():
                routes.add(path, handler)
        http = HttpServer(options, poller, deadlines, routes.receive_request, cors.headers_for)
        return Running(poller, http, engine, tuple(engines.values()))


def _unlink_if_same(path: Path, ours: os.stat_result) -> None:
    """Remove our Unix socket's file; a server that came after us has put its own there."""
    with suppress(OSError):
        if os.path.samestat(os.stat(path), ours):
            os.unlink(path)


@asynccontextmanager
async def open_server(
    server: Server,
    *,
    host: str | Sequence[str] = "127.0.0.1",
    port: int = 0,
    unix_path: Path | None = None,
    ssl_context: ssl.SSLContext | None = None,
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
