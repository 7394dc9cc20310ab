"""The arguments of ``serve``: what the parser is told, and what is given to which option."""

import argparse
from pathlib import Path
from typing import Any, Final

from trio_socketio.cli.arguments import (
    cookie,
    count,
    duration,
    network,
    port,
    seconds,
    whole,
    workers,
)
from trio_socketio.cluster.options import ADAPTERS, ClusterOptions
from trio_socketio.codec.parsers import PARSERS
from trio_socketio.configuration.options import ListenOptions
from trio_socketio.configuration.settings import Setting, Settings
from trio_socketio.configuration.tables import Place
from trio_socketio.engine.options import TRANSPORTS, Cookie
from trio_socketio.ops.options import FORMATS, LEVELS, LogOptions
from trio_socketio.socketio.options import ServerOptions

# The option that each argument gives, by the argument's name. Options in several forms, such as
# --serve-client and --no-serve-client, stand below.
_PLACES: Final[dict[str, Place]] = {
    "app": ("app", "spec"),
    "host": ("listen", "host"),
    "port": ("listen", "port"),
    "unix": ("listen", "unix"),
    "fd": ("listen", "fds"),
    "certfile": ("listen", "certfile"),
    "keyfile": ("listen", "keyfile"),
    "control": ("control", "listen"),
    "admin": ("admin", "listen"),
    "redis": ("redis", "url"),
    "node": ("cluster", "node"),
    "adapter": ("cluster", "adapter"),
    "internal": ("cluster", "internal"),
    "cluster_secret_file": ("cluster", "secret_files"),
    "workers": ("workers", "count"),
    "path": ("engine", "path"),
    "ping_interval": ("engine", "ping_interval_s"),
    "ping_timeout": ("engine", "ping_timeout_s"),
    "upgrade_timeout": ("engine", "upgrade_timeout_s"),
    "max_payload": ("engine", "max_http_buffer_size_bytes"),
    "connect_timeout": ("sockets", "connect_timeout_s"),
    "stop_delay": ("stop", "delay_s"),
    "stop_window": ("stop", "window_s"),
    "stop_grace": ("stop", "grace_s"),
    "allow_eio3": ("engine", "allow_eio3"),
    "parser": ("sockets", "parser"),
    "state_recovery": ("recovery", "enabled"),
    "state_recovery_duration": ("recovery", "max_disconnection_s"),
    "transport": ("engine", "transports"),
    "no_upgrades": ("engine", "allow_upgrades"),
    "no_destroy_upgrade": ("engine", "destroy_upgrade"),
    "no_trailing_slash": ("engine", "add_trailing_slash"),
    "no_http_compression": ("engine", "http_compression"),
    "per_message_deflate": ("engine", "per_message_deflate"),
    "cookie": ("engine", "cookie", "name"),
    "cors_origin": ("cors", "origins"),
    "cors_credentials": ("cors", "credentials"),
    "cors_max_age": ("cors", "max_age_s"),
    "serve_client": ("client_files", "folder"),
    "no_serve_client": ("client_files", "serve"),
    "trusted_proxy": ("http", "trusted_proxies"),
    "input_bound": ("sockets", "input_bound_bytes"),
    "input_bound_all": ("sockets", "input_bound_all_bytes"),
    "max_connections": ("connections", "max_connections"),
    "max_connections_per_address": ("connections", "max_connections_per_address"),
    "max_unjoined_sessions": ("engine", "max_unjoined_sessions"),
    "max_unjoined_sessions_per_address": ("engine", "max_unjoined_sessions_per_address"),
    "max_dynamic_namespaces": ("sockets", "max_dynamic_namespaces"),
    "max_namespaces_founded_per_session": ("sockets", "max_namespaces_founded_per_session"),
    "cleanup_empty_child_namespaces": ("sockets", "cleanup_empty_child_namespaces"),
    "log_level": ("log", "level"),
    "log_format": ("log", "format"),
}

FLAGS: Final = {place: "--" + name.replace("_", "-") for name, place in _PLACES.items()} | {
    ("client_files", "serve"): "--serve-client"
}
"""The flag of each option that has one."""


