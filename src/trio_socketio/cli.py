"""The command line: arguments, and errors that a person can act on."""

import argparse
import gc
import resource
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn

import trio

from trio_socketio import __version__, terminal
from trio_socketio.app import Listening, load_server, serve
from trio_socketio.errors import ConfigurationError
from trio_socketio.ops.log import FORMATS, LEVELS, escape, set_up
from trio_socketio.options import PARSERS, TRANSPORTS, Cookie, PerMessageDeflate, ServerOptions

# Command line name -> field of ServerOptions; given ones override the app's.
_OPTIONS = {
    "path": "path",
    "ping_interval": "ping_interval_s",
    "ping_timeout": "ping_timeout_s",
    "upgrade_timeout": "upgrade_timeout_s",
    "max_payload": "max_http_buffer_size_bytes",
    "connect_timeout": "connect_timeout_s",
    "allow_eio3": "allow_eio3",
    "parser": "parser",
    "state_recovery": "state_recovery",
    "state_recovery_duration": "state_recovery_max_disconnection_s",
    "transport": "transports",
    "upgrades": "allow_upgrades",
    "destroy_upgrade": "destroy_upgrade",
    "trailing_slash": "add_trailing_slash",
    "per_message_deflate": "per_message_deflate",
    "cookie": "cookie",
    "cors_origin": "cors_origins",
    "cors_credentials": "cors_credentials",
    "cors_max_age": "cors_max_age_s",
    "serve_client": "serve_client",
    "client_dist": "client_dist",
    "trusted_proxy": "trusted_proxies",
    "input_bound": "input_bound_bytes",
    "input_bound_all": "input_bound_all_bytes",
    "max_connections": "max_connections",
    "max_connections_per_address": "max_connections_per_address",
    "max_unjoined_sessions": "max_unjoined_sessions",
    "max_unjoined_sessions_per_address": "max_unjoined_sessions_per_address",
    "max_dynamic_namespaces": "max_dynamic_namespaces",
    "max_namespaces_founded_per_session": "max_namespaces_founded_per_session",
    "cleanup_empty_child_namespaces": "cleanup_empty_child_namespaces",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 2 when what was asked cannot be done.

    For `connect` see terminal.run.
    """
    asked = _parser().parse_args(arguments)
    if asked.command == "connect":
        return terminal.run(asked)
    try:
        set_up(asked.log_level, asked.log_format)
        server = load_server(asked.app, _given(asked))
        listening = Listening(asked.host, asked.port, asked.unix, asked.certfile, asked.keyfile)
        if listening.keyfile is not None and listening.certfile is None:
            raise ConfigurationError("--keyfile needs --certfile")
        _raise_descriptor_limit()
        _freeze()
        trio.run(serve, server, listening)
    except (ConfigurationError, BaseExceptionGroup) as error:
        # trio wraps what leaves a nursery; a person wants the one line
        fault = error
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        if not isinstance(fault, ConfigurationError):
            raise
        print(f"trio-socketio: {escape(str(fault))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server took the signal over
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Errors are one line, and options are never guessed from their beginnings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        self.exit(2, f"{self.prog}: {escape(message)} (see {self.prog} --help)\n")


def _given(asked: argparse.Namespace) -> dict[str, Any]:
    given = {
        field: getattr(asked, name)
        for name, field in _OPTIONS.items()
        if getattr(asked, name) is not None
    }
    for field in ("transports", "cors_origins", "trusted_proxies"):
        if field in given:
            given[field] = tuple(given[field])
    if asked.no_http_compression:
        given["http_compression"] = None
    if "client_dist" in given:
        given.setdefault("serve_client", True)
    return given


def _raise_descriptor_limit() -> None:
    """A connection takes a descriptor: use all that we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _freeze() -> None:
    """What is loaded now stays: the collector need not look at it again, nor so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="trio-socketio", description="A realtime server that speaks Socket.IO.")
    parser.add_argument("--version", action="version", version=f"trio-socketio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    terminal.add_arguments(
        commands.add_parser(
            "connect",
            help="talk to a server from the terminal",
            description="Each line of input is emitted, each event is printed: event json json ... "
            "With ? before the event, the server's answer is printed as well. "
            "Ends with 0 at the end of the input or Ctrl-C, with 1 if the server cannot be "
            "reached, refuses, or ends it.",
        )
    )
    command = commands.add_parser(
        "serve",
        help="serve an app, or a small built-in lobby",
        description="Serve Socket.IO until SIGTERM or SIGINT. Times are in seconds.",
        epilog="Without --app, a lobby is served: events join, leave, message and list.",
    )
    add = command.add_argument
    default = ServerOptions()
    add(
        "--app",
        metavar="FILE.py[:NAME]|MODULE[:NAME]",
        help="NAME is a Server, or a function of ServerOptions that returns one "
        "(default: create, app, sio or server)",
    )
    where = command.add_argument_group("where to listen")
    where.add_argument("--host", default="127.0.0.1", help="name or address (default: %(default)s)")
    where.add_argument(
        "--port", type=_port, default=3000, help="TCP port, 0 for a free one (default: %(default)s)"
    )
    where.add_argument(
        "--unix", type=Path, metavar="FILE", help="listen on a Unix socket instead of TCP"
    )
    where.add_argument("--certfile", type=Path, metavar="FILE", help="certificate chain: speak TLS")
    where.add_argument("--keyfile", type=Path, metavar="FILE", help="key, unless in --certfile")
    where.add_argument("--path", help=f"of the URL (default: {default.path})")
    how = command.add_argument_group("how to behave; what is given here overrides the app")
    for name, what, usual in (
        ("--ping-interval", "from a heartbeat to the next ping", default.ping_interval_s),
        ("--ping-timeout", "for a client to answer a ping", default.ping_timeout_s),
        ("--upgrade-timeout", "for a client to upgrade", default.upgrade_timeout_s),
        ("--connect-timeout", "for a client to join a namespace", default.connect_timeout_s),
    ):
        how.add_argument(
            name, type=terminal.seconds, metavar="S", help=f"{what} (default: {usual:g})"
        )
    how.add_argument(
        "--max-payload",
        type=_count,
        metavar="BYTES",
        help="largest body or message from a client "
        f"(default: {default.max_http_buffer_size_bytes})",
    )
    for name, whose, usual in (
        ("--input-bound", "a client", default.input_bound_bytes),
        ("--input-bound-all", "all clients together", default.input_bound_all_bytes),
    ):
        how.add_argument(
            name,
            type=_count,
            metavar="BYTES",
            help=f"what {whose} may have sent and handlers not finished with (default: {usual})",
        )
    how.add_argument(
        "--allow-eio3",
        action="store_true",
        default=None,
        help="serve socket.io-client 1.x and 2.x too (default: no)",
    )
    how.add_argument(
        "--parser",
        choices=PARSERS,
        help=f"that all clients speak (default: {default.parser})",
    )
    how.add_argument(
        "--state-recovery",
        action=argparse.BooleanOptionalAction,
        help="let clients that lost their connection go on with their sockets (default: no)",
    )
    how.add_argument(
        "--state-recovery-duration",
        type=terminal.seconds,
        metavar="S",
        help="for how long they may be away "
        f"(default: {default.state_recovery_max_disconnection_s:g})",
    )
    how.add_argument(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        help="that clients may use; may be given several times (default: both)",
    )
    for flag, name, what in (
        ("--no-upgrades", "upgrades", "do not let sessions go from polling to WebSocket"),
        ("--no-destroy-upgrade", "destroy_upgrade", "keep connections that ask it of other paths"),
        ("--no-trailing-slash", "trailing_slash", "answer the path without a trailing slash too"),
    ):
        how.add_argument(flag, dest=name, action="store_false", default=None, help=what)
    how.add_argument(
        "--no-http-compression", action="store_true", help="send polling answers as they are"
    )
    how.add_argument(
        "--per-message-deflate",
        action="store_const",
        const=PerMessageDeflate(),
        help="compress WebSocket messages for clients that offer it",
    )
    how.add_argument(
        "--cookie",
        nargs="?",
        const=Cookie().name,
        type=_cookie,
        metavar="NAME",
        help="set a cookie that holds the session's id (default: none; without a NAME: "
        f"{Cookie().name})",
    )
    how.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help="a foreign origin that may connect, as https://example.com, or * for any; "
        "may be given several times (default: none)",
    )
    how.add_argument(
        "--cors-credentials",
        action="store_true",
        default=None,
        help="pages of those origins may send cookies",
    )
    how.add_argument(
        "--cors-max-age",
        type=_count,
        metavar="S",
        help="how long browsers keep the answer to a preflight (default: their own choice)",
    )
    client = how.add_mutually_exclusive_group()
    client.add_argument(
        "--serve-client",
        dest="client_dist",
        type=Path,
        metavar="FOLDER",
        help="where the browser's client is (default: the npm package in the working directory)",
    )
    client.add_argument(
        "--no-serve-client",
        dest="serve_client",
        action="store_false",
        default=None,
        help="do not serve the browser's client",
    )
    how.add_argument(
        "--trusted-proxy",
        action="append",
        type=_network,
        metavar="CIDR",
        help="believe X-Forwarded-* of proxies in this network; may be given several times",
    )
    how.add_argument(
        "--max-connections",
        type=_count,
        metavar="N",
        help=f"more are answered 503 (default: {default.max_connections})",
    )
    how.add_argument(
        "--max-connections-per-address", type=_count, metavar="N", help="(default: no bound)"
    )
    for name, where_from, bound in (
        ("--max-unjoined-sessions", "", default.max_unjoined_sessions),
        (
            "--max-unjoined-sessions-per-address",
            " of one address",
            default.max_unjoined_sessions_per_address,
        ),
    ):
        how.add_argument(
            name,
            type=_count,
            metavar="N",
            help=f"sessions{where_from} that have joined nothing yet (default: {bound})",
        )
    how.add_argument(
        "--max-dynamic-namespaces",
        type=_count,
        metavar="N",
        help="that clients may bring into being; more are refused "
        f"(default: {default.max_dynamic_namespaces})",
    )
    how.add_argument(
        "--max-namespaces-founded-per-session",
        type=_count,
        metavar="N",
        help="of those, by one client; more are refused "
        f"(default: {default.max_namespaces_founded_per_session})",
    )
    how.add_argument(
        "--cleanup-empty-child-namespaces",
        action=argparse.BooleanOptionalAction,
        help="end a namespace that a client brought into being when nobody is in it (default: no)",
    )
    logs = command.add_argument_group("what to tell")
    logs.add_argument("--log-level", choices=LEVELS, default="info", help="(default: %(default)s)")
    logs.add_argument(
        "--log-format", choices=FORMATS, default="text", help="(default: %(default)s)"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)


def _cookie(name: str) -> Cookie:
    try:
        return Cookie(name=name)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _network(text: str) -> Any:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
