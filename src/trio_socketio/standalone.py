"""The composition root of the binary: makes a running program out of a configuration.

A reload loads a new configuration from the same sources. `reloading.plan` does everything that
takes time or can fail. Then the owners are handed their parts in one step without a checkpoint
(CFG-13).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from trio_socketio.app import App, load_app
from trio_socketio.cluster.workers.role import ALONE, Alone, Role
from trio_socketio.configuration.checks import find_idle
from trio_socketio.configuration.exposed import find_exposed
from trio_socketio.configuration.loading import Loaded, Sources, load
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control.tokens import TokenTable
from trio_socketio.descriptors import fit_descriptors
from trio_socketio.errors import ConfigurationError, ControlError, OptionError
from trio_socketio.im.presence.options import SEAT_OPTIONS, STORE_OPTIONS
from trio_socketio.lobby.chat import has_page
from trio_socketio.ops.drain import drain
from trio_socketio.ops.systemd import Inherited, Systemd, inherited_listeners
from trio_socketio.program_system import ProgramSystem
from trio_socketio.reloading import READ_S, Held, Plan, plan, put_into, read_files
from trio_socketio.runtime.endpoints import (
    InheritedEndpoint,
    RenewableEndpoint,
    TcpEndpoint,
    UnixEndpoint,
)
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.services import Services
from trio_socketio.signals import handled_signals, handled_term
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
    sources: Sources,
    loaded: Loaded,
    program_log: "Log",
    version: str = "",
    role: Role | None = None,
) -> "Program":
    """Load the app.

    Args:
        sources: where the configuration comes from; a reload reads them again.
        loaded: what was loaded from them.
        program_log: the log of the program, which is open.
        version: of the program.
        role: of this process; None if it does everything.
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
    program = Program(sources, loaded, app, program_log, version, role or Alone())
    if program.is_worker:  # its parent has told it
        return program
    for warning in find_idle(
        program.configuration, loaded.settings, sources.flags, sources.inherited
    ):
        log.warning("%s", warning)
    for warning in find_exposed(loaded, sources.file):
        log.warning("%s", warning)
    return program


def _namespaces_of(configuration: Configuration) -> list[str] | None:
    """Return the namespaces that a server without an app has; None for the lobby."""
    if configuration.identity.asks or configuration.chat.namespaces:
        return configuration.named_namespaces()
    return None