def given_settings(asked: argparse.Namespace) -> Settings:
    """Return what the arguments give, as settings; those that were left out give nothing."""
    settings: Settings = {}
    for name, place in _PLACES.items():
        value = getattr(asked, name)
        if value is not None:
            flag = "--" + name.replace("_", "-")
            settings[place] = Setting(_as_in_a_file(value), flag, flag)
    if asked.serve_client is not None:  # naming the folder turns the service on
        settings["client_files", "serve"] = Setting(True, "--serve-client", "--serve-client")
    return settings


def _as_in_a_file(value: Any) -> Any:
    """Return the value of an argument as a file would have it: paths and networks are text."""
    if isinstance(value, list):
        return [_as_in_a_file(item) for item in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``serve`` to its parser. None stands for one that is left out."""
    add = command.add_argument
    default = ServerOptions()
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="a file of options in TOML, such as `trio-socketio init` writes; the environment and "
        "these arguments override it",
    )
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
        "IPv4 and IPv6; only this machine can reach the default "
        f"(default: {ListenOptions().host[0]})",
    )
    where.add_argument(
        "--port",
        type=port,
        help=f"TCP port; 0 takes a free one (default: {ListenOptions().port})",
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
    where.add_argument(
        "--workers",
        type=workers,
        metavar="N|auto",
        help="serve with this many processes, or one for each CPU; needs --redis (default: 1)",
    )
    where.add_argument("--path", help=f"where Socket.IO answers (default: {default.path})")
    where.add_argument(
        "--control",
        action="append",
        metavar="ADDRESS",
        help="listen for backends and operators: unix:PATH, or tcp:HOST:PORT, which needs a token "
        "in the file of --config; may be given several times (default: none)",
    )
    where.add_argument(
        "--admin",
        metavar="HOST:PORT",
        help="listen for health checks and metrics (default: none)",
    )
    others = command.add_argument_group("how to reach the other nodes of a cluster")
    others.add_argument(
        "--redis",
        metavar="URL",
        help="the Redis server of all nodes: redis://, rediss:// or unix://; every user of this "
        "machine can read a password here, so keep it in [redis] password_file (default: none, "
        "which serves a single node)",
    )
    others.add_argument(
        "--node",
        metavar="NAME",
        help="the name of this node, which no other may have (default: host:pid)",
    )
    others.add_argument(
        "--adapter",
        choices=ADAPTERS,
        help="how broadcasts reach the clients of other nodes; Node servers with "
        f"@socket.io/redis-adapter understand pubsub (default: {ClusterOptions().adapter})",
    )
    others.add_argument(
        "--internal",
        metavar="HOST:PORT",
        help="listen here for other nodes, and pass on to them what belongs to their sessions, so "
        "that no balancer needs sticky sessions; port 0 takes a free one; it needs "
        "--cluster-secret-file, or [cluster] internal_tls_cert (default: none)",
    )
    others.add_argument(
        "--cluster-secret-file",
        action="append",
        metavar="FILE",
        help="a file with a secret of 32 bytes or more, by which nodes know one another; may be "
        "given several times: the first signs, and any is accepted",
    )
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
        ("--stop-window", "the time over which sessions are then closed", default.stop_window_s),
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
    for flag, what in (
        ("--no-upgrades", "do not let sessions change from polling to WebSocket"),
        (
            "--no-destroy-upgrade",
            "do not close connections that ask other paths for an upgrade",
        ),
        (
            "--no-trailing-slash",
            "answer at the path without its trailing slash too",
        ),
    ):
        how.add_argument(flag, action="store_const", const=False, help=what)
    how.add_argument(
        "--no-http-compression",
        action="store_const",
        const=False,
        help="do not compress polling answers",
    )
    how.add_argument(
        "--per-message-deflate",
        action="store_const",
        const=True,
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
        type=Path,
        metavar="FOLDER",
        help="serve the browser's client from this folder, or that of its npm package "
        "(default: the npm package in the working directory)",
    )
    client.add_argument(
        "--no-serve-client",
        action="store_const",
        const=False,
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
        help=f"the lowest level that is logged (default: {LogOptions().level})",
    )
    logs.add_argument(
        "--log-format",
        choices=FORMATS,
        help=f"lines of text, or one JSON object per line (default: {LogOptions().format})",
    )
