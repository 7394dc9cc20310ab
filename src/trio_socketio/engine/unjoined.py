"""Bounds the sessions whose clients have not yet joined a namespace.

A session costs a client one GET and needs no connection of its own, so max_connections does not
bound their number: 30,000 can be opened in 1.4 s over ten connections. A client that has joined a
namespace has passed the app's middleware, so the app decides how many of those there are. The
others are bounded here, and so is the rate at which an address may open sessions.

A client that connects is unjoined for a round trip or two. After a restart all clients come at
once: 10,000 a second that take two seconds each to join make 20,000 of them, which is the
default, at about 3 KiB each. The bound for one address is smaller, because it keeps one client from
taking all places. Behind a proxy that trusted_proxies does not name, all clients have one address.
"""

import logging
from ipaddress import IPv6Address
from math import ceil
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.engine.handshake import Refusal
from trio_socketio.http.forwarded import forwarded
from trio_socketio.protocol.token_bucket import TokenBuckets, TokenRate, token_rate

if TYPE_CHECKING:
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5
_TOO_MANY: Final = Refusal(
    3,
    "Too many sessions that have joined nothing",
    503,
    retry_after_s=RETRY_AFTER_S,
    reason="too many sessions",
)
_TOO_MANY_THERE: Final = Refusal(
    3,
    "Too many sessions of this address that have joined nothing",
    429,
    retry_after_s=RETRY_AFTER_S,
    reason="too many sessions of one address",
)
TOO_FAST: Final = "sessions of one address too fast"
MAX_ADDRESSES: Final = 20_000
"""Of how many addresses it is known how many sessions they have opened lately."""
_MAX_WAIT_S: Final = 3600  # the longest Retry-After


class Unjoined:
    """The sessions of one engine whose clients have not joined a namespace.

    Args:
        options: hold the bounds.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.

    Attributes:
        refused: the number of requests for a session that were refused.
    """

    def __init__(
        self, options: "EngineOptions", trusted_proxies: "tuple[Network, ...]" = ()
    ) -> None:
        self.refused = 0
        self._options = options
        self._trusted_proxies = trusted_proxies
        self._origins: dict[Session, str] = {}
        self._per_origin: dict[str, int] = {}
        self._rate: TokenRate | None = None
        self._opened = TokenBuckets[str](MAX_ADDRESSES)
        self.apply(options)

    def __len__(self) -> int:
        return len(self._origins)

    def __contains__(self, session: "Session") -> bool:
        return session in self._origins

    def apply(self, options: "EngineOptions") -> None:
        """Use the bounds of these options from the next request on (CFG-14)."""
        self._options = options
        rate, burst = options.session_rate_per_address, options.session_burst_per_address
        self._rate = None if rate is None else token_rate(rate, burst)

    def refuse(self, request: "Request") -> Refusal | None:
        """Return why no session may be opened for this request, or None. A refusal is counted."""
        options = self._options
        refusal = None
        if len(self._origins) >= options.max_unjoined_sessions:  # BND-13
            refusal = _TOO_MANY
        elif options.max_unjoined_sessions_per_address is not None:
            origin = _origin(forwarded(request, self._trusted_proxies)[0])
            # A connection over a Unix socket has no address, and is local: it is not bounded.
            there = self._per_origin.get(origin, 0) if origin else 0
            if there >= options.max_unjoined_sessions_per_address:  # BND-14
                refusal = _TOO_MANY_THERE
        if refusal is None and self._rate is not None:  # BND-20
            refusal = self._refuse_fast(request, self._rate)
        if refusal is not None:
            if not self.refused:  # once: a client could fill the log otherwise
                log.warning("%s: further requests are refused, and counted", refusal.message)
            self.refused += 1
        return refusal

    def _refuse_fast(self, request: "Request", rate: TokenRate) -> Refusal | None:
        """Return why an address may open no session just now, or count it as opened."""
        origin = _origin(forwarded(request, self._trusted_proxies)[0])
        wait_s = self._opened.take(origin, rate, trio.current_time()) if origin else 0.0
        if not wait_s:
            return None
        return Refusal(
            3,
            "Too many new sessions of this address",
            429,
            retry_after_s=min(ceil(wait_s), _MAX_WAIT_S),
            reason=TOO_FAST,
        )

    def add(self, session: "Session") -> None:
        """Count a session that was opened."""
        origin = self._origins[session] = _origin(session.handshake.address)
        self._per_origin[origin] = self._per_origin.get(origin, 0) + 1

    def remove(self, session: "Session") -> None:
        """Free the place of a session whose client has joined, or which has ended (BND-15).

        A session that has no place is ignored, because both happen to most sessions.
        """
        origin = self._origins.pop(session, None)
        if origin is not None:
            left = self._per_origin[origin] - 1
            if left:
                self._per_origin[origin] = left
            else:
                del self._per_origin[origin]


def _origin(address: str) -> str:
    """Return what identifies a client: its IPv4 address, or the 64 bits of its IPv6 site."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
