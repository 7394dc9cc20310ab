"""The standalone server: finds the app, serves it, and stops it on a signal."""

import importlib
import importlib.util
import inspect
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging import INFO, WARNING
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import trio

from trio_socketio import lobby
from trio_socketio.descriptors import fit_descriptors
from trio_socketio.errors import ConfigurationError
from trio_socketio.net.tls import create_context
from trio_socketio.runtime.endpoints import InheritedEndpoint
from trio_socketio.socketio.options import ServerOptions
from trio_socketio.socketio.server import Server

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

DEFAULT_NAMES = ("create", "app", "sio", "server")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the standalone server listens.

    Args:
        hosts: names or addresses, or "all".
        port: the TCP port; 0 takes a free one.
        unix_path: the path of a Unix socket to listen on instead of TCP.
        inherited: listening descriptors to use instead of both.
        certfile: the certificate chain for TLS; None means cleartext.
        keyfile: its private key; None if certfile holds it.
    """

    hosts: tuple[str, ...]
    port: int
    unix_path: Path | None
    inherited: tuple[int, ...]
    certfile: Path | None
    keyfile: Path | None


def load_server(spec: str | None, given: Mapping[str, Any]) -> Server:
    """Load an app, and create its server.

    Args:
        spec: ``FILE.py[:NAME]`` or ``MODULE[:NAME]``; None means the lobby.
        given: the options of the command line, which override the app's.
    Raises:
        ConfigurationError: the app does not exist, raises an exception, or is neither a Server nor
            a function that returns one.
    """
    if spec is None:
        return lobby.create(ServerOptions(**given))
    where, _, name = spec.partition(":")
    module = _import(where, spec)
    found = _find(module, name, spec)
    made = found if isinstance(found, Server) else _make(found, ServerOptions(**given), name, spec)
    # A function may ignore the options that it was given, so they are set here again. The server
    # reads them only when it begins to serve.
    made.options = replace(made.options, **given)
    return made


def _make(create: Any, options: ServerOptions, name: str, spec: str) -> Server:
    if not callable(create):
        raise ConfigurationError(f"--app {spec}: {name or 'it'} is neither a Server nor a function")
    try:
        made = create(options)
    except Exception as error:
        raise _failure(spec, "it failed", error) from error
    if inspect.iscoroutine(made):
        made.close()
    if not isinstance(made, Server):
        raise ConfigurationError(f"--app {spec}: it returned {type(made).__name__}, not a Server")
    return made


def _failure(spec: str, what: str, error: Exception) -> ConfigurationError:
    """Word a failure of the app in one line that names the place; log the traceback at debug."""
    log.debug("--app %s: %s", spec, what, exc_info=error)
    places = [
        f" ({frame.filename}:{frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__)
        and not frame.filename.startswith("<frozen")
    ]
    told = f"{type(error).__name__}: {error}{places[-1] if places else ''}"
    return ConfigurationError(f"--app {spec}: {what}: {told}")


def _import(where: str, spec: str) -> ModuleType:
    path = Path(where)
    if where.endswith(".py") and not path.is_file():
        raise ConfigurationError(f"--app {spec}: there is no file {where}")
    if not where.endswith(".py") and not all(map(str.isidentifier, where.split("."))):
        raise ConfigurationError(f"--app {spec}: {where!r} is neither a FILE.py nor a module")
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
        raise _failure(spec, "importing it failed", error) from error
    return module


def _find(module: ModuleType, name: str, spec: str) -> Any:
    names = (name,) if name else DEFAULT_NAMES
    for candidate in names:
        if hasattr(module, candidate):
            return getattr(module, candidate)
    wanted = f"{name!r}" if name else "one of " + ", ".join(map(repr, DEFAULT_NAMES))
    raise ConfigurationError(f"--app {spec}: it has no {wanted}")


async def serve(server: Server, listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT, then stop in stages; a second signal ends it at once.

    max_connections is lowered to what the limit of open files allows.

    Raises:
        ConfigurationError: the address or the certificate cannot be used.
    """
    wanted = server.options.max_connections
    fitting = fit_descriptors(wanted)
    server.options = replace(server.options, max_connections=fitting.max_connections)
    context: ssl.SSLContext | None = None
    if listening.certfile is not None:
        context = create_context(listening.certfile, listening.keyfile)

    async def listen(task_status: trio.TaskStatus[list[Any]]) -> None:
        await server.serve(
            host=listening.hosts,
            port=listening.port,
            unix_path=listening.unix_path,
            ssl_context=context,
            endpoints=[InheritedEndpoint(number, context) for number in listening.inherited],
            task_status=task_status,
        )

    with trio.CancelScope() as scope, _signals(server, scope):
        async with trio.open_nursery() as nursery:
            addresses: list[Any] = await nursery.start(listen)
            if fitting.change:  # logged only now, so that the error of a bad address stands alone
                # Nobody has asked for the default number, so to lower it is worth no warning.
                asked = wanted != ServerOptions().max_connections
                log.log(WARNING if fitting.lowered and asked else INFO, fitting.change)
            path = server.options.path
            log.info("serving %s", ", ".join(_url(at, listening, path) for at in addresses))
    log.info("stopped")


def _url(address: Any, listening: Listening, path: str) -> str:
    if not isinstance(address, tuple):
        return f"unix:{address}"
    scheme = "https" if listening.certfile is not None else "http"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}{path}"


@contextmanager
def _signals(server: Server, scope: trio.CancelScope) -> Iterator[None]:
    """Stop on the first signal, cancel on the second; the third ends the process.

    What the first two do is run by trio between two steps of its tasks. If a plain handler never
    returns, only the third has an effect.

    SIGHUP has two meanings. It asks a service to read its configuration again, and must not end it.
    It is also sent when the terminal is closed from which the server was started; then it stops the
    server as SIGTERM does, which would otherwise go on unseen and keep its port. Under nohup it is
    ignored, and that is left as it is.
    """
    token = trio.lowlevel.current_trio_token()
    received = 0
    had_terminal = _has_terminal()

    def on_signal(number: int, _: Any) -> None:
        nonlocal received
        received += 1
        if received > 1:
            for known in before:
                signal.signal(known, signal.SIG_DFL)
        action: Callable[[], None] = server.stop if received == 1 else scope.cancel
        token.run_sync_soon(_announce, signal.Signals(number).name, action)

    def on_hang_up(number: int, frame: Any) -> None:
        if had_terminal and not _has_terminal():
            on_signal(number, frame)
        else:
            token.run_sync_soon(_tell_nothing_is_reloaded)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hang_up)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that has not been closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _tell_nothing_is_reloaded() -> None:
    log.warning("received SIGHUP: nothing can be reloaded yet; SIGTERM or SIGINT stops the server")


def _announce(name: str, action: Callable[[], None]) -> None:
    log.info("received %s: stopping", name)
    action()
