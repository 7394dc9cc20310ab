"""``trio-socketio ctl``: calls the methods of a running server, or watches it."""

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from trio_socketio import control
from trio_socketio.cli.arguments import Parser, count, prepare_output, seconds, unrecognized
from trio_socketio.cli.completion import SHELLS, Vocabulary
from trio_socketio.cli.ctl_help import entries, method_help
from trio_socketio.cli.ctl_methods import Api, MethodDescription
from trio_socketio.cli.tables import render
from trio_socketio.cli.watch import watch
from trio_socketio.codec.control_characters import escape
from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.sync_client import ControlClient
from trio_socketio.control.sync_client import escape as escape_bytes
from trio_socketio.errors import (
    ConfigurationError,
    ConnectFailed,
    ControlError,
    LocalProtocolError,
    SessionClosed,
)

DESCRIPTION: Final = Path(control.__file__).with_name("openrpc.json")
ADDRESS_VARIABLE: Final = "TRIO_SOCKETIO_CONTROL"
MAX_TOKEN_BYTES: Final = 4096
_USAGE: Final = "%(prog)s [options] METHOD [KEY=VALUE ...]"
_DESCRIPTION: Final = (
    "Call a method of a server that is running, over its control socket (serve --control), and "
    "print the result."
)
_NOTES: Final = (
    "A VALUE is JSON; where text is expected, it may be plain text. A list may also be given item "
    "by item: rooms=tea rooms=news.",
    "METHOD --help shows the parameters and the result of a method.",
    "Exit codes: 0 on success; 1 if the server answers with an error, or not in time, or "
    "the result cannot be written; 2 if an argument cannot be used; 3 if the server cannot be "
    "reached, or the connection was lost. Errors are one line on standard error. A parameter that "
    "is unknown, missing or of another type gives 2. One that is out of range gives 1, because the "
    "server checks ranges.",
)
_COMMANDS: Final = {
    "watch": "show what the server is doing, until Ctrl-C",
    "completion": f"print a script that completes methods and parameters: {', '.join(SHELLS)}",
}
_FOLLOW: Final = (
    "only a program that stays connected can follow the presence log: see follow_presence of "
    "trio_socketio.control, and spec/guide/presence.md"
)
# Methods that make sense only on a connection that stays open.
_NOT_HERE: Final = {
    "auth": "the token is given with --token-file",
    "backend.register": "only a program that stays connected can be a backend: see "
    "trio_socketio.control",
    **dict.fromkeys(("presence.subscribe", "presence.ack", "presence.unsubscribe"), _FOLLOW),
}
_ADVICE: Final = {
    "FileNotFoundError": "; a server listens there if it was started with --control",
    "ConnectionRefusedError": "; a server listens there if it was started with --control",
    "PermissionError": "; only users who may open the socket can call its methods",
    "SSLCertVerificationError": "; --cafile names the certificates to trust",
}


def main(arguments: Sequence[str], commands: Mapping[str, str]) -> int:
    """Run ``ctl``.

    Args:
        arguments: those behind ``ctl``.
        commands: all of the program, with their summaries.
    Returns:
        The exit code, which the help explains (CTL-06).
    """
    parser = _create_parser()
    # A locale such as C makes Python read arguments as ASCII, but terminals write UTF-8.
    arguments = [os.fsencode(one).decode("utf-8", "surrogateescape") for one in arguments]
    asked, words = parser.parse_known_args(arguments)
    if unknown := [word for word in words if word.startswith("-")]:
        parser.error(unrecognized(unknown, parser))
    prepare_output()
    try:
        code = _run(parser, asked, words, commands)
        sys.stdout.flush()  # here, where its errors are handled
        return code
    except (ConfigurationError, LocalProtocolError) as error:
        parser.error(str(error))
    except ControlError as error:
        return _complain(_word(error), 1)
    except ConnectFailed as error:
        return _complain(f"{error}{_advise(error.__cause__)}", 3)
    except SessionClosed as error:
        return _complain(f"the connection was lost before the answer came: {error.reason}", 3)
    except OSError as error:
        # Output goes nowhere from here on, so that Python's last flush cannot fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, wants no more
            return 0
        return _complain(f"the result cannot be written: {error.strerror}", 1)
    except KeyboardInterrupt:
        return 0 if words == ["watch"] else 130


