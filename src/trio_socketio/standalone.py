"""The composition root of the binary: makes a running program out of a configuration.

A reload loads a new configuration from the same sources. `reloading.plan` does everything that
takes time or can fail. Then the owners are handed their parts in one step without a checkpoint
(CFG-13).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from trio_socketio.app import App, load_app
from trio_socketio.configuration.checks import find_idle
from trio_socketio.configuration.loading import Loaded, Sources, load
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control.tokens import TokenTable
from trio_socketio.descriptors import fit_descriptors
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.presence.options import SEAT_OPTIONS, STORE_OPTIONS
from trio_socketio.ops.drain import drain
from trio_socketio.ops.systemd import Systemd, inherited_listeners
from trio_socketio.reloading import READ_S, Held, Plan, plan, put_into, read_files
from trio_socketio.runtime.endpoints import (
    InheritedEndpoint,
    RenewableEndpoint,
    TcpEndpoint,
    UnixEndpoint,
)
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.services import ProgramSystem, Services
from trio_socketio.signals import handled_signals
from trio_socketio.socketio.options import ServerOptions, group_options, runtime_options

if TYPE_CHECKING:
    import ssl

    from trio_socketio.configuration.options import ListenOptions
    from trio_socketio.ops.log import Log

log = logging.getLogger(__name__)

_MAX_THREADS: Final = 4
"""How many reads may hang, each in a thread that cannot be ended, before no more are begun."""
_EVERYBODY: Final = (
    "no client is asked who it is: everybody may enter, unless the app refuses it; to change that, "
    "set [identity] in a configuration file (trio-socketio init shows its options)"
)
_UNREAD: Final = f"the configuration and the files that it names were not read within {READ_S:g} s"

T = TypeVar("T")


def load_program(
    sources: Sources, loaded: Loaded, program_log: "Log", version: str = ""
) -> "Program":
    """Load the app.

    Args:
        sources: where the configuration comes from; a reload reads them again.
        loaded: what was loaded from them.
        program_log: the log of the program, which is open.
        version: of the program.
    Raises:
        ConfigurationError: the app cannot be used.
    """
    app_option = loaded.settings.get(("app", "spec"))
    try:
        app = load_app(
            loaded.configuration.app.spec,
            loaded.given(),
            "--app" if app_option is None else app_option.where,
            sources.explain,
            _namespaces_of(loaded.configuration),
        )
    except OptionError as error:
        raise sources.explain(error) from None
    program = Program(sources, loaded, app, program_log, version)
    for warning in find_idle(
        program.configuration, loaded.settings, sources.flags, sources.inherited
    ):
        log.warning("%s", warning)
    return program


def _namespaces_of(configuration: Configuration) -> list[str] | None:
    """Return the namespaces that a server without an app has; None for the lobby."""
    if configuration.identity.asks or configuration.chat.namespaces:
        return configuration.named_namespaces()
    return None


class Program:
    """The standalone server: an app, its endpoints, and the configuration that holds.

    It has 13 attributes: what it was made of, what it serves, and the start and reload under way.

    Attributes:
        server: the app's server.
    """

    def __init__(
        self, sources: Sources, loaded: Loaded, app: App, program_log: "Log", version: str
    ) -> None:
        self.server = app.server
        options = app.server.options
        configuration = put_into(loaded.configuration, options)
        self._held = Held(configuration, options, {}, TokenTable())
        self._sources = sources
        self._log = program_log
        self._app = app
        self._check_presence(loaded)
        self._version = version
        self._systemd = Systemd()
        self._services: Services | None = None
        self._endpoints: list[RenewableEndpoint] = []
        self._reloading = trio.Lock()
        self._reload_asked = trio.Event()
        self._starting = trio.CancelScope()  # the start of the services
        self._threads = trio.CapacityLimiter(_MAX_THREADS)  # the default one serves others, too

    @property
    def configuration(self) -> Configuration:
        """The options that hold, those that the app sets itself included."""
        return self._held.configuration

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in stages; a second signal ends it at once.

        max_connections is lowered to what the limit of open files allows. SIGHUP reloads.

        Raises:
            ConfigurationError: the address, or a file that the configuration names, cannot be used.
        """
        with (
            trio.CancelScope() as scope,
            handled_signals(self._stop, partial(_cancel, scope), self._ask_to_reload),
        ):
            await self._serve()
        log.info("stopped")

    async def _serve(self) -> None:
        server = self.server
        wanted = server.options.max_connections
        forwards = self.configuration.cluster.internal is not None
        fitting = fit_descriptors(wanted, forwards=forwards)
        server.options = replace(server.options, max_connections=fitting.max_connections)
        configuration = put_into(self.configuration, server.options)
        with trio.move_on_after(READ_S) as reading:
            self._held = await self._in_thread(
                partial(read_files, configuration, server.options, self._sources)
            )
        if reading.cancelled_caught:
            raise ConfigurationError(_UNREAD)
        listen = configuration.listen
        inherited = inherited_listeners()
        if inherited.public:
            listen = msgspec.structs.replace(listen, fds=inherited.public)
        certificate = self._held.certificates.get("listen")
        self._endpoints = _endpoints(listen, certificate and certificate.context)
        system = ProgramSystem(server, self, self._version, configuration.cluster.node)
        self._services = Services(server, system, self._held, self._log, inherited, self._systemd)
        async with (
            open_runtime(runtime_options(group_options(server.options))) as runtime,
            trio.open_nursery() as reloads,
        ):
            with self._starting:
                await self._services.start(runtime)  # first, as they end after the server
            if self._starting.cancelled_caught:  # CLUS-03
                return
            reloads.start_soon(self._reload_when_asked)
            serve = partial(server.serve, runtime=runtime, endpoints=self._endpoints)
            async with trio.open_nursery() as nursery:
                addresses: list[Any] = await nursery.start(serve)
                if fitting.change:  # logged now, so that the error of an address stands alone
                    # The default was not asked for, so lowering it is not worth a warning.
                    asked = wanted != ServerOptions().max_connections
                    log.log(WARNING if fitting.lowered and asked else INFO, fitting.change)
                if self._services.identity is None:  # IDENT-44
                    log.info(_EVERYBODY)
                path, secure = server.options.path, certificate is not None
                urls = [_url(address, path, secure=secure) for address in addresses]
                log.info("serving %s", ", ".join(urls))
                self._systemd.ready(f"serving {', '.join(urls)}")
            reloads.cancel_scope.cancel()

    async def _in_thread(self, read: Callable[[], T]) -> T:
        """Read files in a thread, because one may be on a slow disk, or never answer.

        If the caller is cancelled, the thread is left alone with what it reads.
        """
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._threads)

    def _stop(self, signal_name: str) -> None:
        log.info("received %s: stopping", signal_name)
        # A service may wait for as long as another program is away, such as Redis.
        self._starting.cancel()
        drain(self.server)

    # -- reload

    def _ask_to_reload(self) -> None:
        log.info("received SIGHUP: loading the configuration again")
        self._reload_asked.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked = trio.Event()
            try:
                await self.reload()
            except (ConfigurationError, TimeoutError):
                continue  # it is logged
            except Exception:
                # Memory or threads may have run out; clients are still served.
                log.exception("nothing was reloaded, and the configuration stays as it is")

    async def reload(self) -> Plan:
        """Load the configuration again, and apply the options that can be changed while serving.

        Connected clients keep their connections, and the limits with which they began. The log
        tells how the reload ended, whoever asked for it (CFG-13). If the caller is cancelled,
        nothing has changed.

        Raises:
            ConfigurationError: it cannot be used; nothing has changed.
            TimeoutError: it was not read within READ_S; nothing has changed.
        """
        try:
            with trio.move_on_after(READ_S):  # CFG-30
                async with self._reloading:
                    with self._systemd.reloading():
                        planned = await self._in_thread(self._plan)
                        self._apply(planned)
                    return planned
            raise TimeoutError(_UNREAD)
        except (ConfigurationError, TimeoutError) as error:
            log.error("nothing was reloaded, and the configuration stays as it is: %s", error)
            raise
        except trio.Cancelled:
            log.warning("a reload was given up: its caller has gone, or the server stops")
            raise

    def _check_presence(self, loaded: Loaded) -> None:
        """Refuse options for seats, or their store, beside those that the app gives (PRES-63).

        Raises:
            ConfigurationError: it names the first such option.
        """
        for place, setting in loaded.settings.items():
            if place[0] != "presence":
                continue
            if self._app.gives_seats and place[1] in SEAT_OPTIONS:
                done = "has made a Presence(server) of its own"
            elif self._app.gives_store and place[1] in STORE_OPTIONS:
                done = "has a Presence(server) with a store of its own"
            else:
                continue
            raise ConfigurationError(
                f"{setting.where} and the app contradict each other, because the app {done}: "
                "leave out one of them"
            )

    def _plan(self) -> Plan:
        runs_control = self._services is not None and self._services.runs_control
        loaded = load(self._sources)
        self._check_presence(loaded)
        return plan(self._held, loaded, self._app.own, self._sources, runs_control=runs_control)

    def _apply(self, planned: Plan) -> None:
        """Hand every owner what it goes by from now on: nothing but assignments."""
        self._held = held = planned.held
        # Each owner gets its part here; a further owner is one more line.
        self.server.apply(held.options)
        self._log.apply(held.configuration.log)
        endpoints = {"listen": self._endpoints}
        if self._services is not None:
            self._services.apply(held)
            endpoints |= self._services.endpoints
        for table in planned.renewed:
            for endpoint in endpoints[table]:
                if endpoint.tls is not None:  # the control socket's file speaks no TLS
                    endpoint.renew(held.certificates[table].context)
        _tell(planned)


def _tell(planned: Plan) -> None:
    for warning in planned.warnings:
        log.warning("%s", warning)
    for change in planned.changed:
        log.info("reloaded %s", change)
    for change in planned.needs_restart:
        log.warning("%s needs a restart", change)
    if not planned.changed:
        until = " that can be changed now" if planned.needs_restart else ""
        log.info("reloaded the configuration: nothing has changed%s", until)


def _cancel(scope: trio.CancelScope, signal_name: str) -> None:
    log.info("received %s: stopping", signal_name)
    scope.cancel()


def _endpoints(
    listen: "ListenOptions", context: "ssl.SSLContext | None"
) -> list[RenewableEndpoint]:
    if listen.fds:
        return [RenewableEndpoint(InheritedEndpoint(number, context)) for number in listen.fds]
    if listen.unix is not None:
        return [RenewableEndpoint(UnixEndpoint(listen.unix, tls=context))]
    return [RenewableEndpoint(TcpEndpoint(listen.host, listen.port, context))]


def _url(address: Any, path: str, *, secure: bool) -> str:
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{'https' if secure else 'http'}://{host}:{address[1]}{path}"
