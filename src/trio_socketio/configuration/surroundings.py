"""Checks the files, folders, hosts and packages that the options name.

No port is opened, so a program that serves with the same options is not disturbed.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

import trio

from trio_socketio.configuration.settings import Settings, in_table
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control.address import parse_address
from trio_socketio.control.backends import Backends
from trio_socketio.control.places import check_folder
from trio_socketio.control.tokens import read_grants
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.deliveries.options import NO_PLACE
from trio_socketio.im.identity.verifiers import prepare
from trio_socketio.im.presence.courier import prepare_address
from trio_socketio.net.tls import create_context
from trio_socketio.ops.admin import find_exposure
from trio_socketio.ops.admin_options import split_listen
from trio_socketio.redis.dialing import read_access
from trio_socketio.runtime.addresses import Address, is_local, resolve_hosts
from trio_socketio.runtime.listeners import check_unix_path
from trio_socketio.socketio.client_files import find_client
from trio_socketio.socketio.server import Server
from trio_socketio.storage.opening import check_usable, default_folder

_RESOLVE_S: Final = 10.0
"""The longest time for looking up all names together."""


def find_faults_around(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for each file, folder, host or package that cannot be used (CFG-17)."""
    control = configuration.control
    where = _Names(settings)
    if configuration.app.spec is not None:
        yield from _faults_of_app(configuration.app.spec.partition(":")[0], where("app", "spec"))
    for table in ("listen", "control", "admin"):
        yield from _faults_of_certificate(table, getattr(configuration, table), where)
    for fault in read_grants(control.tokens)[1]:
        yield f"{where('control', 'tokens')}: {fault}"
    yield from _faults_of_identity(configuration, where)
    if configuration.presence.webhook is not None:
        try:
            prepare_address(configuration.presence.webhook)
        except OptionError as error:
            yield f"{where.within('presence', f'webhook.{error.option}')}: {error.reason}"
    if configuration.redis.url is not None:
        try:
            read_access(configuration.redis)
        except OptionError as error:
            yield f"{where('redis', error.option)}: {error.reason}"
        except ConfigurationError as error:
            yield f"{where('redis', 'password_file')}: {error}"
    client = configuration.client_files
    if client.serve and client.folder is not None:
        yield from _try(where("client_files", "folder"), find_client, client.folder)
    if control.backends.forward:  # a conflict with handlers of the app is found when it is loaded
        forward = Backends(control.backends).forward
        yield from _try(where("control", "backends"), forward, Server())
    yield from _faults_of_paths(configuration, where)
    if configuration.redis.url is None:
        yield from _faults_of_state(configuration, where)
    yield from trio.run(_find_faults_of_hosts, configuration, where)