def _run(
    parser: Parser, asked: argparse.Namespace, words: list[str], commands: Mapping[str, str]
) -> int:
    # The answer of rpc.discover, read from a file, because generating it would import a server.
    api = Api(json.loads(DESCRIPTION.read_bytes()))
    for name in _NOT_HERE:
        api.methods.pop(name, None)
    width = min(shutil.get_terminal_size().columns, 100)
    name, given = (words[0], words[1:]) if words else ("", [])
    if asked.help:
        if name and name not in _COMMANDS:
            _refuse(name)
            print(method_help(api, api.find(name), width))
        else:
            print(_help(parser, api, width))
        return 0
    if not name:
        raise ConfigurationError("expected a METHOD")
    if name == "completion":
        print(_write_completion(parser, api, commands, given), end="")
        return 0
    if name != "watch" and (asked.interval is not None or asked.count is not None):
        raise ConfigurationError("--interval and --count have an effect with watch only")
    _refuse(name)
    with _create_client(asked) as control:
        if name == "watch":
            if given:
                raise ConfigurationError(f"watch takes no parameters, such as {given[0]!r}")
            watch(control, asked.interval or 1.0, asked.count, as_json=asked.json)
        else:
            if name in api.methods:
                parser.prog += f" {name}"  # errors point at the help of the method
            method, params = _read(api, control, name, given)
            # The method itself may wait that long before it answers.
            wait_s = asked.timeout + float(params.get("timeout_s", _default_wait_s(method)))
            try:
                result = control.call(name, params, timeout_s=wait_s)
            except ControlError as error:
                return _complain(_word(error, params), 1)
            print(_show(method, result, as_json=asked.json), flush=True)
    return 0


def _refuse(name: str) -> None:
    if name in _NOT_HERE:
        raise ConfigurationError(f"{name} cannot be called here: {_NOT_HERE[name]}")


def _read(
    api: Api, control: ControlClient, name: str, words: list[str]
) -> tuple[MethodDescription, dict[str, Any]]:
    """Find the method, and read its parameters.

    Raises:
        ConfigurationError: there is no such method, or the parameters do not fit it.
    """
    try:
        method = api.find(name)
        return method, method.read(words)
    except ConfigurationError as error:
        try:  # the server may be of another version, and have more (CTL-14)
            api = Api(control.call("rpc.discover"))
        except (ConnectFailed, ControlError, SessionClosed):
            raise error from None
        method = api.find(name)
        return method, method.read(words)


def _default_wait_s(method: MethodDescription) -> float:
    waits = method.parameters.get("timeout_s")
    return 0.0 if waits is None else float(waits.schema.get("default", 0.0))


