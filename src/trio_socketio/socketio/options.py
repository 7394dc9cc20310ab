"""The options of Socket.IO, and those of a whole server: all groups of this floor and below.

Each floor owns its group. `ServerOptions` has the options of all groups under flat names, as
programs write them; `group_options` sorts them into groups, and every owner is given its own.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.codec.parsers import PARSERS
from trio_socketio.engine.options import Cookie, EngineOptions, RequestHooks
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.http.options import (
    ClientFilesOptions,
    CorsOptions,
    HttpCompression,
    HttpOptions,
)
from trio_socketio.net.options import PerMessageDeflate
from trio_socketio.option_checks import Network, OptionGroup
from trio_socketio.runtime.options import ConnectionLimits, RuntimeOptions, StopOptions
from trio_socketio.signatures import find_misfit

Origin = str | re.Pattern[str] | Callable[[str], bool]
"""``scheme://host[:port]``, ``"*"``, a pattern for a whole origin, or a plain function of one."""


class SocketOptions(OptionGroup, frozen=True, kw_only=True):
    """How namespaces and their sockets behave.

    Args:
        connect_timeout_s: when a client that has joined no namespace is closed.
        attachments_timeout_s: when a client is closed whose binary packet still lacks attachments.
        parser: "json", or "msgpack" for clients with socket.io-msgpack-parser. All clients of a
            server have to use the same.
        max_rooms_per_socket: how many rooms a socket may be in; a further join raises.
        max_namespaces_per_session: how many namespaces a client may be in; a further CONNECT is
            refused.
        max_dynamic_namespaces: how many namespaces clients may bring into being on the whole
            server; a further CONNECT to a new one is refused.
        max_namespaces_founded_per_session: how many of those one client may bring into being; a
            further CONNECT to a new one is refused.
        cleanup_empty_child_namespaces: whether a namespace that a client brought into being ends
            when it has become empty.
        handler_queue: how many events of one socket may wait for its handlers before reading stops.
        input_bound_bytes: how much one client may have sent that its handlers have not finished
            with, before reading stops. A packet counts its bytes, and above 4 KiB also 64 for each
            array, object and item. One packet is always taken.
        input_bound_all_bytes: the same for all clients together. At the bound, clients that hold
            more than a quarter of an equal share are not read.
    """

    connect_timeout_s: float = 45.0
    attachments_timeout_s: float = 10.0
    parser: str = "json"
    max_rooms_per_socket: int = 10_000
    max_namespaces_per_session: int = 100
    max_dynamic_namespaces: int = 10_000
    max_namespaces_founded_per_session: int = 10
    cleanup_empty_child_namespaces: bool = False
    handler_queue: int = 256
    input_bound_bytes: int = 4 << 20
    input_bound_all_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parser not in PARSERS:
            raise OptionError("parser", f"must be {' or '.join(PARSERS)}, not {self.parser!r}")


class RecoveryOptions(OptionGroup, frozen=True, kw_only=True):
    """Connection state recovery: a client that lost its connection may go on with its socket.

    While it is enabled, every event has one more argument, its offset.

    Args:
        enabled: whether clients may go on.
        max_disconnection_s: for how long a client may be away.
        skip_middlewares: whether a client is let in again without asking the middleware.
        max_packets: how many packets are kept, for the clients of all namespaces together; a client
            that may have missed older ones starts a new session.
        max_bytes: how large these packets may be together.
        max_sessions: how many clients may be away; the one that left first is given up.
        max_session_bytes: how much the rooms and data of these clients may hold together; the one
            that left first is given up. One that holds more than a 64th of it is not kept.
    """

    enabled: bool = False
    max_disconnection_s: float = 120.0
    skip_middlewares: bool = True
    max_packets: int = 100_000
    max_bytes: int = 64 << 20
    max_sessions: int = 100_000
    max_session_bytes: int = 128 << 20


