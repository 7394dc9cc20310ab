"""``trio-socketio connect``: a client for the terminal.

A line of input is an event's name and its arguments, each a JSON text: ``move {"x": 1} "fast"``.
With ``?`` in front of the name, the server's answer is awaited and printed. A name with spaces or
quotes is written as a JSON text too. Events are printed as lines of the same form, and everything
else is written to standard error.
"""

import argparse
import json
import os
import re
import signal
import ssl
import sys
from pathlib import Path
from typing import Any, Final

import trio

from trio_socketio.cli.arguments import seconds
from trio_socketio.client.client import Client
from trio_socketio.client.endpoint import first_cause
from trio_socketio.client.opening import open_client
from trio_socketio.client.options import ClientOptions
from trio_socketio.client.session import TRANSPORTS
from trio_socketio.codec.control_characters import escape
from trio_socketio.codec.parsers import PARSERS
from trio_socketio.errors import (
    ConfigurationError,
    ConnectRefused,
    TrioSocketIOError,
)
from trio_socketio.ops.log import set_up

MAX_LINE_BYTES: Final = 1 << 20
DESCRIPTION: Final = (
    "Emit each line of input as an event, and print each event that comes, as: event json json ... "
    "With ? before the event, the server's answer is printed as well."
)
EPILOG: Final = (
    "Exit codes: 0 at the end of the input or after Ctrl-C; 1 if the server cannot be reached, "
    "refuses, or ends the connection; 2 if an argument cannot be used."
)
_PLAIN_NAME: Final = re.compile(r"[^\s\"?][^\s\"]*")
_READ: Final = json.JSONDecoder().raw_decode


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``connect`` to its parser."""
    add = command.add_argument
    add("url", metavar="URL", help="http[s]://host[:port], ws[s]://..., or unix:/file")
    add(
        "--namespace",
        default="/",
        metavar="NS",
        help="the namespace to join (default: %(default)s)",
    )
    add("--auth", type=_object, metavar="JSON", help="credentials: an object for the server")
    add(
        "--transports",
        type=_transports,
        default=TRANSPORTS,
        metavar="LIST",
        help="the first opens the connection, the second upgrades it "
        f"(default: {','.join(TRANSPORTS)})",
    )
    add("--path", help=f"where Socket.IO answers (default: {ClientOptions().path})")
    add(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar="'NAME: VALUE'",
        help="sent with every request; may be given several times",
    )
    trust = command.add_mutually_exclusive_group()
    trust.add_argument(
        "--cafile",
        type=Path,
        metavar="FILE",
        help="trust the certificate authorities in this PEM file instead of the system's",
    )
    trust.add_argument(
        "--insecure",
        action="store_true",
        help="trust any certificate; only for tests, because others can then read and change "
        "what is sent",
    )
    add(
        "--parser",
        choices=PARSERS,
        default="json",
        help="the parser of the server (default: %(default)s)",
    )
    add(
        "--timeout",
        type=seconds,
        default=20.0,
        metavar="S",
        help="seconds for connecting, and for each answer (default: %(default)g)",
    )
    add(
        "--no-reconnect",
        action="store_true",
        help="exit when the connection is lost (default: connect again)",
    )


def run(asked: argparse.Namespace) -> int:
    """Connect, and go on until the input ends, a signal comes, or the server ends the connection.

    Returns:
        The exit code: 0; 1 if the server cannot be reached, refuses, or ends the connection; 2 if
        an argument cannot be used.
    """
    set_up("warning", "text")
    try:
        return trio.run(_main, asked)
    except BaseExceptionGroup as errors:  # a signal that came before its receiver was open
        if errors.split(KeyboardInterrupt)[1] is not None:
            raise
        return 0
    except KeyboardInterrupt:
        return 0


async def _main(asked: argparse.Namespace) -> int:
    code = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            try:
                code = await _converse(asked)
            except ConnectRefused as error:
                data = "" if error.data is None else f" {_show(error.data)}"
                code = _complain(f"refused: {error.message}{data}")
            except ConfigurationError as error:
                code = _complain(str(error), 2)
            except TrioSocketIOError as error:
                code = _complain(f"cannot connect to {asked.url}: {error}{_advice(error, asked)}")
            nursery.cancel_scope.cancel()
    return code


async def _cancel_on_signal(signals: Any, scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _converse(asked: argparse.Namespace) -> int:
    options = ClientOptions(
        connect_timeout_s=asked.timeout,
        reconnect=not asked.no_reconnect,
        **({} if asked.path is None else {"path": asked.path}),
    )
    async with open_client(
        asked.url,
        namespaces=asked.namespace,
        auth=asked.auth,
        headers=dict(asked.header),
        transports=asked.transports,
        ssl_context=_tls_context(asked),
        options=options,
        parser=asked.parser,
    ) as client:
        _register(client)
        _tell(f"connected as {client.id}")
        async with trio.open_nursery() as nursery:
            code = 0

            async def watch() -> None:
                nonlocal code
                reason = await client.wait_closed()
                code = _complain(f"the server ended it: {reason}")
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await _emit_lines(client, asked.timeout)
            with trio.move_on_after(asked.timeout):
                await client.wait_drained()
            nursery.cancel_scope.cancel()
        return code


def _tls_context(asked: argparse.Namespace) -> ssl.SSLContext | None:
    """Create the context for --cafile or --insecure; None trusts what the system trusts.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    if asked.cafile is None and not asked.insecure:
        return None
    option = "--insecure" if asked.insecure else "--cafile"
    if not _is_secure(asked.url):
        _tell(f"warning: {option} has no effect, because only https:// and wss:// speak TLS")
        return None
    if asked.cafile is not None:
        try:
            return ssl.create_default_context(cafile=asked.cafile)
        except ssl.SSLError as error:
            why = f"it holds no certificate in PEM form ({error.reason})"
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
        raise ConfigurationError(f"--cafile {asked.cafile}: {why}")
    _tell(
        "warning: --insecure: the certificate of the server is not checked; others on the way can "
        "read and change what is sent"
    )
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_secure(url: str) -> bool:
    return url.lower().startswith(("https:", "wss:"))


