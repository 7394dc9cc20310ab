"""Reads the headers with which trusted proxies describe the requests that they forward."""

from ipaddress import ip_address
from typing import Final

from trio_socketio.http.request import Request
from trio_socketio.option_checks import Network

MAX_ADDRESS: Final = 64
"""Characters of an address: the longest of IPv6, and a scope, which may be any text."""


def forwarded(request: Request, trusted: tuple[Network, ...]) -> tuple[str, bool]:
    """Find out where a request came from, as far as trusted proxies tell.

    Args:
        request: the request.
        trusted: the networks of the trusted proxies.
    Returns:
        The client's address, and whether the client used TLS.
    """
    address, secure = request.address, request.secure
    if not trusted or not is_within(address, trusted):
        return address, secure
    for hop in reversed(request.headers.get("x-forwarded-for", "").split(",")):
        hop = hop.strip()
        try:
            ip_address(hop if len(hop) <= MAX_ADDRESS else "")
        except ValueError:
            break  # no honest proxy writes this, so nothing before it can be believed
        address = hop
        if not is_within(hop, trusted):
            break
    return address, nearest(request, "x-forwarded-proto") == "https" or secure


def nearest(request: Request, header: str) -> str:
    """The last value of a header, which the proxy next to us wrote; the client may forge others."""
    return request.headers.get(header, "").rpartition(",")[2].strip()


def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks."""
    if not address:
        return True  # a Unix socket, which only local processes with permission can open
    parsed = ip_address(address.partition("%")[0])
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks if network.version == parsed.version)