class _Names:
    """Names options as their sources spell them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, table: str, name: str) -> str:
        for place, setting in self._settings.items():
            if place[:2] == (table, name):
                return setting.where
        return f"[{table}] {name}"

    def within(self, table: str, name: str) -> str:
        """Name an option that may be within another one, such as webhook.url or jwt.keys[0]."""
        path, bracket, item = name.partition("[")
        place = (table, *path.split("."))
        if place in self._settings:
            return f"{self._settings[place].where}{bracket}{item}"
        for other, setting in self._settings.items():
            if other[:2] == place[:2]:
                return f"{setting.origin}: {in_table(table, name)}"
        return in_table(table, name)

    def gives(self, table: str, name: str, *inner: str) -> bool:
        """Whether the option was given, or one of those within it, even if it cannot be used."""
        return any(
            place[:2] == (table, name) and (not inner or place[2:3] in {(one,) for one in inner})
            for place in self._settings
        )


def _try(where: str, check: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        check(*arguments)
    except ConfigurationError as error:
        yield f"{where}: {error}"


def _faults_of_identity(configuration: Configuration, where: _Names) -> Iterator[str]:
    jwt = configuration.identity.jwt
    has_keys = jwt is None or jwt.keys or jwt.jwks_url is not None
    if not has_keys and where.gives("identity", "jwt", "keys", "jwks_url"):
        return  # they cannot be used, which was told
    des = configuration.identity.des
    for name in () if des is None else ("key", "iv"):
        is_given = where.gives("identity", "des", name)
        if is_given and getattr(des, name) is None and getattr(des, f"{name}_file") is None:
            return  # it cannot be used, which was told
    try:
        prepare(configuration.identity)
    except OptionError as error:
        yield f"{where.within('identity', error.option)}: {error.reason}"


def _faults_of_app(app: str, where: str) -> Iterator[str]:
    """Yield an error if the app cannot be found; it is not imported."""
    if app.endswith(".py"):
        if not Path(app).is_file():
            yield f"{where}: there is no file {app}"
    elif not all(map(str.isidentifier, app.split("."))):
        yield f"{where}: {app!r} is neither a FILE.py nor a module"
    else:
        package = app.partition(".")[0]
        if PathFinder.find_spec(package, [str(Path.cwd()), *sys.path]) is None:
            yield f"{where}: there is no module {package}"


def _faults_of_certificate(table: str, group: Any, where: _Names) -> Iterator[str]:
    if group.certfile is None:
        return
    files = {"certfile": Path(group.certfile), "keyfile": group.keyfile and Path(group.keyfile)}
    missing = [name for name, file in files.items() if file is not None and not file.is_file()]
    for name in missing:
        yield f"{where(table, name)}: there is no file {files[name]}"
    if not missing:
        yield from _try(where(table, "certfile"), create_context, *files.values())


def _faults_of_paths(configuration: Configuration, where: _Names) -> Iterator[str]:
    if configuration.listen.unix is not None:
        yield from _try(where("listen", "unix"), check_unix_path, configuration.listen.unix)
    for text in configuration.control.listen:
        if path := parse_address(text).path:
            faults = list(_try(where("control", "listen"), check_folder, Path(path).parent))
            if not faults and Path(path).parent.is_dir():
                faults += _try(where("control", "listen"), check_unix_path, Path(path))
            yield from faults


def _faults_of_state(configuration: Configuration, where: _Names) -> Iterator[str]:
    """Yield an error if this node could not keep its state (CFG-36)."""
    folder = configuration.state.folder or default_folder()
    if folder is not None:
        yield from _try(where("state", "folder"), check_usable, folder)
    elif configuration.deliveries.durable:
        yield f"{where('deliveries', 'durable')}: {NO_PLACE}"


async def _find_faults_of_hosts(configuration: Configuration, where: _Names) -> list[str]:
    """Look up all names of hosts."""
    faults: list[str] = []
    listen, control, admin = configuration.listen, configuration.control, configuration.admin
    places: list[tuple[str, Sequence[str]]] = []
    if listen.unix is None and not listen.fds:
        places.append((where("listen", "host"), listen.host))
    hosts_of_control = [address.host for address in map(parse_address, control.listen)]
    places += [(where("control", "listen"), (host,)) for host in hosts_of_control if host]
    with trio.move_on_after(_RESOLVE_S) as scope:
        for name, hosts in places:
            await _resolve(name, hosts, faults)
        if admin.listen is not None:
            name = where("admin", "listen")
            addresses = await _resolve(name, split_listen(admin.listen)[:1], faults)
            if not all(is_local((address.ip,)) for address in addresses):
                fault = find_exposure(
                    admin,
                    has_tokens=bool(control.tokens) or where.gives("control", "tokens"),
                    has_tls=admin.certfile is not None or where.gives("admin", "certfile"),
                )
                faults += [f"{name}: {fault}"] if fault else []
            faults += _try(name, _import_metrics)
    if scope.cancelled_caught:
        faults.append(f"the names of hosts could not be looked up within {_RESOLVE_S:g} s")
    return faults


async def _resolve(where: str, hosts: Sequence[str], faults: list[str]) -> list[Address]:
    """Look up names of hosts; add an error for each that has no address."""
    found: list[Address] = []
    before = len(faults)
    for host in hosts:
        try:
            found += await resolve_hosts(host)
        except ConfigurationError as error:
            faults.append(f"{where}: {error}")
    if len(hosts) > 1 and len(faults) == before:
        try:
            await resolve_hosts(hosts)  # which refuses those that overlap
        except ConfigurationError as error:
            faults.append(f"{where}: {error}")
    return found


def _import_metrics() -> None:
    import trio_socketio.ops.metrics  # noqa: F401 - it says how to install what is missing