def _show(method: MethodDescription, result: Any, *, as_json: bool) -> str:
    if as_json:
        return _to_json(result)  # CTL-09
    if method.name == "rpc.discover":  # a document for programs, which no table can show
        return _to_json(result, indent=2)
    return render(result, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


def _to_json(value: Any, indent: int | None = None) -> str:
    # ASCII alone, so that no control character of a client reaches a terminal (CTL-07).
    return json.dumps(escape_bytes(value), indent=indent)


def _word(error: ControlError, params: Mapping[str, Any] | None = None) -> str:
    """Write an error in one line: its code, its message and its data (CTL-08).

    Args:
        error: the answer to a call.
        params: those of that call; None if the user did not make it.
    """
    known = f" {Code(error.code).name}" if error.code in set(Code) else ""
    data = "" if error.data is None else f" {json.dumps(error.data)}"
    hint = "; --token-file names the file of a token" if error.code == Code.UNAUTHORIZED else ""
    if error.code == Code.NOT_FOUND and params is not None and isinstance(error.data, dict):
        absent = error.data.get("parameter")
        if isinstance(absent, str) and absent not in params:
            hint = f", which is the default; name another with {absent}=VALUE"
    return f"error {error.code}{known}: {error.message}{hint}{data}"


def _advise(cause: BaseException | None) -> str:
    return _ADVICE.get(type(cause).__name__, "")


def _complain(text: str, code: int) -> int:
    print(f"trio-socketio ctl: {escape(text)}", file=sys.stderr)
    return code


# -- arguments


def _create_parser() -> Parser:
    parser = Parser(
        prog="trio-socketio ctl", usage=_USAGE, description=_DESCRIPTION, add_help=False
    )
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show help on ctl, or on METHOD, and exit")
    add(
        "--control",
        metavar="ADDRESS",
        help="where the server listens: unix:PATH, tcp:HOST:PORT, or tls:HOST:PORT (default: "
        f"${ADDRESS_VARIABLE}, or control.sock in $RUNTIME_DIRECTORY or "
        "$XDG_RUNTIME_DIR/trio-socketio)",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the file of the token, which TCP needs (default: none)",
    )
    add(
        "--cafile",
        type=Path,
        metavar="FILE",
        help="trust the certificate authorities in this PEM file instead of the system's",
    )
    add(
        "--timeout",
        type=seconds,
        default=40.0,
        metavar="S",
        help="seconds for connecting and for the answer (default: %(default)g)",
    )
    add("--json", action="store_true", help="print the result as JSON, in one line")
    add(
        "--interval",
        type=seconds,
        metavar="S",
        help="for watch: seconds between two samples (default: 1)",
    )
    add(
        "--count",
        type=count,
        metavar="N",
        help="for watch: the number of samples to show (default: go on until Ctrl-C)",
    )
    return parser


def _help(parser: Parser, api: Api, width: int) -> str:
    """Return the help of ``ctl``, which lists the methods (CTL-01)."""
    methods = {name: method.summary for name, method in api.methods.items()}
    return "\n\n".join(
        [
            parser.format_help().rstrip(),
            f"methods:\n{entries(methods.items(), width)}",
            f"commands:\n{entries(_COMMANDS.items(), width)}",
            *(textwrap.fill(note, width) for note in _NOTES),
        ]
    )


def _write_completion(
    parser: Parser, api: Api, commands: Mapping[str, str], words: Sequence[str]
) -> str:
    """Return the script that completes in a shell (CTL-11).

    Raises:
        ConfigurationError: the words are not the name of one shell.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        raise ConfigurationError(f"completion: expected one of {', '.join(SHELLS)}")
    options = {action.option_strings[-1]: action for action in parser._actions}
    following: dict[str, Mapping[str, str]] = {
        name: {f"{one.name}=": one.description for one in method.parameters.values()}
        for name, method in api.methods.items()
    }
    following["completion"] = {name: f"the script for {name}" for name in SHELLS}
    known = Vocabulary(
        commands,
        {name: _first_part(action.help or "") for name, action in options.items()},
        frozenset(name for name, action in options.items() if action.nargs != 0),
        {name: method.summary for name, method in api.methods.items()} | _COMMANDS,
        following,
    )
    return SHELLS[words[0]](known)


def _first_part(text: str) -> str:
    return text.partition(" (default")[0].partition(": ")[0]


# -- the client


def _create_client(asked: argparse.Namespace) -> ControlClient:
    """Return a client of the address, which has not connected yet (CTL-13).

    Raises:
        ConfigurationError: the address, the token or the certificates cannot be used.
    """
    context = None
    if asked.cafile is not None:
        import ssl  # here, because few addresses need it, and the import takes a while

        try:
            context = ssl.create_default_context(cafile=asked.cafile)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(f"--cafile {asked.cafile}: {error}") from None
    return ControlClient(
        asked.control or os.environ.get(ADDRESS_VARIABLE) or None,
        token=None if asked.token_file is None else _read_token(asked.token_file),
        ssl_context=context,
        timeout_s=asked.timeout,
    )


def _read_token(path: Path) -> str:
    # Not an argument or a variable: other users can see the arguments of a process (CTL-12).
    try:
        with path.open("rb") as file:
            secret = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise ConfigurationError(f"--token-file {path}: {error.strerror}") from None
    if not secret or len(secret) > MAX_TOKEN_BYTES or not secret.isascii():
        raise ConfigurationError(
            f"--token-file {path}: expected a secret of 1 to {MAX_TOKEN_BYTES} ASCII characters"
        )
    return secret.decode()