def _advice(error: TrioSocketIOError, asked: argparse.Namespace) -> str:
    """Name an option or another URL that may help; empty if there is none."""
    cause, said = first_cause(error), str(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        if "self" in cause.verify_message or "issuer" in cause.verify_message:
            return "; give the file of its certificate authority with --cafile"
        return "; --insecure connects all the same, which is for tests"
    if isinstance(cause, ssl.SSLError):
        return "; try http:// instead of https://"
    if "closed the connection" in said and not _is_secure(asked.url):
        return "; if it speaks TLS, try https:// instead of http://"
    if "lost at once" in said:
        return "; see --parser"
    return ""


def _register(client: Client) -> None:
    @client.on_any
    def show(name: str | float, *arguments: Any) -> None:
        _print(_line(name, arguments))

    @client.on("disconnect")
    def lost(reason: str) -> None:
        # Otherwise the client does not connect again, and the end is told when it has ended.
        if client.options.reconnect and reason != "io server disconnect":
            _tell(f"disconnected: {reason}")

    @client.on("connect_error")
    def failed(error: Exception) -> None:
        _tell(f"cannot connect again: {error}")

    @client.on("connect")
    def again() -> None:
        if client.joined_count > 1:
            how = "recovered" if client.recovered else "connected again"
            _tell(f"{how} as {client.id}")


async def _emit_lines(client: Client, timeout_s: float) -> None:
    rest = b""
    async with trio.open_nursery() as answers:
        while True:
            # Read in a thread: O_NONBLOCK would apply to everything that shares the terminal.
            data = await trio.to_thread.run_sync(os.read, 0, 65536, abandon_on_cancel=True)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines if data else [rest]:
                await _emit(client, line.decode(errors="replace").strip(), timeout_s, answers)
            if not data:
                break
            if len(rest) > MAX_LINE_BYTES:
                _tell(f"a line of more than {MAX_LINE_BYTES} bytes is not sent")
                rest = b""


async def _emit(client: Client, line: str, timeout_s: float, answers: trio.Nursery) -> None:
    if not line:
        return
    try:
        name, arguments = read_line(line.removeprefix("?"))
        if line.startswith("?"):
            await answers.start(_ask, client, name, arguments, timeout_s)
        else:
            client.emit(name, *arguments)
    except (ValueError, TrioSocketIOError) as error:
        _tell(f"not sent: {error}")


async def _ask(
    client: Client,
    name: str,
    arguments: list[Any],
    timeout_s: float,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    task_status.started()  # the event is still sent before the next line is handled
    try:
        answer = await client.emit_with_ack(name, *arguments, timeout_s=timeout_s)
    except TrioSocketIOError as error:
        _tell(f"?{_line(name, ())}: {error}")
    else:
        _print(f"?{_line(name, answer if type(answer) is tuple else (answer,))}")


def read_line(line: str) -> tuple[str, list[Any]]:
    """Parse a line of input.

    Returns:
        The event's name, and its arguments.
    Raises:
        ValueError: the message says what is wrong with the line.
    """
    line = line.strip()
    if line.startswith('"'):
        name, at = _value(line, 0, "the name")
    else:
        found = _PLAIN_NAME.match(line)
        if found is None:
            raise ValueError("a line is: event json json ...")
        name, at = found[0], found.end()
    arguments: list[Any] = []
    while at < len(line):
        if not line[at].isspace():
            raise ValueError(f"a space is missing before {line[at:]!r}")
        at += len(line[at:]) - len(line[at:].lstrip())
        value, at = _value(line, at, f"argument {len(arguments) + 1}")
        arguments.append(value)
    return name, arguments


def _value(line: str, at: int, what: str) -> tuple[Any, int]:
    try:
        return _READ(line, at)
    except (ValueError, RecursionError):
        raise ValueError(f'{what} is not JSON (text is written "text"): {line[at:]!r}') from None


def _line(name: str | float, arguments: Any) -> str:
    """Write an event as it could be typed."""
    plain = isinstance(name, str) and _PLAIN_NAME.fullmatch(name) and name.isprintable()
    return " ".join([str(name) if plain else json.dumps(name), *map(_show, arguments)])


def _show(value: Any) -> str:
    """Write a value as JSON on one line; binary is shown by its size and its first bytes."""

    def binary(data: Any) -> str:
        return f"<{len(data)} bytes: {data[:16].hex()}{'...' if len(data) > 16 else ''}>"

    return json.dumps(value, default=binary)


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the reader has gone, as `head` does, and wants no more
        # Output goes nowhere from here on, so that Python's last flush cannot fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGINT)


def _tell(text: str) -> None:
    print(f"trio-socketio: {escape(text)}", file=sys.stderr, flush=True)


def _complain(text: str, code: int = 1) -> int:
    _tell(text)
    return code


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"token": "x"}}')
    return value


def _transports(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if any(name not in TRANSPORTS for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}: some of {','.join(TRANSPORTS)}")
    return names


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a header: 'Name: value'")
    return name.strip(), value.strip()
