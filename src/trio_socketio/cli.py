"""The command line: its arguments, and errors that tell a person what to do."""

import argparse
import gc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from trio_socketio import __version__, terminal
from trio_socketio.app import Listening, load_server, serve
from trio_socketio.arguments import (
    Parser,
    cookie,
    count,
    duration,
    network,
    port,
    seconds,
    unrecognized,
    warn_of_idle,
    whole,
)
from trio_socketio.codec.parsers import PARSERS
from trio_socketio.engine.options import TRANSPORTS, Cookie
from trio_socketio.errors import ConfigurationError
from trio_socketio.net.options import PerMessageDeflate
from trio_socketio.ops.log import FORMATS, LEVELS, LogOptions, escape, open_log
from trio_socketio.socketio.options import ServerOptions

# The fields of ServerOptions by the names of their arguments, which override the app's if given.
_OPTIONS = {
    "path": "path",
    "ping_interval": "ping_interval_s",
    "ping_timeout": "ping_timeout_s",
    "upgrade_timeout": "upgrade_timeout_s",
    "max_payload": "max_http_buffer_size_bytes",
    "connect_timeout": "connect_timeout_s",
    "stop_delay": "stop_delay_s",
    "stop_window": "stop_window_s",
    "stop_grace": "stop_grace_s",
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

_DEFAULT_HOST = "127.0.0.1"
_DEFAULT_PORT = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code. Of `serve`: 0 after a signal, 2 if an argument, the app, an address or a
        certificate cannot be used, 130 after an interrupt before the server has begun to serve. Of
        `connect`: see terminal.run.
    """
    parser, commands = _parser()
    asked, unknown = parser.parse_known_args(arguments)
    if unknown:  # the command's own parser reports it, because its --help lists the options
        commands[asked.command].error(unrecognized(unknown, commands[asked.command]))
    if asked.command == "connect":
        return terminal.run(asked)
    try:
        with open_log(LogOptions(level=asked.log_level, format=asked.log_format)):
            listening = _listening(asked)
            server = load_server(asked.app, _given(asked))
            warn_of_idle(asked, server.options)
            _freeze()
            trio.run(serve, server, listening)
    except (ConfigurationError, BaseExceptionGroup) as error:
        # trio puts what leaves a nursery into groups, but a person needs only the one line.
        fault = error
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        if not isinstance(fault, ConfigurationError):
            raise
        print(f"trio-socketio: {escape(str(fault))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server has installed its signal handlers
        return 130
    return 0


def _listening(asked: argparse.Namespace) -> Listening:
    """Take from the arguments where to listen.

    Raises:
        ConfigurationError: two arguments contradict each other (CMD-10).
    """
    if asked.fd is not None and (asked.unix, asked.host, asked.port) != (None, None, None):
        raise ConfigurationError(
            "--fd listens on an inherited descriptor: leave out --host, --port and --unix"
        )
    for name in ("host", "port"):
        if asked.unix is not None and getattr(asked, name) is not None:
            raise ConfigurationError(
                f"--unix does not listen on a {name}: leave out --unix or --{name}"
            )
    if asked.keyfile is not None and asked.certfile is None:
        raise ConfigurationError("--keyfile needs --certfile")
    hosts = tuple(asked.host or (_DEFAULT_HOST,))
    inherited = tuple(asked.fd or ())
    port = _DEFAULT_PORT if asked.port is None else asked.port
    return Listening(hosts, port, asked.unix, inherited, asked.certfile, asked.keyfile)


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


def _freeze() -> None:
    """Keep the garbage collector from what is loaded now, and have it run less often.

    Modules and the app stay until the end; to walk them again and again would be wasted time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Create the parser of the command line, and return it with those of its commands."""
    parser = Parser(prog="trio-socketio", description="A realtime server that speaks Socket.IO.")
    parser.add_argument("--version", action="version", version=f"trio-socketio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    terminal.add_arguments(
        commands.add_parser(
            "connect",
            help="talk to a server from the terminal",
            usage="%(prog)s [options] URL",
            description="Emit each line of input as an event, and print each event that comes, as: "
            "event json json ... With ? before the event, the server's answer is printed as well.",
            epilog="Exit codes: 0 at the end of the input or after Ctrl-C; 1 if the server cannot "
            "be reached, refuses, or ends the connection; 2 if an argument cannot be used.",
        )
    )
    command = commands.add_parser(
        "serve",
        help="serve an app, or a small built-in lobby",
        usage="%(prog)s [options]",
        description="Serve Socket.IO until SIGTERM or SIGINT. Times are in seconds.",
        epilog="Without --app, a lobby is served: events join, leave, message and list. "
        "The log goes to standard error. "
        "Exit codes: 0 after SIGTERM or SIGINT; 1 after an unexpected failure, with a traceback; "
        "2 if an argument, the app, an address or a certificate cannot be used, with one line that "
        "says why.",
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
    where.add_argument(
        "--host",
        action="append",
        help='name or address to listen on; may be given several times; "all" is every address, '
        f"IPv4 and IPv6; only this machine can reach the default (default: {_DEFAULT_HOST})",
    )
    where.add_argument(
        "--port",
        type=port,
        help=f"TCP port; 0 takes a free one (default: {_DEFAULT_PORT})",
    )
    where.add_argument(
        "--unix", type=Path, metavar="FILE", help="listen on this Unix socket instead of TCP"
    )
    where.add_argument(
        "--fd",
        type=whole,
        action="append",
        metavar="N",
        help="listen on this inherited descriptor instead; may be given several times",
    )
    where.add_argument(
        "--certfile",
        type=Path,
        metavar="FILE",
        help="certificate chain in PEM form; turns TLS on",
    )
    where.add_argument(
        "--keyfile",
        type=Path,
        metavar="FILE",
        help="its private key, if --certfile does not hold it",
    )
    where.add_argument("--path", help=f"where Socket.IO answers (default: {default.path})")
    how = command.add_argument_group("how to behave (these override the app's own options)")
    for name, what, usual in (
        (
            "--ping-interval",
            "how long after a heartbeat the next ping is sent",
            default.ping_interval_s,
        ),
        ("--ping-timeout", "how long a client may take to answer a ping", default.ping_timeout_s),
        (
            "--upgrade-timeout",
            "how long an upgrade to WebSocket may take",
            default.upgrade_timeout_s,
        ),
        (
            "--connect-timeout",
            "how long a client may take to join a namespace",
            default.connect_timeout_s,
        ),
        (
            "--stop-delay",
            "how long clients are still accepted after a signal to stop",
            default.stop_delay_s,
        ),
        ("--stop-window", "over how long sessions are closed then", default.stop_window_s),
        ("--stop-grace", "how long handlers may go on after that", default.stop_grace_s),
    ):
        kind = duration if name.startswith("--stop") else seconds
        how.add_argument(name, type=kind, metavar="S", help=f"{what} (default: {usual:g})")
    how.add_argument(
        "--max-payload",
        type=count,
        metavar="BYTES",
        help="largest body or message that a client may send "
        f"(default: {default.max_http_buffer_size_bytes})",
    )
    for name, whose, usual in (
        ("--input-bound", "a client", default.input_bound_bytes),
        ("--input-bound-all", "all clients together", default.input_bound_all_bytes),
    ):
        how.add_argument(
            name,
            type=count,
            metavar="BYTES",
            help=f"how much {whose} may have sent that handlers have not finished with "
            f"(default: {usual})",
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
        help="how packets are encoded; all clients must use the same parser "
        f"(default: {default.parser})",
    )
    how.add_argument(
        "--state-recovery",
        action=argparse.BooleanOptionalAction,
        help="let clients whose connection was lost resume their session (default: no)",
    )
    how.add_argument(
        "--state-recovery-duration",
        type=seconds,
        metavar="S",
        help=f"how long they may be away (default: {default.state_recovery_max_disconnection_s:g})",
    )
    how.add_argument(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        help="a transport that clients may use; may be given several times (default: both)",
    )
    for flag, name, what in (
        ("--no-upgrades", "upgrades", "do not let sessions change from polling to WebSocket"),
        (
            "--no-destroy-upgrade",
            "destroy_upgrade",
            "do not close connections that ask other paths for an upgrade",
        ),
        (
            "--no-trailing-slash",
            "trailing_slash",
            "answer at the path without its trailing slash too",
        ),
    ):
        how.add_argument(flag, dest=name, action="store_false", default=None, help=what)
    how.add_argument(
        "--no-http-compression", action="store_true", help="do not compress polling answers"
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
        type=cookie,
        metavar="NAME",
        help="set a cookie that holds the session's id (default: none; without a NAME: "
        f"{Cookie().name})",
    )
    how.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help="a foreign origin whose pages may connect, such as https://example.com, or * for any; "
        "may be given several times (default: none)",
    )
    how.add_argument(
        "--cors-credentials",
        action="store_true",
        default=None,
        help="let pages of those origins send cookies",
    )
    how.add_argument(
        "--cors-max-age",
        type=whole,
        metavar="S",
        help="how long browsers keep the answer to a preflight (default: their own choice)",
    )
    client = how.add_mutually_exclusive_group()
    client.add_argument(
        "--serve-client",
        dest="client_dist",
        type=Path,
        metavar="FOLDER",
        help="serve the browser's client from this folder "
        "(default: the npm package in the working directory)",
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
        type=network,
        metavar="CIDR",
        help="believe X-Forwarded-* of proxies in this network; may be given several times",
    )
    how.add_argument(
        "--max-connections",
        type=count,
        metavar="N",
        help="how many connections may be open; further ones are answered 503; lowered to what "
        f"the limit of open files allows (default: {default.max_connections})",
    )
    how.add_argument(
        "--max-connections-per-address",
        type=count,
        metavar="N",
        help="the same for one client address (default: no limit)",
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
            type=count,
            metavar="N",
            help=f"how many sessions{where_from} may have joined no namespace yet "
            f"(default: {bound})",
        )
    how.add_argument(
        "--max-dynamic-namespaces",
        type=count,
        metavar="N",
        help="how many namespaces clients may create by joining them; more are refused "
        f"(default: {default.max_dynamic_namespaces})",
    )
    how.add_argument(
        "--max-namespaces-founded-per-session",
        type=count,
        metavar="N",
        help="how many of these one client may create; more are refused "
        f"(default: {default.max_namespaces_founded_per_session})",
    )
    how.add_argument(
        "--cleanup-empty-child-namespaces",
        action=argparse.BooleanOptionalAction,
        help="end a namespace that a client has created once it is empty (default: no)",
    )
    logs = command.add_argument_group("what to log")
    logs.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info",
        help="the lowest level that is logged (default: %(default)s)",
    )
    logs.add_argument(
        "--log-format",
        choices=FORMATS,
        default="text",
        help="lines of text, or a JSON object a line (default: %(default)s)",
    )
    return parser, commands.choices
