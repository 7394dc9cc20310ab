"""Settings, frozen, with their units in their names."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from ipaddress import IPv4Network, IPv6Network
from math import isfinite
from pathlib import Path
from typing import Any, Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.option_kinds import check_kinds, check_origin, check_path
from trio_socketio.signatures import find_misfit

TRANSPORTS: Final = ("polling", "websocket")
PARSERS: Final = ("json", "msgpack")
_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_ATTRIBUTE: Final = re.compile(r"[ -:<-~]+").fullmatch  # no control character, no semicolon
_MAY_BE_ZERO: Final = frozenset(("cors_max_age_s", "stop_delay_s", "stop_window_s", "stop_grace_s"))

Origin = str | re.Pattern[str] | Callable[[str], bool]
"""``scheme://host[:port]``, ``"*"``, a pattern for the whole of it, or a plain function of it."""


def _check_compression(threshold_bytes: int, level: int) -> None:
    if threshold_bytes < 0:
        raise ConfigurationError(f"threshold_bytes is a number of bytes, not {threshold_bytes}")
    if not 1 <= level <= 9:
        raise ConfigurationError(f"level is 1 to 9, not {level}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCompression:
    """How answers of long-polling are compressed for clients that accept gzip or deflate.

    Args:
        threshold_bytes: smaller bodies go as they are.
        level: of zlib, 1 (fast) to 9 (small).
    """

    threshold_bytes: int = 1024
    level: int = 1

    def __post_init__(self) -> None:
        check_kinds(self)
        _check_compression(self.threshold_bytes, self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerMessageDeflate:
    """How WebSocket messages are compressed with clients that offer permessage-deflate.

    Without context takeover each message stands for itself: a connection keeps no window, and a
    broadcast is compressed once for all its receivers. With it, messages get smaller; each
    connection costs up to 300 KiB for what is sent and 40 KiB for what is received, and a broadcast
    is compressed for each receiver.

    Args:
        threshold_bytes: smaller messages go as they are.
        level: of zlib, 1 (fast) to 9 (small).
        memory_level: of zlib, 1 (little) to 9 (fast).
        server_no_context_takeover: no window is kept for what is sent.
        client_no_context_takeover: the client keeps no window for what it sends.
        server_max_window_bits: 9 to 15; clients may ask for less.
        client_max_window_bits: 9 to 15; asked of clients that understand it.
    """

    threshold_bytes: int = 1024
    level: int = 1
    memory_level: int = 8
    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15

    def __post_init__(self) -> None:
        check_kinds(self)
        _check_compression(self.threshold_bytes, self.level)
        if not 1 <= self.memory_level <= 9:
            raise ConfigurationError(f"memory_level is 1 to 9, not {self.memory_level}")
        for name in ("server_max_window_bits", "client_max_window_bits"):
            if not 9 <= getattr(self, name) <= 15:  # zlib cannot do 8
                raise ConfigurationError(f"{name} is 9 to 15, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie that holds the session's id, for load balancers that go by cookies.

    It is set by the answer that opens a session on long-polling, and never read.

    Args:
        name: of the cookie.
        path, domain: where browsers send it; None leaves the attribute out.
        http_only: scripts do not see it.
        same_site: ``"lax"``, ``"strict"``, ``"none"``, or None to leave it out.
        secure: only over TLS; same_site "none" and partitioned need it.
        max_age_s: how long browsers keep it; None is as long as they run.
        partitioned: one for each site that embeds the page.
    """

    name: str = "io"
    path: str | None = "/"
    domain: str | None = None
    http_only: bool = True
    same_site: str | None = "lax"
    secure: bool = False
    max_age_s: int | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        check_kinds(self)
        if not _TOKEN(self.name):
            raise ConfigurationError(f"a cookie cannot be called {self.name!r}")
        for name in ("path", "domain"):
            value = getattr(self, name)
            if value is not None and not _ATTRIBUTE(value):
                raise ConfigurationError(f"{value!r} cannot be the {name} of a cookie")
        if self.same_site not in (None, "lax", "strict", "none"):
            raise ConfigurationError(f"same_site is lax, strict or none, not {self.same_site!r}")
        if (self.same_site == "none" or self.partitioned) and not self.secure:
            raise ConfigurationError("browsers take such a cookie only with secure=True")
        if self.max_age_s is not None and self.max_age_s < 0:
            raise ConfigurationError(f"max_age_s is whole seconds, not {self.max_age_s!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server behaves. The defaults are the reference's where it has the option.

    Args:
        path: where Socket.IO answers.
        add_trailing_slash: to path. Without it, the path is answered with and without one.
        transports: that clients may use: "polling", "websocket" or both.
        allow_upgrades: whether a session may go from polling to WebSocket.
        destroy_upgrade: whether a connection that asks for an upgrade at a path that nobody serves
            is closed; it is answered 404 either way.
        ping_interval_s: from one heartbeat's end to the next ping.
        ping_timeout_s: how long a client may take to answer a ping.
        upgrade_timeout_s: from the WebSocket's opening to the upgrade packet.
        connect_timeout_s: a client that joined no namespace by then is closed.
        max_http_buffer_size_bytes: one body, frame or message from a client; the handshake tells
            it to clients as maxPayload.
        http_compression: of polling answers; None is off.
        per_message_deflate: of WebSocket messages; None is off.
        cookie: sent with the answer that opens a session; None is none.
        initial_packet: a message that every new session gets first.
        cors_origins: foreign origins that may connect: one or several of ``scheme://host[:port]``
            as browsers send it, ``"*"`` for any, a compiled pattern that the whole origin must
            match, a plain function of the origin. ``"null"`` stands for all pages without an
            origin (files, sandboxed frames of anybody), ``"file://"`` for files in old web views.
            Pages of the server's own origin always may.
        cors_credentials: whether pages of those origins may send cookies; not with ``"*"``.
        cors_methods: what a preflight is told that pages may use.
        cors_allowed_headers: the request headers that it is told; None is those it asks for.
        cors_exposed_headers: of our answers, those that pages may read.
        cors_max_age_s: how long browsers keep what a preflight was told; None is their own choice.
        allow_request: a plain or async function of an EngineRequest, asked before a session is
            opened: True lets it in; False or ConnectRefused(message) refuse it with code 4.
        generate_id: a plain or async function of an EngineRequest that names a new session: 1 to
            128 of A-Z a-z 0-9 . _ ~ -; a secret, and never twice the same.
        hook_timeout_s: for each async allow_request, generate_id and engine middleware.
        serve_client: whether the browser's client is served below path.
        client_dist: the folder of its files; None looks for socket.io-client or socket.io in
            the working directory's node_modules.
        trusted_proxies: networks whose X-Forwarded-* headers are believed.
        max_connections: open connections of the whole server; more are answered 503.
        max_connections_per_address: the same for one client address; None is no bound.
        max_unjoined_sessions: sessions whose clients have joined no namespace yet; a further one is
            answered 503.
        max_unjoined_sessions_per_address: the same for one client address, answered 429; for IPv6
            its first 64 bits count. None is no bound.
        max_rooms_per_socket: a further join raises.
        max_namespaces_per_session: a further CONNECT is refused.
        max_dynamic_namespaces: namespaces of the whole server that clients may bring into being; a
            further CONNECT to a new one is refused.
        max_namespaces_founded_per_session: of those, by one client; a further CONNECT to a new one
            is refused.
        cleanup_empty_child_namespaces: whether a namespace that a client brought into being ends
            when nobody is in it any more.
        handler_queue: events of one socket that wait for its handler, before reading stops.
        input_bound_bytes: what one client has sent and its handlers have not finished with, before
            reading stops. A packet counts its bytes; above 4 KiB also 64 for each array, object and
            item. One packet is always taken.
        input_bound_all_bytes: the same of all clients together. Over it, clients are not read that
            hold more than a quarter of an equal share.
        output_bound_bytes: output of one client that the kernel refused. Over it, a client that
            takes nothing for slow_client_s is closed; eight times over it, at once.
        slow_client_s: see output_bound_bytes.
        allow_eio3: serve clients of Engine.IO v3 too: socket.io-client 1.x and 2.x.
        parser: "json", or "msgpack" for clients with socket.io-msgpack-parser. All clients speak
            the same.
        state_recovery: whether a client that lost its connection may go on with its socket. Every
            event has one argument more then, its offset.
        state_recovery_max_disconnection_s: for how long it may be away.
        state_recovery_skip_middlewares: whether it is let in again unasked.
        state_recovery_max_packets: that are remembered for all clients, of all namespaces; one who
            may have missed others begins anew.
        state_recovery_max_bytes: of those packets.
        state_recovery_max_sessions: of clients that are away; the oldest is given up.
        state_recovery_max_session_bytes: that these sessions hold in rooms and data; the oldest is
            given up. One that holds more than a 64th of it is not kept.
        stop_delay_s: how long the server goes on accepting clients when it was told to stop, for
            load balancers to notice.
        stop_window_s: over which its sessions are closed then.
        stop_grace_s: how long handlers may go on after that, "disconnect" handlers included.
        stop_flush_s: how long clients may take to accept the last bytes.
        attachments_timeout_s: a binary packet whose attachments take longer closes its client.
        handshake_timeout_s: for a TLS handshake, and for the head and body of a request to arrive.
        keep_alive_s: how long a connection may rest between two requests.
        slow_handler_s: a plain handler that blocks the server for longer is logged by name.
    """

    path: str = "/socket.io/"
    add_trailing_slash: bool = True
    transports: tuple[str, ...] = TRANSPORTS
    allow_upgrades: bool = True
    destroy_upgrade: bool = True
    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    upgrade_timeout_s: float = 10.0
    connect_timeout_s: float = 45.0
    max_http_buffer_size_bytes: int = 1_000_000
    http_compression: HttpCompression | None = HttpCompression()
    per_message_deflate: PerMessageDeflate | None = None
    cookie: Cookie | None = None
    initial_packet: str | bytes | None = None
    cors_origins: Origin | Iterable[Origin] = ()
    cors_credentials: bool = False
    cors_methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    cors_allowed_headers: tuple[str, ...] | None = None
    cors_exposed_headers: tuple[str, ...] = ()
    cors_max_age_s: int | None = None
    allow_request: Callable[[Any], Any] | None = None
    generate_id: Callable[[Any], Any] | None = None
    hook_timeout_s: float = 10.0
    serve_client: bool = True
    client_dist: Path | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_connections: int = 100_000
    max_connections_per_address: int | None = None
    max_unjoined_sessions: int = 20_000
    max_unjoined_sessions_per_address: int | None = 1_000
    max_rooms_per_socket: int = 10_000
    max_namespaces_per_session: int = 100
    max_dynamic_namespaces: int = 10_000
    max_namespaces_founded_per_session: int = 10
    cleanup_empty_child_namespaces: bool = False
    handler_queue: int = 256
    input_bound_bytes: int = 4 << 20
    input_bound_all_bytes: int = 256 << 20
    output_bound_bytes: int = 1 << 20
    slow_client_s: float = 10.0
    allow_eio3: bool = False
    parser: str = "json"
    state_recovery: bool = False
    state_recovery_max_disconnection_s: float = 120.0
    state_recovery_skip_middlewares: bool = True
    state_recovery_max_packets: int = 100_000
    state_recovery_max_bytes: int = 64 << 20
    state_recovery_max_sessions: int = 100_000
    state_recovery_max_session_bytes: int = 128 << 20
    stop_delay_s: float = 0.0
    stop_window_s: float = 0.0
    stop_grace_s: float = 5.0
    stop_flush_s: float = 2.0
    attachments_timeout_s: float = 10.0
    handshake_timeout_s: float = 10.0
    keep_alive_s: float = 65.0
    slow_handler_s: float = 0.1

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not value > 0 and not (value == 0 and name in _MAY_BE_ZERO):
                raise ConfigurationError(f"{name} must be above zero, not {value}")
        check_path(self.path)
        for name in ("ping_interval_s", "ping_timeout_s"):
            if not isfinite(getattr(self, name)):  # the handshake tells it to clients
                raise ConfigurationError(f"{name} must be finite")
        for network in self.trusted_proxies:
            if not isinstance(network, (IPv4Network, IPv6Network)):
                raise ConfigurationError(
                    f"trusted_proxies are networks, as ipaddress.ip_network makes; not {network!r}"
                )
        if self.initial_packet is not None and not _is_message(self.initial_packet):
            raise ConfigurationError(f"{self.initial_packet!r} is no message to send")
        self._check_kinds()
        if self.parser not in PARSERS:
            raise ConfigurationError(f"parser is {' or '.join(PARSERS)}, not {self.parser!r}")
        self._check_transports()
        self._check_cors()
        slash = "/" if self.add_trailing_slash else ""
        object.__setattr__(self, "path", self.path.rstrip("/") + slash or "/")

    def _check_kinds(self) -> None:
        """Elsewhere True or a text would do; here the first client would find out."""
        for name, kind in (
            ("http_compression", HttpCompression),
            ("per_message_deflate", PerMessageDeflate),
            ("cookie", Cookie),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ConfigurationError(f"{name} is a {kind.__name__} or None, not {value!r}")
        for name in ("allow_request", "generate_id"):
            value = getattr(self, name)
            misfit = None if value is None else find_misfit(value, ("request",))
            if misfit is not None:
                raise ConfigurationError(f"{name}: {misfit}")

    def _check_transports(self) -> None:
        if not self.transports:
            raise ConfigurationError("transports names none")
        for transport in self.transports:
            if transport not in TRANSPORTS:
                raise ConfigurationError(
                    f"a transport is {' or '.join(TRANSPORTS)}, not {transport!r}"
                )

    def _check_cors(self) -> None:
        origins = self.cors_origins
        if isinstance(origins, (str, re.Pattern)) or callable(origins):
            origins = (origins,)
        if not isinstance(origins, Iterable):
            raise ConfigurationError(f"cors_origins are origins, not {origins!r}")
        origins = tuple(origins)
        for origin in origins:
            if isinstance(origin, str):
                if origin != "*":
                    check_origin(origin)
            elif isinstance(origin, re.Pattern):
                if not isinstance(origin.pattern, str):
                    raise ConfigurationError(f"a pattern of origins is of text, not {origin!r}")
            elif not callable(origin) or iscoroutinefunction(origin):
                raise ConfigurationError(
                    f"an origin is text, a compiled pattern or a plain function, not {origin!r}"
                )
            elif (misfit := find_misfit(origin, ("origin",))) is not None:
                raise ConfigurationError(f"cors_origins: {misfit}")
        if self.cors_credentials and "*" in origins:
            raise ConfigurationError("cors_credentials needs the origins by name, not *")
        for name in ("cors_methods", "cors_allowed_headers", "cors_exposed_headers"):
            tokens = getattr(self, name) or ()
            if isinstance(tokens, str):
                raise ConfigurationError(f"{name} are several names, not {tokens!r}")
            for token in tokens:
                if not _TOKEN(token):
                    raise ConfigurationError(f"{name} are names, not {token!r}")
        object.__setattr__(self, "cors_origins", origins)


def _is_message(packet: object) -> bool:
    if isinstance(packet, str):
        return packet.isascii() or packet.encode(errors="replace").decode() == packet
    return isinstance(packet, bytes)
