"""The commands of the command line."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from trio_socketio import __version__
from trio_socketio.cli import check_config, connect, ctl, init, serve, serve_arguments
from trio_socketio.cli.arguments import Parser, unrecognized


class Command(NamedTuple):
    """A command.

    Args:
        run: runs it with its arguments, and returns the exit code.
        add_arguments: adds its arguments to its parser.
        arguments: names them in its usage.
        summary: one line for the list of commands.
        description, epilog: what its help begins and ends with.
    """

    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    arguments: str
    summary: str
    description: str
    epilog: str


COMMANDS: Final = {
    "connect": Command(
        connect.run,
        connect.add_arguments,
        "[options] URL",
        "talk to a server from the terminal",
        connect.DESCRIPTION,
        connect.EPILOG,
    ),
    "serve": Command(
        serve.run,
        serve_arguments.add_arguments,
        "[options]",
        "serve an app, or a small built-in lobby",
        serve.DESCRIPTION,
        serve.EPILOG,
    ),
    "check-config": Command(
        check_config.run,
        check_config.add_arguments,
        "FILE",
        "show what is wrong with a configuration file",
        check_config.DESCRIPTION,
        check_config.EPILOG,
    ),
    "init": Command(
        init.run,
        init.add_arguments,
        "[FILE]",
        "write an example of a configuration file",
        init.DESCRIPTION,
        init.EPILOG,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code, which the help of each command explains.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    summaries["ctl"] = ctl.SUMMARY
    if arguments[:1] == ["ctl"]:  # a parser of its own, because what may follow is up to the method
        return ctl.main(arguments[1:], summaries)
    parser = Parser(prog="trio-socketio", description="A realtime server that speaks Socket.IO.")
    parser.add_argument("--version", action="version", version=f"trio-socketio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_arguments(
            commands.add_parser(
                name,
                help=command.summary,
                usage=f"%(prog)s {command.arguments}",
                description=command.description,
                epilog=command.epilog,
            )
        )
    commands.add_parser("ctl", help=ctl.SUMMARY)
    asked, unknown = parser.parse_known_args(arguments)
    if unknown:  # the command's own parser reports it, because its --help lists the options
        own = commands.choices[asked.command]
        own.error(unrecognized(unknown, own))
    return COMMANDS[asked.command].run(asked)
