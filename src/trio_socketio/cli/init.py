"""``trio-socketio init``: writes an example of a configuration file, or the files of a service."""

import argparse
from pathlib import Path
from typing import Final

from trio_socketio.cli.arguments import complain, print_out
from trio_socketio.errors import ConfigurationError

DEFAULT_FILE: Final = Path("trio-socketio.toml")
DESCRIPTION = (
    "Write an example of a configuration file: every option with its meaning and its default, "
    "commented out. Or, with --deploy, the files of a service: a short configuration, units of "
    "systemd, a site of nginx and one of HAProxy, a Containerfile, alerts and a dashboard."
)
EPILOG = "Exit codes: 0; 2 if a file exists already or cannot be written."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``init`` to its parser."""
    command.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=f"the file to write, or - for standard output (default: {DEFAULT_FILE})",
    )
    command.add_argument(
        "--deploy",
        type=Path,
        metavar="DIR",
        help="write the files of a service into this folder instead",
    )
    command.add_argument("--force", action="store_true", help="replace files that exist")


def run(asked: argparse.Namespace) -> int:
    """Write the example, or the files.

    Returns:
        The exit code: 0, 2 if a file exists or cannot be written, or 1 if standard output
        cannot.
    """
    try:
        if asked.deploy is None:
            text = _write_example(asked.file or DEFAULT_FILE, force=asked.force)
        elif asked.file is None:
            from trio_socketio.cli.deploy_files import write_files  # most calls do without

            text = write_files(asked.deploy, force=asked.force)
        else:
            raise ConfigurationError(
                f"--deploy writes {DEFAULT_FILE} with its other files: leave out {asked.file}"
            )
    except ConfigurationError as error:
        return complain(error)
    return print_out(text)


def _write_example(path: Path, *, force: bool) -> str:
    """Write the example of a configuration file.

    Returns:
        What to print.
    Raises:
        ConfigurationError: the file exists already, or cannot be written.
    """
    from trio_socketio.configuration.tables import TABLES
    from trio_socketio.configuration.text import example_text

    text = example_text(TABLES)
    if str(path) == "-":
        return text
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already, and is left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    return f"wrote {path}; serve it with: trio-socketio serve --config {path}\n"
