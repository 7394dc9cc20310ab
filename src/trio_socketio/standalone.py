"""The composition root of the binary: makes a running program out of a configuration.

`Program.configuration` is the configuration that holds. A reload loads a new one from the same
sources, and reads every file that it names. When all of that has succeeded, its parts are handed to
their owners in one step without a checkpoint (CFG-13).
"""

import logging
from dataclasses import replace
from functools import partial
from hashlib import sha256
from logging import INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import trio

from trio_socketio.app import App, load_app
from trio_socketio.configuration.checks import find_idle
from trio_socketio.configuration.loading import Loaded, Sources, load
from trio_socketio.configuration.tables import TABLES, Configuration, differences
from trio_socketio.configuration.text import toml_value, visible_value
from trio_socketio.control.tokens import TokenTable
from trio_socketio.descriptors import fit_descriptors
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.net.tls import create_context
from trio_socketio.ops.drain import drain
from trio_socketio.ops.systemd import Systemd, inherited_listeners
from trio_socketio.runtime.endpoints import (
    InheritedEndpoint,
    RenewableEndpoint,
    TcpEndpoint,
    UnixEndpoint,
)
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.services import ProgramSystem, Services
from trio_socketio.signals import handled_signals
from trio_socketio.socketio.options import (
    FLAT_NAMES,
    ServerOptions,
    group_options,
    runtime_options,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from trio_socketio.configuration.options import ListenOptions
    from trio_socketio.ops.log import Log

log = logging.getLogger(__name__)

_CERTIFIED: Final = ("listen", "admin", "control")
"""The tables that name a certificate."""


class Reloaded(NamedTuple):
    """The effect of a reload.

    Args:
        changed: the changes, as ``[cors] origins: [] -> ["https://a.example"]``.
        needs_restart: changes of options that take effect only at the next start, in the same form.
    """

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Certificate(NamedTuple):
    """A certificate that was read.

    Args:
        context: the TLS context that has it.
        digest: differs if the files have changed.
    """

    context: "ssl.SSLContext"
    digest: bytes


class _Prepared(NamedTuple):
    """A configuration with everything read and validated; applying it cannot fail."""

    configuration: Configuration
    options: ServerOptions
    certificates: dict[str, Certificate]
    tokens: TokenTable
    idle: tuple[str, ...]


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
        )
    except OptionError as error:
        raise sources.explain(error) from None
    program = Program(sources, loaded, app, program_log, version)
    for warning in program.find_idle(program.configuration, loaded):
        log.warning("%s", warning)
    return program


