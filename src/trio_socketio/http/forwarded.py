"""What proxies tell of a request that they passed on, as far as they are trusted."""

from ipaddress import ip_address

from trio_socketio.http.request import Request
from trio_socketio.option_checks import Network


def forwarded(request: Request, trusted: tuple[Network, ...]) -> tuple[str, bool]:
    """The client's address and whether it came over TLS, as far as trusted proxies tell."""
    address, secure = request.address, request.secure
    if not trusted or not is_within(address, trusted):
        return address, secure
    for hop in reversed(request.headers.get("x-forwarded-for", "").split(",")):
        hop = hop.strip()
        try:
            ip_address(hop)
        except ValueError:
            break  # what an honest proxy never writes: stop believing here
        address = hop
        if not is_within(hop, trusted):
            break
    return address, nearest(request, "x-forwarded-proto") == "https" or secure


def nearest(request: Request, header: str) -> str:
    """What the proxy next to us wrote; those before it only had their say."""
    return request.headers.get(header, "").rpartition(",")[2].strip()


def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether the address is one of those networks."""
    if not address:
        return True  # a Unix socket: whoever may open it is local
    parsed = ip_address(address.partition("%")[0])
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks if network.version == parsed.version)
