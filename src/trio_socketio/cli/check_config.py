"""``trio-socketio check-config``: lists the errors of a configuration, or its options."""

import argparse
import os
import sys
from pathlib import Path

from trio_socketio.cli.arguments import print_out
from trio_socketio.codec.control_characters import escape
from trio_socketio.configuration.checks import find_idle, find_unserved
from trio_socketio.configuration.exposed import find_exposed
from trio_socketio.configuration.loading import Sources, load
from trio_socketio.configuration.settings import Faults
from trio_socketio.configuration.tables import TABLES
from trio_socketio.configuration.text import effective_text

DESCRIPTION = (
    "Check a configuration file, together with the environment, as serve --config FILE would read "
    "it. The files, folders and hosts that it names are checked too. No port is opened, and the "
    "app is not loaded. If there is no error, print every option with its value and where it comes "
    "from."
)
EPILOG = (
    "Exit codes: 0 if the configuration can be used, with a warning for each option that has no "
    "effect, and for each secret that every user can read; 2 if not, with a line for each error."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check-config`` to its parser."""
    command.add_argument("file", type=Path, metavar="FILE", help="the file to check")


def run(asked: argparse.Namespace) -> int:
    """Check a file.

    Returns:
        The exit code: 0, 2 if there is an error, or 1 if the output cannot be written.
    """
    try:
        loaded = load(Sources(asked.file, os.environ, {}, {}), with_surroundings=True)
    except Faults as error:
        for fault in error.faults:
            print(f"trio-socketio: {escape(fault)}", file=sys.stderr)
        return 2
    configuration = loaded.configuration
    idle = find_idle(configuration, loaded.settings, {})
    for warning in (*idle, *find_unserved(configuration), *find_exposed(loaded, asked.file)):
        print(f"trio-socketio: warning: {escape(warning)}", file=sys.stderr)
    return print_out(effective_text(configuration, loaded.settings, TABLES))
