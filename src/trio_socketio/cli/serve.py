"""``trio-socketio serve``: serves an app, or a small built-in lobby."""

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio import __version__
from trio_socketio.cli.arguments import complain
from trio_socketio.cli.serve_arguments import FLAGS, add_arguments, given_settings
from trio_socketio.cluster.workers.role import Alone, Role
from trio_socketio.configuration.loading import Sources, load
from trio_socketio.errors import ConfigurationError, ProgramFailed
from trio_socketio.ops.log import open_log
from trio_socketio.ops.systemd import inherited_purposes
from trio_socketio.signals import ignore_hang_ups
from trio_socketio.standalone import load_program

if TYPE_CHECKING:
    from trio_socketio.cluster.workers.worker import WorkerRole
    from trio_socketio.configuration.tables import Configuration

__all__ = ("DESCRIPTION", "EPILOG", "add_arguments", "run")

DESCRIPTION = "Serve Socket.IO until SIGTERM or SIGINT. Times are in seconds."
EPILOG = (
    "Without --app, a lobby is served: events join, leave, message and list. "
    "Every option can also be set in the file of --config, or in the environment as "
    "TRIO_SOCKETIO__GROUP__KEY. On SIGHUP the server reads them again; on SIGUSR2 workers are "
    "replaced one after the other. The log goes to standard error. "
    "Exit codes: 0 after SIGTERM or SIGINT; 1 after an unexpected failure, with a traceback, or if "
    "workers die again and again; 2 if an argument, an option, the app, an address or a "
    "certificate cannot be used, with one line that says why."
)

_THRESHOLDS: Final = (2_000, 5, 300)
"""When the collector looks at objects: after so many new ones, after more than so many such looks
also at those that have survived one, and after more than so many of these looks at all.

A client is 23 objects or more, and each takes 0.1 to 0.15 us. All clients wait meanwhile: 0.15 ms
for 2,000 objects and 1.5 ms for 14,000 (CMD-14). To look at all took 42 ms with 8,000 clients, so
that is done once in 4.2 million new objects, as 180,000 clients make when they connect (CMD-15):
with a third of that, it came into every storm of 15,000 clients who have seats in Redis, and others
waited 100 ms. Nor is it done more seldom: the package leaves no cycles behind, but an app does that
keeps a socket in its own data. Until then such garbage stays, and freeing it takes much longer than
looking at it.
"""

_WORKER: Final = "TRIO_SOCKETIO_WORKER"
"""The variable that makes a process a worker; its parent sets it, see cluster.workers.process."""


def run(asked: argparse.Namespace) -> int:
    """Serve until a signal ends it.

    Returns:
        The exit code: 0 after a signal, 1 if workers die again and again, 2 if an argument, an
        option, the app, an address or a certificate cannot be used, 130 after an interrupt before
        the server has begun to serve.
    """
    told = os.environ.pop(_WORKER, None)
    worker: WorkerRole | None = None
    try:
        if told is None:
            ignore_hang_ups()
        else:
            worker = _be_worker(told)
        _serve(asked, worker)
    except (ConfigurationError, ProgramFailed) as error:
        return _complain(error, worker)
    except BaseExceptionGroup as group:  # trio puts what leaves a nursery into one
        faults, others = group.split((ConfigurationError, ProgramFailed))
        if faults is None or others is not None:
            raise
        return max(_complain(error, worker) for error in _leaves(faults))
    except KeyboardInterrupt:  # before the server has installed its signal handlers
        return 130
    return 0


def _serve(asked: argparse.Namespace, worker: "WorkerRole | None") -> None:
    command = _own_command(asked)  # before an app changes the path
    inherited = inherited_purposes(os.environ)
    if worker is not None:
        inherited = frozenset(worker.inherited)
    sources = Sources(asked.config, os.environ, given_settings(asked), FLAGS, inherited)
    loaded = load(sources)
    with open_log(loaded.configuration.log, worker=None if worker is None else worker.index) as log:
        role = worker or _choose_role(loaded.configuration, command, sorted(inherited))
        program = load_program(sources, loaded, log, __version__, role)
        _freeze()
        trio.run(program.serve)


def _choose_role(configuration: "Configuration", command: list[str], inherited: list[str]) -> Role:
    options = configuration.workers
    count = options.number
    if count == 1:
        return Alone()
    from trio_socketio.cluster.workers.parent import Parent  # most programs do without

    return Parent(
        configuration.cluster.node,
        count,
        command,
        os.environ,
        inherited,
        max_blocked_s=options.max_blocked_s,
    )


def _be_worker(told: str) -> "WorkerRole":
    """Become a worker.

    Raises:
        ConfigurationError: no parent has started this process.
    """
    from trio_socketio.cluster.workers.worker import WorkerRole, leave_signals_to_parent

    leave_signals_to_parent()
    worker = WorkerRole(told)
    worker.watch_parent()  # before loading the app, which may take for ever
    return worker


def _own_command(asked: argparse.Namespace) -> list[str]:
    """Return the words that start this program once more."""
    # As a module, Python would look for modules in the working directory, where a script does not.
    is_script = not {"", str(Path.cwd())} & set(sys.path)
    return [sys.executable, *(["-P"] if is_script else []), "-m", "trio_socketio", *asked.words]


def _complain(error: Exception, worker: "WorkerRole | None") -> int:
    """Tell an error in one line, and return the exit code."""
    if worker is not None:  # WORK-12
        worker.fail(str(error))
        return 2
    code = complain(error)
    return 1 if isinstance(error, ProgramFailed) else code


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _freeze() -> None:
    """Exclude all loaded objects from garbage collection, and make it run less often.

    Modules and the app stay until the end; to walk them again and again would be wasted time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
