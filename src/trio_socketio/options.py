"""Settings, frozen, with their units in their names."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from math import isfinite
from urllib.parse import urlsplit

from trio_socketio.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server behaves. The defaults are the reference's where it has the option.

    Args:
        path: where Socket.IO answers; a trailing slash is added.
        ping_interval_s: from one heartbeat's end to the next ping.
        ping_timeout_s: how long a client may take to answer a ping.
        upgrade_timeout_s: from the WebSocket's opening to the upgrade packet.
        connect_timeout_s: a client that joined no namespace by then is closed.
        max_http_buffer_size_bytes: one body, frame or message from a client; the handshake tells
            it to clients as maxPayload.
        cors_origins: foreign origins that may connect, as ``scheme://host[:port]``; ``"*"`` is any.
            Pages of the server's own origin always may.
        trusted_proxies: networks whose X-Forwarded-* headers are believed.
        max_connections: open connections of the whole server; more are answered 503.
        max_connections_per_address: the same for one client address; None is no bound.
        max_rooms_per_socket: a further join raises.
        max_namespaces_per_session: a further CONNECT is refused.
        max_dynamic_namespaces: namespaces of the whole server that clients may bring into being; a
            further CONNECT to a new one is refused.
        cleanup_empty_child_namespaces: whether a namespace that a client brought into being ends
            when nobody is in it any more.
        handler_queue: events of one socket that wait for its handler, before reading stops.
        output_bound_bytes: output of one client that the kernel refused. Over it, a client that
            takes nothing for slow_client_s is closed; eight times over it, at once.
        slow_client_s: see output_bound_bytes.
        allow_eio3: serve clients of Engine.IO v3 too: socket.io-client 1.x and 2.x.
        attachments_timeout_s: a binary packet whose attachments take longer closes its client.
        handshake_timeout_s: for a TLS handshake, and for the head and body of a request to arrive.
        keep_alive_s: how long a connection may rest between two requests.
        slow_handler_s: a plain handler that blocks the server for longer is logged by name.
    """

    path: str = "/socket.io/"
    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    upgrade_timeout_s: float = 10.0
    connect_timeout_s: float = 45.0
    max_http_buffer_size_bytes: int = 1_000_000
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_connections: int = 100_000
    max_connections_per_address: int | None = None
    max_rooms_per_socket: int = 10_000
    max_namespaces_per_session: int = 100
    max_dynamic_namespaces: int = 10_000
    cleanup_empty_child_namespaces: bool = False
    handler_queue: int = 256
    output_bound_bytes: int = 1 << 20
    slow_client_s: float = 10.0
    allow_eio3: bool = False
    attachments_timeout_s: float = 10.0
    handshake_timeout_s: float = 10.0
    keep_alive_s: float = 65.0
    slow_handler_s: float = 0.1

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) is not bool and isinstance(value, (int, float)) and not value > 0:
                raise ConfigurationError(f"{name} must be above zero, not {value}")
        if not self.path.startswith("/") or "?" in self.path or "#" in self.path:
            raise ConfigurationError(f"path must be an absolute URL path, not {self.path!r}")
        for name in ("ping_interval_s", "ping_timeout_s"):
            if not isfinite(getattr(self, name)):  # the handshake tells it to clients
                raise ConfigurationError(f"{name} must be finite")
        for network in self.trusted_proxies:
            if not isinstance(network, (IPv4Network, IPv6Network)):
                raise ConfigurationError(
                    f"trusted_proxies are networks, as ipaddress.ip_network makes; not {network!r}"
                )
        for origin in self.cors_origins:
            if origin != "*" and not _is_origin(origin):
                raise ConfigurationError(
                    f"an origin is scheme://host[:port] as browsers send it, or *; not {origin!r}"
                )
        object.__setattr__(self, "path", self.path.rstrip("/") + "/")


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return bool(host) and text == f"{parts.scheme}://{host}" + (f":{port}" if port else "")
