"""A server on a runtime: its engines, its routes, its connections, and how they end."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.engine.listener import NOBODY, check_listener
from trio_socketio.engine.refusals import RefusalLog
from trio_socketio.engine.server import EngineParts, EngineServer, new_node_name
from trio_socketio.engine.sessions import SessionLog
from trio_socketio.engine.unjoined import Unjoined
from trio_socketio.errors import ConfigurationError
from trio_socketio.http.cors import Cors
from trio_socketio.http.routes import Routes
from trio_socketio.http.server import encode_busy, open_http_connections
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.fence import Fence
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.runtime import Runtime
from trio_socketio.socketio.client_files import client_routes
from trio_socketio.socketio.reading import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.listener import Listener
    from trio_socketio.engine.session import OpenSession, Session
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.namespaces import Namespaces
    from trio_socketio.socketio.options import ServerGroups
    from trio_socketio.socketio.stopping import Stopping

log = logging.getLogger(__name__)

_RESTART: Final = 1012  # WebSocket close code "service restart": the client should come back
_STOPPING: Final = "server shutting down"


@dataclass(frozen=True, slots=True)
class Mount:
    """The parts of a server that exist only while it is mounted.

    Args:
        runtime: drives it.
        connections: bring its requests.
        engine: of the Socket.IO path.
        engines: that one, and those of mounted paths.
        cors: the rules for pages of other origins.
        unjoined: bounds the sessions that have joined nothing.
        fence: of the lease that the node holds, if it has one.
    """

    runtime: Runtime
    connections: Connections
    engine: EngineServer
    engines: tuple[EngineServer, ...]
    cors: Cors
    unjoined: Unjoined
    fence: Fence

    def apply(self, options: "ServerGroups") -> None:
        """Give their new groups to the owners of options that can be changed (CFG-14)."""
        self.cors.apply(options.cors, options.origin_checks)
        self.unjoined.apply(options.engine)
        self.connections.apply(options.connections, encode_busy(self.cors.headers_for))
        if self.engine.forwarding is not None:
            self.engine.forwarding.limit(options.connections)

    @asynccontextmanager
    async def serving(self, host: "Host") -> AsyncIterator[None]:
        """Serve while the block runs; then end sessions, handlers and connections (RUN-02)."""
        stop, poller = host.options.stop, self.runtime.poller
        try:
            async with (
                self.runtime.holding(self.connections, flush_s=stop.flush_s),
                alone(trio.open_nursery()) as tasks,
            ):
                tasks.start_soon(host.intake.run, host.workers.pass_fences)
                async with self.runtime.running_jobs(host.workers, grace_s=stop.grace_s):
                    yield
                    await self._close_sessions(host.stopping)
                    await poller.wait_settled()
                    if host.recovery is not None:
                        host.recovery.stop()
                with trio.move_on_after(stop.flush_s):
                    for engine in self.engines:
                        await engine.wait_ended()
                tasks.cancel_scope.cancel()
        finally:
            for engine in self.engines:
                engine.close_all(_STOPPING, code=_RESTART)
            poller.settle_all()  # all sockets leave before the adapters are closed
            for lines in (self.engine.session_log, self.engine.refusal_log, host.refusal_log):
                lines.flush()

    async def _close_sessions(self, stopping: "Stopping") -> None:
        """Close every session, spread over a window, and open no more."""
        for engine in self.engines:
            engine.open_no_more()
        sessions = [session for engine in self.engines for session in engine.sessions.values()]
        closings: list[Callable[[], None]] = [partial(_close, session) for session in sessions]
        forwarding = self.engine.forwarding
        if forwarding is not None:
            passing = forwarding.drain()
            if passing:
                log.info("closing %d connections that lead to other nodes, too", len(passing))
            closings = _mix(closings, passing)
        await stopping.close_all(closings, _call)


def _mix(
    first: "list[Callable[[], None]]", second: "list[Callable[[], None]]"
) -> "list[Callable[[], None]]":
    """Spread the items of two lists evenly over one."""
    placed = [
        (number / len(items), one) for items in (first, second) for number, one in enumerate(items)
    ]
    return [one for _, one in sorted(placed, key=lambda item: item[0])]


def _call(closing: "Callable[[], None]") -> None:
    closing()


def _close(session: "Session") -> None:
    session.close(_STOPPING, code=_RESTART)


def _open_checked(
    workers: "Workers", path: str, open_session: "OpenSession", session: "Session"
) -> "Listener":
    """Have the app open a session. If it fails, that is its failure, and costs this session."""
    try:
        return check_listener(open_session(session))
    except BaseException as error:
        session.lose("transport error")
        workers.log_failure(f"open_session of {path}", "", error)
        return NOBODY


def open_mount(
    host: "Host",
    namespaces: "Namespaces",
    runtime: Runtime,
    paths: "Mapping[str, OpenSession]",
) -> Mount:
    """Put the parts of a server together. Nothing is started.

    Args:
        host: the options and parts of the server.
        namespaces: of the server.
        runtime: drives it.
        paths: the further paths where bare Engine.IO is served, and what opens their sessions.
    Raises:
        ConfigurationError: two parts want the same path, or a folder is missing.
    """
    options, workers = host.options, host.workers
    poller, deadlines = runtime.poller, runtime.deadlines
    proxies = options.http.trusted_proxies
    cors = Cors(options.cors, workers, options.origin_checks, proxies)
    parts = EngineParts(
        poller,
        deadlines,
        options.connections,
        workers,
        cors,
        proxies,
        host.engine,
        options.hooks,
        (host.forwarding.prefix if host.forwarding else options.engine.sid_prefix)
        or new_node_name(),
        SessionLog(deadlines),
        RefusalLog(proxies, deadlines),
        host.counts,
        host.forwarding,
    )

    def open_socketio(session: "Session") -> "Listener":
        return open_reader(host, namespaces, session)

    engine = EngineServer(options.engine, parts, open_socketio)
    unjoined = Unjoined(options.engine, proxies)
    engine.bound_unjoined(unjoined)
    engines = {options.engine.path: engine}
    for path, open_session in paths.items():
        if path.rstrip("/") == options.engine.path.rstrip("/"):  # changed after Server.mount
            raise ConfigurationError(
                f"{path} is asked for twice: it is mounted by the app, and the path of Socket.IO"
            )
        opens = partial(_open_checked, workers, path, open_session)
        engines[path] = other = EngineServer(options.engine, parts, opens)
        other.bound_unjoined(unjoined)  # until the app says Session.joined
    routes = Routes(destroy_upgrade=options.engine.destroy_upgrade, error_headers=cors.headers_for)
    for path, page in host.pages.items():
        routes.add(path, page)
    for path, target in engines.items():
        routes.add_tree(path, target.receive_request)
    client = client_routes(options.client_files, options.engine.path, cors, workers, poller)
    for path, handler in client.items():
        routes.add(path, handler)
    connections = open_http_connections(
        poller,
        deadlines,
        options.connections,
        options.http,
        routes.receive_request,
        cors.headers_for,
        host.counts.http,
        host.counts.websocket,
    )
    if host.forwarding is not None:
        host.forwarding.begin(
            routes.receive_request, cors.headers_for, options.engine.max_http_buffer_size_bytes
        )
    fence = Fence(poller.fences)
    return Mount(runtime, connections, engine, tuple(engines.values()), cors, unjoined, fence)
