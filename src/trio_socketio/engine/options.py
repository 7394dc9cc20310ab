"""The options of Engine.IO."""

import re
from collections.abc import Callable
from math import inf, isfinite
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.errors import OptionError
from trio_socketio.http.options import HttpCompression
from trio_socketio.net.options import PerMessageDeflate
from trio_socketio.option_checks import TOKEN, OptionGroup, check_group, check_path
from trio_socketio.signatures import find_misfit

TRANSPORTS: Final = ("polling", "websocket")

LONGEST_SILENCE_S: Final = (2**31 - 1) // 1000
"""How long clients in JavaScript can wait for a ping: setTimeout takes 31 bits of milliseconds."""

MIN_SESSION_RATE: Final = 0.001
"""The lowest rate at which an address may open sessions: one in a quarter of an hour."""

_SID_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{4}").fullmatch
_ATTRIBUTE: Final = re.compile(r"[ -:<-~]+").fullmatch  # no control character, no semicolon


class Cookie(OptionGroup, frozen=True, kw_only=True):
    """A cookie that holds the session's id, for load balancers that go by cookies.

    It is set by the answer that opens a session on long-polling, and never read.

    Args:
        name: the name of the cookie.
        path, domain: where browsers send the cookie; None leaves the attribute out.
        http_only: whether the cookie is hidden from scripts.
        same_site: ``"lax"``, ``"strict"``, ``"none"``, or None to leave the attribute out.
        secure: whether browsers send the cookie over TLS only; same_site "none" and partitioned
            need it.
        max_age_s: how long browsers keep the cookie; None means until they are closed.
        partitioned: whether each site that embeds the page has a cookie of its own.
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
            raise OptionError("name", f"{self.name!r} cannot be the name of a cookie")
        for name in ("path", "domain"):
            value = getattr(self, name)
            if value is not None and not _ATTRIBUTE(value):
                raise OptionError(name, f"{value!r} cannot be the {name} of a cookie")
        if self.same_site not in (None, "lax", "strict", "none"):
            raise OptionError("same_site", f"must be lax, strict or none, not {self.same_site!r}")
        if (self.same_site == "none" or self.partitioned) and not self.secure:
            option = "partitioned" if self.partitioned else "same_site"
            raise OptionError(option, "browsers accept such a cookie only with secure = true")


class EngineOptions(OptionGroup, frozen=True, kw_only=True):
    """How Engine.IO behaves. The defaults are the reference's where it has the option.

    Args:
        path: the URL path where Socket.IO answers.
        add_trailing_slash: whether path ends with a slash. Otherwise it is answered with and
            without.
        transports: the transports that clients may use: "polling", "websocket" or both.
        allow_upgrades: whether a session may go from polling to WebSocket.
        destroy_upgrade: whether a connection is closed that asks for an upgrade at a path that
            nothing serves; it is answered 404 either way.
        ping_interval_s: the time from the end of one heartbeat to the next ping.
        ping_timeout_s: how long a client may take to answer a ping; with ping_interval_s at most
            2147483, which is what timers in JavaScript can count.
        upgrade_timeout_s: how long a client may take from the opening of the WebSocket to the
            upgrade packet.
        max_http_buffer_size_bytes: the largest body, frame or message that a client may send; the
            handshake tells it to clients as maxPayload.
        http_compression: how polling answers are compressed; None turns it off.
        per_message_deflate: how WebSocket messages are compressed; None turns it off.
        cookie: the cookie that is sent with the answer that opens a session; None sends none.
        initial_packet: a message that every new session gets first.
        allow_eio3: whether clients of Engine.IO v3 are served too: socket.io-client 1.x and 2.x.
        sid_prefix: the 4 characters of A-Z a-z 0-9 _ - with which every sid begins, so that a load
            balancer can send polling requests back to their node; another one for each node. None
            means that they are drawn at every start.
        hook_timeout_s: how long each async step may take before a client is let in: allow_request,
            generate_id, middleware, and predicates of namespaces.
        max_unjoined_sessions: how many sessions there may be whose clients have joined no namespace
            yet; a request for a further one is answered 503.
        max_unjoined_sessions_per_address: the same for one client address, answered 429; the first
            64 bits of an IPv6 address count. None means no limit.
        session_rate_per_address: how many sessions one client address may open in a second, in the
            long run; a request for a further one is answered 429 and told when to come back. Each
            node counts for itself. None means no limit.
        session_burst_per_address: how many of them it may open at once.
    """

    _reloadable = frozenset(
        (
            "max_unjoined_sessions",
            "max_unjoined_sessions_per_address",
            "session_rate_per_address",
            "session_burst_per_address",
        )
    )

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
    sid_prefix: str | None = None
    hook_timeout_s: float = 10.0
    max_unjoined_sessions: int = 20_000
    max_unjoined_sessions_per_address: int | None = 1_000
    session_rate_per_address: float | None = None
    session_burst_per_address: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)
        for name in ("ping_interval_s", "ping_timeout_s"):
            if not isfinite(getattr(self, name)):  # the handshake tells it to clients
                raise OptionError(name, "must be finite")
        if self.ping_interval_s + self.ping_timeout_s > LONGEST_SILENCE_S:  # SURF-60
            raise OptionError(
                "ping_interval_s",
                f"must be at most {LONGEST_SILENCE_S} together with ping_timeout_s, because timers "
                "in JavaScript cannot run for longer and would end the session at once; it is "
                f"{self.ping_interval_s:.10g}, and ping_timeout_s is {self.ping_timeout_s:.10g}",
            )
        if self.session_rate_per_address is not None:
            _check_rate("session_rate_per_address", self.session_rate_per_address)
        for name, kind in (
            ("http_compression", HttpCompression),
            ("per_message_deflate", PerMessageDeflate),
            ("cookie", Cookie),
        ):
            value = getattr(self, name)
            if value is not None:
                check_group(name, value, kind)
        if self.initial_packet is not None and not _is_message(self.initial_packet):
            raise OptionError(
                "initial_packet", f"{self.initial_packet!r} cannot be sent as a message"
            )
        if self.sid_prefix is not None and not _SID_PREFIX(self.sid_prefix):  # EIO4-125
            raise OptionError(
                "sid_prefix", f"expected 4 characters of A-Z a-z 0-9 _ -, not {self.sid_prefix!r}"
            )
        if not isinstance(self.transports, (tuple, list)):
            raise OptionError("transports", f"expected a tuple of names, not {self.transports!r}")
        if not self.transports:
            raise OptionError("transports", "must name at least one transport")
        for transport in self.transports:
            if transport not in TRANSPORTS:
                known = " or ".join(TRANSPORTS)
                raise OptionError("transports", f"a transport is {known}, not {transport!r}")
        slash = "/" if self.add_trailing_slash else ""
        msgspec.structs.force_setattr(self, "path", self.path.rstrip("/") + slash or "/")


def _check_rate(name: str, rate: object) -> None:
    if not isinstance(rate, (int, float)) or isinstance(rate, bool):
        raise OptionError(name, f"expected a number or None, not {rate!r}")
    if not MIN_SESSION_RATE <= rate < inf:
        raise OptionError(name, f"must be {MIN_SESSION_RATE} or more, and finite, not {rate}")


def _is_message(packet: object) -> bool:
    if isinstance(packet, str):
        return packet.isascii() or packet.encode(errors="replace").decode() == packet
    return isinstance(packet, bytes)


class RequestHooks(NamedTuple):
    """The functions of a program that are asked before a session is opened.

    Args:
        allow_request: a plain or async function of an EngineRequest. True admits the request; False
            or ConnectRefused(message) refuses it with code 4.
        generate_id: a plain or async function of an EngineRequest that names a new session: 1 to
            128 of A-Z a-z 0-9 . _ ~ -, secret, and never the same twice.
    """

    allow_request: Callable[[Any], Any] | None = None
    generate_id: Callable[[Any], Any] | None = None

    def check(self) -> None:
        """Check that the functions can be called with a request.

        Raises:
            OptionError: one cannot; the error names the option.
        """
        for name, function in self._asdict().items():
            misfit = None if function is None else find_misfit(function, ("request",))
            if misfit is not None:
                raise OptionError(name, misfit)