class Program:
    """The standalone server: an app, its endpoints, and the configuration that holds.

    Attributes:
        server: the app's server.
        configuration: the options that hold, those that the app sets itself included.
    """

    def __init__(
        self, sources: Sources, loaded: Loaded, app: App, program_log: "Log", version: str
    ) -> None:
        self.server = app.server
        self.configuration = _effective(loaded.configuration, app.server.options)
        self._sources = sources
        self._log = program_log
        self._own_options = app.own
        self._version = version
        self._systemd = Systemd()
        self._services: Services | None = None
        self._certificates: dict[str, Certificate] = {}  # by the table that names them
        self._endpoints: list[RenewableEndpoint] = []
        self._reloading = trio.Lock()
        self._reload_asked = trio.Event()

    def find_idle(self, configuration: Configuration, loaded: Loaded) -> "Iterator[str]":
        """Yield a warning for every option that was given and has no effect."""
        sources = self._sources
        return find_idle(configuration, loaded.settings, sources.flags, sources.inherited)

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in stages; a second signal ends it at once.

        max_connections is lowered to what the limit of open files allows. SIGHUP reloads.

        Raises:
            ConfigurationError: the address or the certificate cannot be used.
        """
        server, listen = self.server, self.configuration.listen
        wanted = server.options.max_connections
        fitting = fit_descriptors(wanted)
        server.options = replace(server.options, max_connections=fitting.max_connections)
        self.configuration = _effective(self.configuration, server.options)
        self._certificates = read_certificates(self.configuration, self._sources)
        context = None
        if "listen" in self._certificates:
            context = self._certificates["listen"].context
        inherited = inherited_listeners()
        if inherited.public:
            listen = msgspec.structs.replace(listen, fds=inherited.public)
        self._endpoints = _endpoints(listen, context)
        system = ProgramSystem(server, self, self._version)
        self._services = Services(
            server, system, self.configuration, self._log, inherited, self._systemd
        )
        with (
            trio.CancelScope() as scope,
            handled_signals(self._stop, partial(_cancel, scope), self._ask_to_reload),
        ):
            async with (
                open_runtime(runtime_options(group_options(server.options))) as runtime,
                trio.open_nursery() as reloads,
            ):
                await self._services.start(runtime)  # first, as they end after the server
                reloads.start_soon(self._reload_when_asked)
                serve = partial(server.serve, runtime=runtime, endpoints=self._endpoints)
                async with trio.open_nursery() as nursery:
                    addresses: list[Any] = await nursery.start(serve)
                    if fitting.change:  # logged now, so that the error of an address stands alone
                        # The default was not asked for, so lowering it is not worth a warning.
                        asked = wanted != ServerOptions().max_connections
                        log.log(WARNING if fitting.lowered and asked else INFO, fitting.change)
                    path, secure = server.options.path, context is not None
                    urls = [_url(address, path, secure=secure) for address in addresses]
                    log.info("serving %s", ", ".join(urls))
                    self._systemd.ready(f"serving {', '.join(urls)}")
                reloads.cancel_scope.cancel()
        log.info("stopped")

    def _stop(self, signal_name: str) -> None:
        log.info("received %s: stopping", signal_name)
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
            except ConfigurationError:
                continue  # it is logged
            except Exception:
                # Memory or threads may have run out; clients are still served.
                log.exception("nothing was reloaded, and the configuration stays as it is")

    async def reload(self) -> Reloaded:
        """Load the configuration again, and apply the options that can be changed while serving.

        Connected clients keep their connections, and the limits with which they began. The log
        tells how the reload ended, whoever asked for it (CFG-13).

        Raises:
            ConfigurationError: it cannot be used; nothing has changed.
        """
        async with self._reloading:
            self._systemd.reloading()
            try:
                # In a thread, because a file may be on a slow disk or a network.
                prepared = await trio.to_thread.run_sync(self._prepare, abandon_on_cancel=True)
                reloaded = self._apply(prepared)
            except ConfigurationError as error:
                log.error("nothing was reloaded, and the configuration stays as it is: %s", error)
                raise
            finally:
                self._systemd.ready("serving")
        for warning in prepared.idle:
            log.warning("%s", warning)
        for change in reloaded.changed:
            log.info("reloaded %s", change)
        for change in reloaded.needs_restart:
            log.warning("%s needs a restart", change)
        if not reloaded.changed:
            until = " that can be changed now" if reloaded.needs_restart else ""
            log.info("reloaded the configuration: nothing has changed%s", until)
        return reloaded

    def _prepare(self) -> _Prepared:
        """Do everything that can fail, and change nothing."""
        loaded = load(self._sources)
        try:
            options = replace(self._own_options, **loaded.given())
        except OptionError as error:
            raise self._sources.explain(error) from None
        configuration = _effective(loaded.configuration, options)
        certificates = read_certificates(configuration, self._sources)
        idle = tuple(self.find_idle(configuration, loaded))
        tokens = TokenTable(configuration.control.tokens)
        return _Prepared(configuration, options, certificates, tokens, idle)

    def _apply(self, prepared: _Prepared) -> Reloaded:
        """Hand every owner its new group. Nothing here can fail."""
        fitting = fit_descriptors(prepared.options.max_connections)
        options = replace(prepared.options, max_connections=fitting.max_connections)
        new = _effective(prepared.configuration, options)
        if fitting.lowered and fitting.max_connections != self.server.options.max_connections:
            log.warning(fitting.change)
        old = self.configuration
        reloaded, self.configuration = _compare(old, new)
        # Each owner gets its group here; a further owner is one more line.
        self.server.apply(options)
        self._log.apply(self.configuration.log)
        if self._services is not None:
            self._services.apply(prepared.tokens)
        lines = []
        for table, certificate in prepared.certificates.items():
            file = getattr(new, table).certfile
            if self._renew(table, certificate) and file == getattr(old, table).certfile:
                lines.append(f"[{table}] certfile: {file} has a new certificate or key")
        return reloaded._replace(changed=(*reloaded.changed, *lines))

    def _renew(self, table: str, certificate: Certificate) -> bool:
        """Use a certificate for new connections; return whether it has changed."""
        current = self._certificates.get(table)
        if current is None or certificate.digest == current.digest:
            return False  # keep the context, in which clients can resume their TLS sessions
        self._certificates[table] = certificate
        if table == "listen":
            endpoints = self._endpoints
        else:
            endpoints = [] if self._services is None else self._services.endpoints[table]
        for endpoint in endpoints:
            if endpoint.tls is not None:  # the control socket's file speaks no TLS
                endpoint.renew(certificate.context)
        return True


def _cancel(scope: trio.CancelScope, signal_name: str) -> None:
    log.info("received %s: stopping", signal_name)
    scope.cancel()


def read_certificates(configuration: Configuration, sources: Sources) -> dict[str, Certificate]:
    """Read the certificates that the tables name, by table.

    Raises:
        ConfigurationError: one cannot be used.
    """
    certificates = {}
    for table in _CERTIFIED:
        group = getattr(configuration, table)
        if group.certfile is not None:
            certfile, keyfile = Path(group.certfile), group.keyfile and Path(group.keyfile)
            try:
                certificates[table] = read_certificate(certfile, keyfile)
            except ConfigurationError as error:
                is_key = keyfile is not None and certfile.is_file() and not keyfile.is_file()
                named = sources.name_of(table, "keyfile" if is_key else "certfile")
                raise ConfigurationError(f"{named}: {error}") from error
    return certificates


def read_certificate(certfile: Path, keyfile: Path | None) -> Certificate:
    """Read a certificate and its key.

    Raises:
        ConfigurationError: they cannot be used.
    """
    context = create_context(certfile, keyfile)
    digest = sha256()
    for path in (certfile, keyfile):
        if path is not None:
            try:
                digest.update(path.read_bytes())
            except OSError as error:  # it was removed a moment ago
                raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    return Certificate(context, digest.digest())


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


def _effective(configuration: Configuration, options: ServerOptions) -> Configuration:
    """Put the effective options of a server into a configuration."""
    groups: Mapping[str, Any] = group_options(options)._asdict()
    held = {table: group for table, group in groups.items() if table in FLAT_NAMES}
    return msgspec.structs.replace(configuration, **held)


def _is_reloadable(table: str, name: str, old: Configuration, new: Configuration) -> bool:
    if table in _CERTIFIED and name in ("certfile", "keyfile"):
        before, after = getattr(old, table).certfile, getattr(new, table).certfile
        if (before is None) is not (after is None):
            return False  # turning TLS on or off changes the URL
    return name in TABLES[table]._reloadable


def _compare(old: Configuration, new: Configuration) -> tuple[Reloaded, Configuration]:
    """Compare the configuration that holds with a new one.

    Returns:
        The changes, and the configuration that holds from now on.
    """
    changed: list[str] = []
    needs_restart: list[str] = []
    taken: dict[str, dict[str, Any]] = {}
    for table, name in differences(old, new):
        before, after = getattr(old, table), getattr(new, table)
        shown = [toml_value(visible_value(group, name)) for group in (before, after)]
        line = f"[{table}] {name}: {shown[0]} -> {shown[1]}"
        if _is_reloadable(table, name, old, new):
            taken.setdefault(table, {})[name] = getattr(after, name)
            changed.append(line)
        else:
            needs_restart.append(line)
    held = {
        table: msgspec.structs.replace(getattr(old, table), **options)
        for table, options in taken.items()
    }
    return Reloaded(tuple(changed), tuple(needs_restart)), msgspec.structs.replace(old, **held)
