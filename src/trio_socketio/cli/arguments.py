"""The parsing of arguments and the wording of errors that the commands share (CMD-12)."""

import argparse
import os
import sys
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import nan
from typing import Any, Final, NoReturn

from trio_socketio.codec.control_characters import escape
from trio_socketio.errors import ConfigurationError

LONGEST_S: Final = 365 * 24 * 60 * 60
"""The longest time that can be given: what is longer is a mistake, such as milliseconds."""

MOST: Final = 1_000_000_000
"""The largest number of anything that can be asked about."""


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


def complain(error: Exception) -> int:
    """Print an error in one line, and return the exit code for what cannot be used."""
    print(f"trio-socketio: {escape(str(error))}", file=sys.stderr)
    return 2


def prepare_output() -> None:
    """Escape what the terminal cannot show; discard output if standard output is closed."""
    if sys.stdout is None:  # as after >&-
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    else:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a TextIOWrapper


def print_out(text: str) -> int:
    """Print the output of a command.

    Returns:
        The exit code: 0, even if the reader, such as `head`, has closed the pipe; 1, with a line on
        standard error, if the output cannot be written.
    """
    prepare_output()
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # Further output is discarded, so that the flush at the exit of Python cannot fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(ConfigurationError(f"the output cannot be written: {error.strerror}"))
            return 1
    return 0


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


def workers(text: str) -> int | str:
    """Parse a number of workers, or "auto".

    Raises:
        ArgumentTypeError: the text is neither.
    """
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above zero nor auto")
    return int(text)


def whole(text: str) -> int:
    """Parse a whole number that may be zero.

    Raises:
        ArgumentTypeError: the text is not such a number.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number (0 or more)")
    return int(text)


def cookie(name: str) -> str:
    """Check the name of a cookie.

    Raises:
        ArgumentTypeError: a cookie cannot have this name.
    """
    from trio_socketio.engine.options import Cookie  # here, because ctl does not need it

    try:
        return Cookie(name=name).name
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
        ArgumentTypeError: the text is not a number, below zero or above LONGEST_S.
    """
    given = _number(text)
    if not 0 <= given <= LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds (0 to {LONGEST_S}, which is a year)"
        )
    return given


def seconds(text: str) -> float:
    """Parse a time in seconds.

    Raises:
        ArgumentTypeError: the text is not a number above zero, or it is above LONGEST_S.
    """
    given = _number(text)
    if not 0 < given <= LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds (above 0, at most {LONGEST_S}, which is a year)"
        )
    return given


def amount(text: str) -> float:
    """Parse a number of things, or of things a second, that may be zero.

    Raises:
        ArgumentTypeError: the text is not a number, below zero or above MOST.
    """
    given = _number(text)
    if not 0 <= given <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number (0 to {MOST:,})")
    return given


def positive(text: str) -> float:
    """Parse a number above zero.

    Raises:
        ArgumentTypeError: the text is not a number above zero, or it is above MOST.
    """
    given = _number(text)
    if not 0 < given <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number (above 0, at most {MOST:,})")
    return given


def share(text: str) -> float:
    """Parse a share of a whole.

    Raises:
        ArgumentTypeError: the text is not a number from 0 to 1.
    """
    given = _number(text)
    if not 0 <= given <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share (0 to 1)")
    return given


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan  # outside every range
