"""The commands of the command line. Each is imported only to run, or to show its help."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from trio_socketio import __version__
from trio_socketio.cli.arguments import Parser, unrecognized

_USAGES: Final = {
    "connect": "[options] URL",
    "serve": "[options]",
    "check-config": "FILE",
    "init": "[FILE | --deploy DIR] [--force]",
    "size": "--connections N [options]",
}
"""The arguments in the usage of each command that shares the parser."""
SUMMARIES: Final = {
    "connect": "talk to a server from the terminal",
    "serve": "serve an app, or a small built-in lobby",
    "check-config": "show what is wrong with a configuration file",
    "init": "write an example of a configuration file, or the files of a service",
    "size": "compute what a load needs: cores, memory, Redis, machines",
    "ctl": "call a method of a running server, or watch it",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code, which the help of each command explains.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    while arguments[:1] == [
        "--"
    ]:  # it would end the options before the command, and there are none
        arguments = arguments[1:]
    if arguments[:1] == ["ctl"]:  # a parser of its own, because what may follow is up to the method
        from trio_socketio.cli import ctl

        return ctl.main(arguments[1:], SUMMARIES)
    parser = Parser(prog="trio-socketio", description="A realtime server that speaks Socket.IO.")
    parser.add_argument("--version", action="version", version=f"trio-socketio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked_for = next((one for one in arguments if not one.startswith("-")), "")
    module: Any = None
    for name, summary in SUMMARIES.items():
        if name != asked_for or name not in _USAGES:
            commands.add_parser(name, help=summary)
            continue
        module = import_module(f"trio_socketio.cli.{name.replace('-', '_')}")
        module.add_arguments(
            commands.add_parser(
                name,
                help=summary,
                usage=f"%(prog)s {_USAGES[name]}",
                description=module.DESCRIPTION,
                epilog=module.EPILOG,
            )
        )
    asked, unknown = parser.parse_known_args(arguments)
    if unknown:  # the command's own parser reports it, because its --help lists the options
        own = commands.choices[asked.command]
        own.error(unrecognized(unknown, own))
    asked.words = list(arguments)
    code: int = module.run(asked)
    return code