class Program:
    """The standalone server: an app, its endpoints, and the configuration that holds.

    It has 15 attributes: what it was made of, what it serves, and the start and reload under way.

    Attributes:
        server: the app's server.
    """

    def __init__(
        self,
        sources: Sources,
        loaded: Loaded,
        app: App,
        program_log: "Log",
        version: str,
        role: Role,
    ) -> None:
        self.server = app.server
        options = app.server.options
        configuration = put_into(loaded.configuration, options)
        self._held = Held(configuration, options, {}, TokenTable())
        self._sources = sources
        self._log = program_log
        self._app = app
        self._role = role
        self._check_workers()
        self._check_presence(loaded)
        self._version = version
        self._scope = trio.CancelScope()  # all of it
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

    @property
    def is_worker(self) -> bool:
        """Whether another process has started it to serve clients."""
        return bool(self._role.family.parent)

    @property
    def _forwards(self) -> bool:
        """Whether requests are passed on to other nodes: workers do so among themselves."""
        return self.is_worker or self.configuration.cluster.internal is not None

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in stages; a second signal ends it at once.

        max_connections is lowered to what the limit of open files allows. SIGHUP reloads. SIGUSR2
        replaces the workers if there are any. In a worker, SIGTERM alone has an effect.

        Raises:
            ConfigurationError: the address, or a file that the configuration names, cannot be used.
            ProgramFailed: its workers die again and again.
        """
        restart = None if self._role.workers is None else self._restart_workers
        with (
            self._scope,
            (
                handled_term(_after_signal(self.stop))
                if self.is_worker
                else handled_signals(
                    _after_signal(self.stop), _after_signal(self.end), self._ask_to_reload, restart
                )
            ),
        ):
            await self._serve()
        log.info("stopped")

    async def _serve(self) -> None:
        server = self.server
        wanted = server.options.max_connections
        fitting = fit_descriptors(wanted, forwards=self._forwards)
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
        public = self._role.listeners or inherited.public
        if public:
            listen = msgspec.structs.replace(listen, fds=tuple(public))
        if self.is_worker:
            inherited = _with_parent(self._role.inherited)
        certificate = self._held.certificates.get("listen")
        name_of = self._sources.name_to_set
        self._endpoints = _endpoints(listen, certificate and certificate.context, name_of)
        node, role = configuration.cluster.node, self._role
        system = ProgramSystem(server, self, self._version, node, role)
        self._services = Services(
            server, system, self._held, self._log, inherited, self._systemd, name_of, role
        )
        async with (
            role.opened(self, self._endpoints),
            open_runtime(runtime_options(group_options(server.options))) as runtime,
            trio.open_nursery() as reloads,
        ):
            with self._starting:
                await self._services.start(runtime)  # first, as they end after the server
            if self._starting.cancelled_caught:  # CLUS-03
                return
            reloads.start_soon(self._reload_when_asked)
            serve = partial(role.serve, server, runtime, self._endpoints)
            async with trio.open_nursery() as nursery:
                addresses: list[Any] = await nursery.start(serve)
                # Logged now, so that an error about an address stands alone. Workers log their own.
                if fitting.change and not self._role.family.workers:
                    # The default was not asked for, so lowering it is not worth a warning.
                    asked = wanted != ServerOptions().max_connections
                    log.log(WARNING if fitting.lowered and asked else INFO, fitting.change)
                has_stopped = server.state != "serving"  # before its workers served
                if not (self.is_worker or has_stopped):  # the parent logs it for its workers
                    self._tell_serving(addresses, secure=certificate is not None)
            reloads.cancel_scope.cancel()

    def _tell_serving(self, addresses: Iterable[Any], *, secure: bool) -> None:
        if self._services is None or self._services.identity is None:  # IDENT-44
            log.info(_EVERYBODY)
        path = self.server.options.path
        urls = [_url(address, path, secure=secure) for address in addresses]
        pages = [url.removesuffix(path) + "/" for url in urls if url.startswith("http")]
        if pages and has_page(self.server):
            log.info("no app is named, so this is a lobby, with a page at %s", ", ".join(pages))
        log.info("serving %s", ", ".join(urls))
        self._systemd.ready(f"serving {', '.join(urls)}")

    async def _in_thread(self, read: Callable[[], T]) -> T:
        """Read files in a thread, because one may be on a slow disk, or never answer.

        If the caller is cancelled, the thread is left alone with what it reads.
        """
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._threads)

    def stop(self, why: str) -> None:
        """Stop in stages.

        Args:
            why: what has led to it, for the log.
        """
        log.info("%s: stopping", why)
        # A service may wait for as long as another program is away, such as Redis.
        self._starting.cancel()
        drain(self.server)

    def end(self, why: str) -> None:
        """End at once; see stop."""
        log.info("%s: cutting the rest short", why)
        self._scope.cancel()

    def _restart_workers(self) -> None:
        log.info("received SIGUSR2: replacing the workers")
        assert self._role.workers is not None
        try:
            self._role.workers.restart()
        except ControlError as error:
            log.warning("nothing was replaced: %s", error)

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
        nothing has changed here. Workers follow, if there are any.

        Raises:
            ConfigurationError: it cannot be used, and nothing has changed; or a worker could not
                use it, which the message names.
            TimeoutError: it was not read within READ_S; nothing has changed.
        """
        with self._systemd.reloading():
            planned = await self._reload_here()
            await self._role.reload()
        return planned

    async def _reload_here(self) -> Plan:
        try:
            with trio.move_on_after(READ_S):  # CFG-30
                async with self._reloading:
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

    def _check_workers(self) -> None:
        """Refuse an app that gives all workers what each has to have of its own.

        Raises:
            ConfigurationError: it says what the app has to leave out.
        """
        if self._role.family == ALONE:
            return
        if self._app.names_node:  # WORK-47
            raise ConfigurationError(
                "the app names its node (Presence(server, node=...)), which every worker would be "
                "then: leave the name out there, and set [cluster] node, to which each worker adds "
                "its number"
            )
        if self.server.options.sid_prefix is not None:  # WORK-52
            raise ConfigurationError(
                "the app sets sid_prefix, but each worker needs a prefix of its own, by which the "
                "others find its sessions: leave it out"
            )

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
        return plan(
            self._held,
            loaded,
            self._app.own,
            self._sources,
            runs_control=runs_control,
            forwards=self._forwards,
        )

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


def _after_signal(act: Callable[[str], None]) -> Callable[[str], None]:
    return lambda name: act(f"received {name}")


def _with_parent(purposes: Iterable[str]) -> Inherited:
    """Stand for sockets that systemd has opened for the parent: there is one of each, elsewhere."""
    known = {purpose: (-1,) for purpose in purposes if purpose in ("control", "admin")}
    return Inherited(**known)


def _endpoints(
    listen: "ListenOptions", context: "ssl.SSLContext | None", name_of: Callable[[str, str], str]
) -> list[RenewableEndpoint]:
    if listen.fds:
        return [RenewableEndpoint(InheritedEndpoint(number, context)) for number in listen.fds]
    if listen.unix is not None:
        return [
            RenewableEndpoint(UnixEndpoint(listen.unix, tls=context), name_of("listen", "unix"))
        ]
    tcp = TcpEndpoint(listen.host, listen.port, context)
    return [RenewableEndpoint(tcp, name_of("listen", "port"))]


def _url(address: Any, path: str, *, secure: bool) -> str:
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{'https' if secure else 'http'}://{host}:{address[1]}{path}"
