"""Parses the values of command line arguments, and words the errors about them."""

import argparse
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NoReturn

from trio_socketio.engine.options import Cookie
from trio_socketio.errors import ConfigurationError
from trio_socketio.ops.log import escape


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which accepts no abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"{self.prog}: {escape(message)} (see {self.prog} --help)\n")


def unrecognized(unknown: list[str], parser: argparse.ArgumentParser) -> str:
    """Word the error about arguments that a parser does not know, with what was probably meant."""
    message = f"unrecognized arguments: {' '.join(unknown)}"
    option = unknown[0].partition("=")[0]
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    if option.endswith(".py"):
        return f"{message}; did you mean --app {option}?"
    similar = get_close_matches(option, known, 1) if option.startswith("-") else []
    return f"{message}; did you mean {similar[0]}?" if similar else message


def port(text: str) -> int:
    """Parse a TCP port.

    Raises:
        ArgumentTypeError: the text is not a port.
    """
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def count(text: str) -> int:
    """Parse a whole number above zero.

    Raises:
        ArgumentTypeError: the text is not such a number.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def cookie(name: str) -> Cookie:
    """Make a cookie of this name.

    Raises:
        ArgumentTypeError: a cookie cannot have this name.
    """
    try:
        return Cookie(name=name)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def network(text: str) -> IPv4Network | IPv6Network:
    """Parse an IPv4 or IPv6 network.

    Raises:
        ArgumentTypeError: the text is not a network.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def duration(text: str) -> float:
    """Parse a time in seconds that may be zero.

    Raises:
        ArgumentTypeError: the text is not a number, or below zero.
    """
    return 0.0 if text.strip() in ("0", "0.0") else seconds(text)


def seconds(text: str) -> float:
    """Parse a time in seconds.

    Raises:
        ArgumentTypeError: the text is not a number above zero.
    """
    try:
        given = float(text)
    except ValueError:
        given = 0
    if not 0 < given < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above zero")
    return given
