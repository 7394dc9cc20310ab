"""The command line: one module for each command, and what they have in common."""

from trio_socketio.cli.command_line import main

__all__ = ["main"]
