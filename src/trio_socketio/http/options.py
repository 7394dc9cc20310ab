"""The options of requests and responses."""

from pathlib import Path

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import (
    Network,
    OptionGroup,
    check_networks,
    check_origin,
    check_range,
    check_tokens,
)


class HttpOptions(OptionGroup, frozen=True, kw_only=True):
    """How HTTP requests are read.

    Args:
        handshake_timeout_s: how long a TLS handshake and the head of a request may take together,
            and how long a body may stall.
        keep_alive_s: how long a connection may be idle between two requests.
        trusted_proxies: the networks of proxies whose X-Forwarded-* headers are believed.
    """

    handshake_timeout_s: float = 10.0
    keep_alive_s: float = 65.0
    trusted_proxies: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_networks("trusted_proxies", self.trusted_proxies)


class CorsOptions(OptionGroup, frozen=True, kw_only=True):
    """Which pages of other origins may connect, and what browsers let them do.

    Args:
        origins: each is ``scheme://host[:port]`` as browsers send it, or ``"*"`` for any origin.
            ``"null"`` stands for all pages without an origin (files, sandboxed frames on any page),
            ``"file://"`` for files in old web views. Pages of the server's own origin are always
            allowed.
        credentials: whether pages of these origins may send cookies; not possible with ``"*"``.
        methods: the methods that a preflight is told pages may use.
        allowed_headers: the request headers that a preflight is told pages may send; None means
            those that it asks for.
        exposed_headers: the headers of our answers that pages may read.
        max_age_s: how long browsers may keep the answer to a preflight; None leaves it to them.
    """

    _may_be_zero = frozenset(("max_age_s",))
    _reloadable = frozenset(
        (
            "origins",
            "credentials",
            "methods",
            "allowed_headers",
            "exposed_headers",
            "max_age_s",
        )
    )

    origins: tuple[str, ...] = ()
    credentials: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    allowed_headers: tuple[str, ...] | None = None
    exposed_headers: tuple[str, ...] = ()
    max_age_s: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for origin in self.origins:
            if origin != "*":
                check_origin("origins", origin)
        if self.credentials and "*" in self.origins:
            raise OptionError("credentials", "needs the origins by name, but origins has *")
        check_tokens("methods", self.methods)
        check_tokens("allowed_headers", self.allowed_headers or ())
        check_tokens("exposed_headers", self.exposed_headers)


class HttpCompression(OptionGroup, frozen=True, kw_only=True):
    """How answers of long-polling are compressed for clients that accept gzip or deflate.

    Args:
        threshold_bytes: smaller bodies are not compressed.
        level: the level of zlib, 1 (fast) to 9 (small).
    """

    _may_be_zero = frozenset(("threshold_bytes",))

    threshold_bytes: int = 1024
    level: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "level", 1, 9)


class ClientFilesOptions(OptionGroup, frozen=True, kw_only=True):
    """Whether the browser's client is served.

    Args:
        serve: whether it is served, below the path of Socket.IO.
        folder: the folder of its files, or of the npm package that has them; None means
            socket.io-client or socket.io in the node_modules of the working directory.
    """

    serve: bool = True
    folder: Path | None = None