class ServerGroups(NamedTuple):
    """The options of one server, by owner.

    Args:
        runtime, connections, stop: the groups of runtime/.
        http, cors, client_files: the groups of http/.
        engine: the group of engine/.
        sockets, recovery: the groups of socketio/.
        hooks: functions that are asked before a session is opened.
        origin_checks: patterns and functions that allow origins, besides the origins that cors
            names.
    """

    runtime: RuntimeOptions = RuntimeOptions()
    connections: ConnectionLimits = ConnectionLimits()
    stop: StopOptions = StopOptions()
    http: HttpOptions = HttpOptions()
    cors: CorsOptions = CorsOptions()
    client_files: ClientFilesOptions = ClientFilesOptions()
    engine: EngineOptions = EngineOptions()
    sockets: SocketOptions = SocketOptions()
    recovery: RecoveryOptions = RecoveryOptions()
    hooks: RequestHooks = RequestHooks()
    origin_checks: tuple[Callable[[str], bool], ...] = ()


_PREFIXES: Final = {"cors": "cors_", "stop": "stop_", "recovery": "state_recovery_"}
_OWN_NAMES: Final = {
    ("recovery", "enabled"): "state_recovery",
    ("client_files", "serve"): "serve_client",
    ("client_files", "folder"): "client_dist",
}
_NOT_FLAT: Final = {("runtime", "deadline_slack_s")}
"""`Server.serve`, which has a runtime of its own, derives it from the heartbeat."""


def _flat_names() -> "dict[str, dict[str, str]]":
    """Return the flat name of each option, by group and option."""
    names: dict[str, dict[str, str]] = {}
    for group, default in ServerGroups._field_defaults.items():
        if isinstance(default, OptionGroup):
            names[group] = {
                option: _OWN_NAMES.get((group, option), _PREFIXES.get(group, "") + option)
                for option in default.__struct_fields__
                if (group, option) not in _NOT_FLAT
            }
    return names


FLAT_NAMES: Final = _flat_names()
"""The name in ServerOptions of each option, by group of ServerGroups and option."""

RELOADABLE: Final = frozenset(
    flat
    for group, names in FLAT_NAMES.items()
    for option, flat in names.items()
    if option in ServerGroups._field_defaults[group]._reloadable
)
"""The names in ServerOptions of the options that can be changed while a server serves."""

