"""Bounds sessions whose clients have not yet joined anything.

A session costs a client one GET and needs no connection of its own, so max_connections does not
bound their number: 30,000 can be opened in 1.4 s over ten connections. Those whose clients have
joined a namespace have passed the app's middleware, and are its own affair. The others are bounded
here.

Clients that connect are newcomers for a round trip or two. After a restart all of them come at
once: 10,000 a second that take two seconds each to join are 20,000, which is the default, at about
3 KiB each. The bound for one address is smaller, for it is what keeps one client from taking all
places. Behind a proxy that is not named in trusted_proxies, all clients have one address.
"""

import logging
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

from trio_socketio.engine.handshake import Refusal
from trio_socketio.http.forwarded import forwarded

if TYPE_CHECKING:
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5
_TOO_MANY: Final = Refusal(
    3, "Too many sessions that have joined nothing", 503, retry_after_s=RETRY_AFTER_S
)
_TOO_MANY_THERE: Final = Refusal(
    3,
    "Too many sessions of this address that have joined nothing",
    429,
    retry_after_s=RETRY_AFTER_S,
)


class Newcomers:
    """The sessions of one engine whose clients have not joined anything.

    Args:
        options: bound them.
        trusted_proxies: networks of the proxies that are believed.

    Attributes:
        refused: requests for a session that were refused.
    """

    def __init__(
        self, options: "EngineOptions", trusted_proxies: "tuple[Network, ...]" = ()
    ) -> None:
        self.refused = 0
        self._options = options
        self._trusted_proxies = trusted_proxies
        self._origins: dict[Session, str] = {}
        self._per_origin: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._origins)

    def refuse(self, request: "Request") -> Refusal | None:
        """Why no session is opened for this request, if none is; that is counted."""
        options = self._options
        refusal = None
        if len(self._origins) >= options.max_unjoined_sessions:
            refusal = _TOO_MANY
        elif options.max_unjoined_sessions_per_address is not None:
            origin = _origin(forwarded(request, self._trusted_proxies)[0])
            # A Unix socket has no address: whoever may open it is local.
            there = self._per_origin.get(origin, 0) if origin else 0
            if there >= options.max_unjoined_sessions_per_address:
                refusal = _TOO_MANY_THERE
        if refusal is not None:
            if not self.refused:
                log.warning("%s: more are refused, and counted", refusal.message)
            self.refused += 1
        return refusal

    def add(self, session: "Session") -> None:
        """A session was opened."""
        origin = self._origins[session] = _origin(session.handshake.address)
        self._per_origin[origin] = self._per_origin.get(origin, 0) + 1

    def remove(self, session: "Session") -> None:
        """A session's client has joined, or is gone; one that is not here is ignored."""
        origin = self._origins.pop(session, None)
        if origin is not None:
            left = self._per_origin[origin] - 1
            if left:
                self._per_origin[origin] = left
            else:
                del self._per_origin[origin]


def _origin(address: str) -> str:
    """What counts as one client's: an IPv4 address, or the 64 bits of IPv6 that a site is given."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
