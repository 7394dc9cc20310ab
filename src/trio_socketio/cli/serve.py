"""``trio-socketio serve``: serves an app, or a small built-in lobby."""

import argparse
import gc
import os
from collections.abc import Iterator

import trio

from trio_socketio import __version__
from trio_socketio.cli.arguments import complain
from trio_socketio.cli.serve_arguments import FLAGS, add_arguments, given_settings
from trio_socketio.configuration.loading import Sources, load
from trio_socketio.errors import ConfigurationError
from trio_socketio.ops.log import open_log
from trio_socketio.ops.systemd import inherited_purposes
from trio_socketio.signals import ignore_hang_ups
from trio_socketio.standalone import load_program

__all__ = ("DESCRIPTION", "EPILOG", "add_arguments", "run")

DESCRIPTION = "Serve Socket.IO until SIGTERM or SIGINT. Times are in seconds."
EPILOG = (
    "Without --app, a lobby is served: events join, leave, message and list. "
    "Every option can also be set in the file of --config, or in the environment as "
    "TRIO_SOCKETIO__GROUP__KEY. On SIGHUP the server reads them again. "
    "The log goes to standard error. "
    "Exit codes: 0 after SIGTERM or SIGINT; 1 after an unexpected failure, with a traceback; "
    "2 if an argument, an option, the app, an address or a certificate cannot be used, with one "
    "line that says why."
)


def run(asked: argparse.Namespace) -> int:
    """Serve until a signal ends it.

    Returns:
        The exit code: 0 after a signal, 2 if an argument, an option, the app, an address or a
        certificate cannot be used, 130 after an interrupt before the server has begun to serve.
    """
    ignore_hang_ups()
    try:
        inherited = inherited_purposes(os.environ)
        sources = Sources(asked.config, os.environ, given_settings(asked), FLAGS, inherited)
        loaded = load(sources)
        with open_log(loaded.configuration.log) as log:
            program = load_program(sources, loaded, log, __version__)
            _freeze()
            trio.run(program.serve)
    except ConfigurationError as error:
        return complain(error)
    except BaseExceptionGroup as group:  # trio puts what leaves a nursery into one
        faults, others = group.split(ConfigurationError)
        if faults is None or others is not None:
            raise
        return max(map(complain, _leaves(faults)))
    except KeyboardInterrupt:  # before the server has installed its signal handlers
        return 130
    return 0


def _leaves(group: BaseExceptionGroup[ConfigurationError]) -> Iterator[ConfigurationError]:
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
    gc.set_threshold(100_000, 50, 100)
