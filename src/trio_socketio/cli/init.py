"""``trio-socketio init``: writes an example of a configuration file."""

import argparse
from pathlib import Path
from typing import Final

from trio_socketio.cli.arguments import complain, print_out
from trio_socketio.configuration.tables import TABLES
from trio_socketio.configuration.text import example_text
from trio_socketio.errors import ConfigurationError

DEFAULT_FILE: Final = Path("trio-socketio.toml")
DESCRIPTION = (
    "Write an example of a configuration file: every option with its meaning and its default, "
    "commented out."
)
EPILOG = "Exit codes: 0; 2 if the file exists already or cannot be written."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``init`` to its parser."""
    command.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=DEFAULT_FILE,
        metavar="FILE",
        help="the file to write, or - for standard output (default: %(default)s)",
    )


def run(asked: argparse.Namespace) -> int:
    """Write the example.

    Returns:
        The exit code: 0, 2 if the file exists or cannot be written, or 1 if standard output
        cannot.
    """
    text = example_text(TABLES)
    if str(asked.file) == "-":
        return print_out(text)
    try:
        with asked.file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return complain(ConfigurationError(f"{asked.file} exists already, and is left as it is"))
    except OSError as error:
        return complain(ConfigurationError(f"cannot write {asked.file}: {error.strerror}"))
    return print_out(
        f"wrote {asked.file}; serve it with: trio-socketio serve --config {asked.file}\n"
    )
