"""The options of Engine.IO."""

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.errors import OptionError
from trio_socketio.http.options import HttpCompression
from trio_socketio.net.options import PerMessageDeflate
from trio_socketio.option_checks import TOKEN, OptionGroup, check_group, check_path
from trio_socketio.signatures import find_misfit

TRANSPORTS: Final = ("polling", "websocket")

_ATTRIBUTE: Final = re.compile(r"[ -:<-~]+").fullmatch  # no control character, no semicolon


class Cookie(OptionGroup, frozen=True, kw_only=True):
    """A cookie that holds the session's id, for load balancers that go by cookies.

    It is set by the answer that opens a session on long-polling, and never read.

    Args:
        name: of the cookie.
        path, domain: where browsers send it; None leaves the attribute out.
        http_only: whether it is hidden from scripts.
        same_site: ``"lax"``, ``"strict"``, ``"none"``, or None to leave it out.
        secure: only over TLS; same_site "none" and partitioned need it.
        max_age_s: how long browsers keep it; None means as long as they run.
        partitioned: whether there is one for each site that embeds the page.
    """

    _may_be_zero = frozenset(("max_age_s",))

    name: str = "io"
    path: str | None = "/"
    domain: str | None = None
    http_only: bool = True
    same_site: str | None = "lax"
    secure: bool = False
    max_age_s: int | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not TOKEN(self.name):
            raise OptionError("name", f"a cookie cannot be called {self.name!r}")
        for name in ("path", "domain"):
            value = getattr(self, name)
            if value is not None and not _ATTRIBUTE(value):
                raise OptionError(name, f"{value!r} cannot be the {name} of a cookie")
        if self.same_site not in (None, "lax", "strict", "none"):
            raise OptionError("same_site", f"must be lax, strict or none, not {self.same_site!r}")
        if (self.same_site == "none" or self.partitioned) and not self.secure:
            option = "partitioned" if self.partitioned else "same_site"
            raise OptionError(option, "browsers take such a cookie only with secure = true")


class EngineOptions(OptionGroup, frozen=True, kw_only=True):
    """How Engine.IO behaves. The defaults are the reference's where it has the option.

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
        max_http_buffer_size_bytes: one body, frame or message from a client; the handshake tells
            it to clients as maxPayload.
        http_compression: of polling answers; None turns it off.
        per_message_deflate: of WebSocket messages; None turns it off.
        cookie: sent with the answer that opens a session; None sends none.
        initial_packet: a message that every new session gets first.
        allow_eio3: serve clients of Engine.IO v3 too: socket.io-client 1.x and 2.x.
        hook_timeout_s: for each async step before a client is let in: allow_request, generate_id,
            middleware, and predicates of namespaces.
        max_unjoined_sessions: sessions whose clients have joined no namespace yet; a further one is
            answered 503.
        max_unjoined_sessions_per_address: the same for one client address, answered 429; for IPv6
            its first 64 bits count. None means no limit.
    """

    path: str = "/socket.io/"
    add_trailing_slash: bool = True
    transports: tuple[str, ...] = TRANSPORTS
    allow_upgrades: bool = True
    destroy_upgrade: bool = True
    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    upgrade_timeout_s: float = 10.0
    max_http_buffer_size_bytes: int = 1_000_000
    http_compression: HttpCompression | None = HttpCompression()
    per_message_deflate: PerMessageDeflate | None = None
    cookie: Cookie | None = None
    initial_packet: str | bytes | None = None
    allow_eio3: bool = False
    hook_timeout_s: float = 10.0
    max_unjoined_sessions: int = 20_000
    max_unjoined_sessions_per_address: int | None = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)
        for name in ("ping_interval_s", "ping_timeout_s"):
            if not isfinite(getattr(self, name)):  # the handshake tells it to clients
                raise OptionError(name, "must be finite")
        for name, kind in (
            ("http_compression", HttpCompression),
            ("per_message_deflate", PerMessageDeflate),
            ("cookie", Cookie),
        ):
            value = getattr(self, name)
            if value is not None:
                check_group(name, value, kind)
        if self.initial_packet is not None and not _is_message(self.initial_packet):
            raise OptionError("initial_packet", f"{self.initial_packet!r} is no message to send")
        if not self.transports:
            raise OptionError("transports", "names none")
        for transport in self.transports:
            if transport not in TRANSPORTS:
                known = " or ".join(TRANSPORTS)
                raise OptionError("transports", f"a transport is {known}, not {transport!r}")
        slash = "/" if self.add_trailing_slash else ""
        msgspec.structs.force_setattr(self, "path", self.path.rstrip("/") + slash or "/")


def _is_message(packet: object) -> bool:
    if isinstance(packet, str):
        return packet.isascii() or packet.encode(errors="replace").decode() == packet
    return isinstance(packet, bytes)


class RequestHooks(NamedTuple):
    """The functions of a program that are asked before a session is opened.

    Args:
        allow_request: a plain or async function of an EngineRequest: True lets it in; False or
            ConnectRefused(message) refuse it with code 4.
        generate_id: a plain or async function of an EngineRequest that names a new session: 1 to
            128 of A-Z a-z 0-9 . _ ~ -; a secret, and never twice the same.
    """

    allow_request: Callable[[Any], Any] | None = None
    generate_id: Callable[[Any], Any] | None = None

    def check(self) -> None:
        """Refuse functions that can never be called with a request.

        Raises:
            OptionError: it names the option.
        """
        for name, function in self._asdict().items():
            misfit = None if function is None else find_misfit(function, ("request",))
            if misfit is not None:
                raise OptionError(name, misfit)
