"""Finds the app that the standalone server serves, and makes its server."""

import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.presence import presence_of
from trio_socketio.lobby.chat import create_chat
from trio_socketio.protocol.namespace_patterns import compile_pattern
from trio_socketio.socketio.options import ServerOptions
from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

DEFAULT_NAMES = ("create", "app", "sio", "server")
_PACKAGE = str(Path(__file__).parent)
_STDLIB = str(Path(inspect.__file__).parent)


class App(NamedTuple):
    """An app that was loaded.

    Args:
        server: its server, with the options that were given.
        own: the options that the app sets itself, which hold unless they are given.
        gives_seats: whether it has made a presence.
        gives_store: whether that has a store already.
        names_node: whether it was given the name of its node.
    """

    server: Server
    own: ServerOptions
    gives_seats: bool = False
    gives_store: bool = False
    names_node: bool = False


def load_app(
    spec: str | None,
    given: Mapping[str, Any],
    where: str = "--app",
    explain: Callable[[OptionError], Exception] = lambda error: error,
    namespaces: Iterable[str] | None = None,
) -> App:
    """Load an app, and create its server.

    Args:
        spec: ``FILE.py[:NAME]`` or ``MODULE[:NAME]``; None means the lobby, or a server without
            handlers if there are namespaces.
        given: the options that were given, which override the app's.
        where: names the option that gives the spec, for errors.
        explain: rewords an error in a given option, to name it as its source does.
        namespaces: of a server whose clients backends talk with, or patterns of their names; None
            means that there is no such server.
    Raises:
        ConfigurationError: the app does not exist, raises an exception, or is neither a Server nor
            a function that returns one.
    """
    if spec is None:
        options = ServerOptions(**given)
        plain = create_chat(options) if namespaces is None else _create_bare(options, namespaces)
        return App(plain, ServerOptions())
    told = f"{where} {spec}"
    path, _, name = spec.partition(":")
    module = _import(path, told)
    found = _find(module, name, told)
    if isinstance(found, Server):
        made, own = found, found.options
    else:
        made = _make(found, ServerOptions(**given), name, told, explain)
        own = _own_options(made.options, given)
    # A function may ignore the options that it was given, so they are set here again. The server
    # reads them only when it begins to serve.
    made.options = replace(made.options, **given)
    presence = presence_of(made)
    if presence is None:
        return App(made, own)
    return App(made, own, True, presence.has_own_store, presence._has_own_name)


def _create_bare(options: ServerOptions, namespaces: Iterable[str]) -> Server:
    """Make a server without an app, on which there are only namespaces (PRES-66).

    A namespace whose name fits a pattern is made when the first client asks for it (PRES-68).
    """
    sio = Server(options)
    patterns = set()
    for name in namespaces:
        if name.endswith("*"):
            sio.of(compile_pattern(name))
            patterns.add(name)
        else:
            sio.of(name)
    names = ", ".join(sorted({*sio.namespaces, *patterns}))
    log.info("there is no app: backends talk with the clients in %s", names)
    return sio


def _own_options(made: ServerOptions, given: Mapping[str, Any]) -> ServerOptions:
    """Return the options of a server without those that its function was given and passed on."""
    default = ServerOptions()
    handed = ServerOptions(**given)
    passed_on = {
        field.name: getattr(default, field.name)
        for field in fields(ServerOptions)
        if field.name in given and getattr(made, field.name) == getattr(handed, field.name)
    }
    return replace(made, **passed_on)


def _make(
    create: Any,
    options: ServerOptions,
    name: str,
    told: str,
    explain: Callable[[OptionError], Exception],
) -> Server:
    if not callable(create):
        raise ConfigurationError(f"{told}: {name or 'it'} is neither a Server nor a function")
    try:
        made = create(options)
    except OptionError as error:  # the app's own options do not go with those that were given
        raise _failure(told, "it failed", error, str(explain(error))) from error
    except Exception as error:
        raise _failure(told, "it failed", error) from error
    if inspect.iscoroutine(made):
        made.close()
    if not isinstance(made, Server):
        raise ConfigurationError(f"{told}: it returned {type(made).__name__}, not a Server")
    return made


def _is_foreign(file: str) -> bool:
    return file.startswith((_PACKAGE, "<")) or (
        file.startswith(_STDLIB) and "site-packages" not in file
    )


def _failure(told: str, what: str, error: Exception, cause: str = "") -> ConfigurationError:
    """Word a failure of the app in one line that names the place; log the traceback at debug."""
    log.debug("%s: %s", told, what, exc_info=error)
    places = [
        f" ({frame.filename}:{frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if not _is_foreign(frame.filename)
    ]
    file = told.partition(": ")[0]  # that of the options, if it is one; it is said once
    cause = cause.removeprefix(f"{file}: ") or f"{type(error).__name__}: {error}"
    return ConfigurationError(f"{told}: {what}: {cause}{places[-1] if places else ''}")


def _import(where: str, told: str) -> ModuleType:
    path = Path(where)
    if where.endswith(".py") and not path.is_file():
        raise ConfigurationError(f"{told}: there is no such file")
    if not where.endswith(".py") and not all(map(str.isidentifier, where.split("."))):
        raise ConfigurationError(f"{told}: {where!r} is neither a FILE.py nor a module")
    try:
        if not where.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(where)
        source = importlib.util.spec_from_file_location(path.stem, path)
        assert source is not None  # the name ends with .py
        assert source.loader is not None
        module = importlib.util.module_from_spec(source)
        sys.modules[path.stem] = module
        sys.path.insert(0, str(path.resolve().parent))
        source.loader.exec_module(module)
    except Exception as error:
        raise _failure(told, "importing it failed", error) from error
    return module


def _find(module: ModuleType, name: str, told: str) -> Any:
    names = (name,) if name else DEFAULT_NAMES
    for candidate in names:
        if hasattr(module, candidate):
            return getattr(module, candidate)
    if name:
        raise ConfigurationError(f"{told}: it has no {name!r}")
    tried = ", ".join(map(repr, DEFAULT_NAMES))
    raise ConfigurationError(f"{told}: it has none of {tried}: name its Server, as in {told}:NAME")
