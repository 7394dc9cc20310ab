"""Arguments of the command line: how they are parsed, and what is said of those that are wrong."""

import argparse
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NoReturn

from trio_socketio.engine.options import Cookie
from trio_socketio.errors import ConfigurationError
from trio_socketio.ops.log import escape


class Parser(argparse.ArgumentParser):
    """Errors are one line, and options are never guessed from their beginnings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """End the program with 2 and one line."""
        self.exit(2, f"{self.prog}: {escape(message)} (see {self.prog} --help)\n")


def unrecognized(unknown: list[str], parser: argparse.ArgumentParser) -> str:
    """What to say of arguments that a parser does not know, with what was probably meant."""
    message = f"unrecognized arguments: {' '.join(unknown)}"
    option = unknown[0].partition("=")[0]
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    if option.endswith(".py"):
        return f"{message}; did you mean --app {option}?"
    similar = get_close_matches(option, known, 1) if option.startswith("-") else []
    return f"{message}; did you mean {similar[0]}?" if similar else message


def port(text: str) -> int:
    """A TCP port.

    Raises:
        ArgumentTypeError: the text is not one.
    """
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def count(text: str) -> int:
    """A whole number above zero.

    Raises:
        ArgumentTypeError: the text is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def cookie(name: str) -> Cookie:
    """A cookie of that name.

    Raises:
        ArgumentTypeError: the text is not one.
    """
    try:
        return Cookie(name=name)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def network(text: str) -> IPv4Network | IPv6Network:
    """An IPv4 or IPv6 network.

    Raises:
        ArgumentTypeError: the text is not one.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def duration(text: str) -> float:
    """A time that may be none at all.

    Raises:
        ArgumentTypeError: the text is not a number, or below zero.
    """
    return 0.0 if text.strip() in ("0", "0.0") else seconds(text)


def seconds(text: str) -> float:
    """A time given on the command line.

    Raises:
        ArgumentTypeError: the text is not a number above zero.
    """
    try:
        given = float(text)
    except ValueError:
        given = 0
    if not 0 < given < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: seconds above zero")
    return given