_RUNTIME, _CONNECTIONS, _STOP = RuntimeOptions(), ConnectionLimits(), StopOptions()
_HTTP, _CORS, _FILES = HttpOptions(), CorsOptions(), ClientFilesOptions()
_ENGINE, _SOCKETS, _RECOVERY = EngineOptions(), SocketOptions(), RecoveryOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server behaves: the options of all groups, under flat names.

    The defaults are the reference's where it has the option. What an option means is said by the
    group that owns it:

    - `EngineOptions`: path, add_trailing_slash, transports, allow_upgrades, destroy_upgrade,
      ping_interval_s, ping_timeout_s, upgrade_timeout_s, max_http_buffer_size_bytes,
      http_compression, per_message_deflate, cookie, initial_packet, allow_eio3, sid_prefix,
      hook_timeout_s, max_unjoined_sessions, max_unjoined_sessions_per_address,
      session_rate_per_address, session_burst_per_address.
    - `RequestHooks`: allow_request, generate_id.
    - `CorsOptions`, with cors_ before the name: cors_origins, cors_credentials, cors_methods,
      cors_allowed_headers, cors_exposed_headers, cors_max_age_s. Here cors_origins may also be, or
      hold, a compiled pattern that the whole origin must match, or a plain function of the origin.
    - `HttpOptions`: handshake_timeout_s, keep_alive_s, trusted_proxies.
    - `ClientFilesOptions`: serve_client, client_dist (its folder).
    - `ConnectionLimits`: max_connections, max_connections_per_address, output_bound_bytes,
      slow_client_s.
    - `SocketOptions`: connect_timeout_s, attachments_timeout_s, parser, max_rooms_per_socket,
      max_namespaces_per_session, max_dynamic_namespaces, max_namespaces_founded_per_session,
      cleanup_empty_child_namespaces, handler_queue, input_bound_bytes, input_bound_all_bytes.
    - `RecoveryOptions`: state_recovery (enabled); the others with state_recovery_ before the name:
      state_recovery_max_disconnection_s, state_recovery_skip_middlewares,
      state_recovery_max_packets, state_recovery_max_bytes, state_recovery_max_sessions,
      state_recovery_max_session_bytes.
    - `StopOptions`, with stop_ before the name: stop_delay_s, stop_window_s, stop_grace_s,
      stop_flush_s.
    - `RuntimeOptions`: slow_handler_s.

    Raises:
        ConfigurationError: an option cannot be used; the message names it.
    """

    path: str = _ENGINE.path
    add_trailing_slash: bool = _ENGINE.add_trailing_slash
    transports: tuple[str, ...] = _ENGINE.transports
    allow_upgrades: bool = _ENGINE.allow_upgrades
    destroy_upgrade: bool = _ENGINE.destroy_upgrade
    ping_interval_s: float = _ENGINE.ping_interval_s
    ping_timeout_s: float = _ENGINE.ping_timeout_s
    upgrade_timeout_s: float = _ENGINE.upgrade_timeout_s
    max_http_buffer_size_bytes: int = _ENGINE.max_http_buffer_size_bytes
    http_compression: HttpCompression | None = _ENGINE.http_compression
    per_message_deflate: PerMessageDeflate | None = _ENGINE.per_message_deflate
    cookie: Cookie | None = _ENGINE.cookie
    initial_packet: str | bytes | None = _ENGINE.initial_packet
    allow_eio3: bool = _ENGINE.allow_eio3
    sid_prefix: str | None = _ENGINE.sid_prefix
    hook_timeout_s: float = _ENGINE.hook_timeout_s
    max_unjoined_sessions: int = _ENGINE.max_unjoined_sessions
    max_unjoined_sessions_per_address: int | None = _ENGINE.max_unjoined_sessions_per_address
    session_rate_per_address: float | None = _ENGINE.session_rate_per_address
    session_burst_per_address: int = _ENGINE.session_burst_per_address
    allow_request: Callable[[Any], Any] | None = None
    generate_id: Callable[[Any], Any] | None = None
    cors_origins: Origin | Iterable[Origin] = _CORS.origins
    cors_credentials: bool = _CORS.credentials
    cors_methods: tuple[str, ...] = _CORS.methods
    cors_allowed_headers: tuple[str, ...] | None = _CORS.allowed_headers
    cors_exposed_headers: tuple[str, ...] = _CORS.exposed_headers
    cors_max_age_s: int | None = _CORS.max_age_s
    handshake_timeout_s: float = _HTTP.handshake_timeout_s
    keep_alive_s: float = _HTTP.keep_alive_s
    trusted_proxies: tuple[Network, ...] = _HTTP.trusted_proxies
    serve_client: bool = _FILES.serve
    client_dist: Path | None = _FILES.folder
    max_connections: int = _CONNECTIONS.max_connections
    max_connections_per_address: int | None = _CONNECTIONS.max_connections_per_address
    output_bound_bytes: int = _CONNECTIONS.output_bound_bytes
    slow_client_s: float = _CONNECTIONS.slow_client_s
    connect_timeout_s: float = _SOCKETS.connect_timeout_s
    attachments_timeout_s: float = _SOCKETS.attachments_timeout_s
    parser: str = _SOCKETS.parser
    max_rooms_per_socket: int = _SOCKETS.max_rooms_per_socket
    max_namespaces_per_session: int = _SOCKETS.max_namespaces_per_session
    max_dynamic_namespaces: int = _SOCKETS.max_dynamic_namespaces
    max_namespaces_founded_per_session: int = _SOCKETS.max_namespaces_founded_per_session
    cleanup_empty_child_namespaces: bool = _SOCKETS.cleanup_empty_child_namespaces
    handler_queue: int = _SOCKETS.handler_queue
    input_bound_bytes: int = _SOCKETS.input_bound_bytes
    input_bound_all_bytes: int = _SOCKETS.input_bound_all_bytes
    state_recovery: bool = _RECOVERY.enabled
    state_recovery_max_disconnection_s: float = _RECOVERY.max_disconnection_s
    state_recovery_skip_middlewares: bool = _RECOVERY.skip_middlewares
    state_recovery_max_packets: int = _RECOVERY.max_packets
    state_recovery_max_bytes: int = _RECOVERY.max_bytes
    state_recovery_max_sessions: int = _RECOVERY.max_sessions
    state_recovery_max_session_bytes: int = _RECOVERY.max_session_bytes
    stop_delay_s: float = _STOP.delay_s
    stop_window_s: float = _STOP.window_s
    stop_grace_s: float = _STOP.grace_s
    stop_flush_s: float = _STOP.flush_s
    slow_handler_s: float = _RUNTIME.slow_handler_s

    def __post_init__(self) -> None:
        # As a tuple, because an iterator would be empty when it is read for the second time.
        object.__setattr__(self, "cors_origins", _list_origins(self.cors_origins))
        groups = group_options(self)
        object.__setattr__(self, "path", groups.engine.path)


def group_options(flat: ServerOptions) -> ServerGroups:
    """Sort options into groups, so that each owner can be given its own.

    Args:
        flat: the options of the server.
    Raises:
        ConfigurationError: these are not ServerOptions.
        OptionError: an option cannot be used; the error has its flat name.
    """
    given_options: object = flat
    if not isinstance(given_options, ServerOptions):
        raise ConfigurationError(f"options: expected ServerOptions(...), not {given_options!r}")
    assert isinstance(flat.cors_origins, tuple)  # by ServerOptions, whatever it was given
    origins: tuple[Origin, ...] = flat.cors_origins
    hooks = RequestHooks(flat.allow_request, flat.generate_id)
    hooks.check()
    checks = tuple(_check_of(origin) for origin in origins if not isinstance(origin, str))
    groups: dict[str, Any] = {}
    for group, names in FLAT_NAMES.items():
        given = {option: getattr(flat, name) for option, name in names.items()}
        if group == "cors":
            given["origins"] = tuple(origin for origin in origins if isinstance(origin, str))
        try:
            groups[group] = type(ServerGroups._field_defaults[group])(**given)
        except OptionError as error:
            raise OptionError(names[error.option], error.reason) from None
    return ServerGroups(hooks=hooks, origin_checks=checks, **groups)


def take_over(held: ServerOptions, new: ServerOptions) -> tuple[ServerOptions, tuple[str, ...]]:
    """Merge those new options that can be changed while a server serves into the old ones.

    Returns:
        The options that will hold, and the names of those that would need a restart.
    Raises:
        ConfigurationError: the new ones are not ServerOptions.
    """
    group_options(new)
    changed = {name: getattr(new, name) for name in RELOADABLE}
    waiting = tuple(
        field.name
        for field in fields(ServerOptions)
        if field.name not in RELOADABLE and getattr(new, field.name) != getattr(held, field.name)
    )
    return replace(held, **changed), waiting


def runtime_options(groups: ServerGroups) -> RuntimeOptions:
    """Return the options of a runtime for one server: its deadlines fit the server's heartbeat."""
    engine = groups.engine
    quickest_s = min(engine.ping_interval_s, engine.ping_timeout_s)
    return msgspec.structs.replace(groups.runtime, deadline_slack_s=min(0.05, quickest_s / 200))


def _list_origins(origins: object) -> tuple[object, ...]:
    if isinstance(origins, (str, re.Pattern)) or callable(origins):
        return (origins,)
    if not isinstance(origins, Iterable):
        raise OptionError("cors_origins", f"expected origins, not {origins!r}")
    return tuple(origins)


def _check_of(origin: object) -> Callable[[str], bool]:
    """Return a function that says whether an origin is meant by a pattern or function."""
    if isinstance(origin, re.Pattern):
        if not isinstance(origin.pattern, str):
            raise OptionError(
                "cors_origins", f"a pattern of origins must match text, not bytes: {origin!r}"
            )
        pattern: re.Pattern[str] = origin
        return lambda text: pattern.fullmatch(text) is not None
    if not callable(origin) or iscoroutinefunction(origin):
        raise OptionError(
            "cors_origins",
            f"an origin is text, a compiled pattern or a plain function, not {origin!r}",
        )
    misfit = find_misfit(origin, ("origin",))
    if misfit is not None:
        raise OptionError("cors_origins", misfit)
    return origin
