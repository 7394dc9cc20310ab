"""Checks that concern several options, or the files that they name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trio_socketio.configuration.settings import Settings
from trio_socketio.configuration.tables import TABLES, Configuration, Place
from trio_socketio.control.tokens import TokenTable
from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.verifiers import prepare
from trio_socketio.net.tls import create_context
from trio_socketio.socketio.client_files import find_client

_NEEDS: Final[Mapping[Place, Place]] = {
    ("cors", "credentials"): ("cors", "origins"),
    ("cors", "methods"): ("cors", "origins"),
    ("cors", "allowed_headers"): ("cors", "origins"),
    ("cors", "exposed_headers"): ("cors", "origins"),
    ("cors", "max_age_s"): ("cors", "origins"),
    ("recovery", "max_disconnection_s"): ("recovery", "enabled"),
    ("recovery", "skip_middlewares"): ("recovery", "enabled"),
    ("recovery", "max_packets"): ("recovery", "enabled"),
    ("recovery", "max_bytes"): ("recovery", "enabled"),
    ("recovery", "max_sessions"): ("recovery", "enabled"),
    ("recovery", "max_session_bytes"): ("recovery", "enabled"),
    ("client_files", "folder"): ("client_files", "serve"),
}
"""Options that change what another one turns on, each with that one."""


def find_contradictions(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for every two options that cannot be used together; it names both (CFG-07)."""
    listen = configuration.listen
    host, port = settings.get(("listen", "host")), settings.get(("listen", "port"))
    if listen.fds:
        others = [(host, "host"), (port, "port")]
        others += [(settings.get(("listen", "unix")), "unix")] if listen.unix else []
        given = [other.where for other, _ in others if other is not None]
        if given:  # CMD-10
            where = settings["listen", "fds"].where
            yield (
                f"{where} listens on an inherited descriptor: leave out {where} or "
                f"{' and '.join(given)}"
            )
    elif listen.unix is not None:
        where = settings["listen", "unix"].where
        for other, name in ((host, "host"), (port, "port")):
            if other is not None:
                yield f"{where} does not listen on a {name}: leave out {where} or {other.where}"
    if listen.keyfile is not None and listen.certfile is None:
        where = settings["listen", "keyfile"].where
        yield f"{where} needs {_named_like(where, '--certfile', '[listen] certfile')}"
    control = configuration.control
    if configuration.identity.backend and not (control.listen or control.tokens):
        yield (
            f"{settings['identity', 'backend'].where} asks backends on the control socket: set "
            "[control] listen"
        )
    if configuration.engine.allow_eio3 and configuration.sockets.parser != "json":
        eio3, parser = settings["engine", "allow_eio3"].where, settings["sockets", "parser"].where
        yield (
            f"{eio3} and {parser} contradict each other: clients 1.x and 2.x speak JSON only, so "
            "the parser must be json"
        )


def _named_like(where: str, flag: str, option: str) -> str:
    return flag if where.startswith("--") else option


def find_faults_of_files(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for every file that an option names and that cannot be used."""
    app = (configuration.app.spec or "").partition(":")[0]
    if app.endswith(".py") and not Path(app).is_file():
        yield f"{settings['app', 'spec'].where}: there is no file {app}"
    listen, client = configuration.listen, configuration.client_files
    checks: list[tuple[Any, tuple[Any, ...]]] = []
    if listen.certfile is not None:
        checks.append((create_context, (listen.certfile, listen.keyfile)))
    for other in (configuration.admin, configuration.control):
        if other.certfile is not None:
            key = None if other.keyfile is None else Path(other.keyfile)
            checks.append((create_context, (Path(other.certfile), key)))
    checks.append((TokenTable, (configuration.control.tokens,)))
    checks.append((prepare, (configuration.identity,)))
    if client.serve and client.folder is not None:
        checks.append((find_client, (client.folder,)))
    for check, arguments in checks:
        try:
            check(*arguments)
        except ConfigurationError as error:
            yield str(error)


def find_idle(
    configuration: Configuration, settings: Settings, flags: Mapping[Place, str]
) -> Iterator[str]:
    """Yield a warning for every option that was given, and changes what is not on (CMD-11).

    Args:
        configuration: the effective one; the app may have turned on what the option changes.
        settings: what was given.
        flags: the flag of each option that has one.
    """
    for place, needed in _NEEDS.items():
        setting = settings.get(place)
        if setting is None or _option(configuration, needed):
            continue
        if _option(configuration, place) == getattr(TABLES[place[0]](), place[1]):
            continue  # what is given is the default, as in an example whose comments were removed
        option = f"[{needed[0]}] {needed[1]}"
        wanted = _named_like(setting.where, flags.get(needed, option), option)
        yield f"{setting.where} has no effect without {wanted}"


def _option(configuration: Configuration, place: Place) -> Any:
    return getattr(getattr(configuration, place[0]), place[1])
