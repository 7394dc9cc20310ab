"""Resolves the hosts that a server is told to listen on, and refuses those that overlap."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import trio

from trio_socketio.errors import ConfigurationError

EVERYWHERE: Final = "all"
"""The host that stands for every address of the machine, IPv4 and IPv6."""

_WILDCARDS: Final = {
    socket.AF_INET: ("0.0.0.0", "IPv4"),
    socket.AF_INET6: ("::", "IPv6"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen on.

    Args:
        host: the host as it was given, for messages.
        family: AF_INET or AF_INET6.
        ip: the numeric address.
        scope_id: the scope of a link-local IPv6 address; 0 for any other.
    """

    host: str
    family: socket.AddressFamily
    ip: str
    scope_id: int = 0

    @property
    def absence(self) -> str:
        """The message if the machine does not have this address."""
        every, kind = _WILDCARDS[self.family]
        return f"this machine has no {kind if self.ip == every else 'such address'}"

    def to_bind(self, port: int) -> tuple[Any, ...]:
        """The address in the form that socket.bind takes."""
        if self.family == socket.AF_INET6:
            return self.ip, port, 0, self.scope_id
        return self.ip, port

    def show(self, port: int) -> str:
        """Write ``ip:port``, with the host if that is a name."""
        where = f"[{self.ip}]:{port}" if ":" in self.ip else f"{self.ip}:{port}"
        return where if self.host == self.ip else f"{where} ({self.host})"


async def resolve_hosts(hosts: str | Sequence[str]) -> list[Address]:
    """Find every address that the hosts name, in their order.

    Args:
        hosts: names or addresses, or EVERYWHERE.
    Raises:
        ConfigurationError: no host is given, one has no address, or two of them overlap.
    """
    names = [hosts] if isinstance(hosts, str) else list(hosts)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"host must be a name or address, or several, not {hosts!r}")
    addresses: list[Address] = []
    for host in names:
        found = await _resolve(host)
        for address in found:
            for other in addresses:
                _refuse_overlap(other, address)
        addresses += found
    return addresses


async def _resolve(host: str) -> list[Address]:
    if host == EVERYWHERE:
        return [Address(host, family, ip) for family, (ip, _) in _WILDCARDS.items()]
    try:
        answers = await trio.socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "this is not a host name"
        raise ConfigurationError(f"cannot listen on {host!r}: {what}") from error
    found = []
    for family, _, _, _, where in answers:
        if family in _WILDCARDS:
            scope_id = where[3] if len(where) == 4 else 0
            found.append(Address(host, family, str(where[0]).partition("%")[0], scope_id))
    return list(dict.fromkeys(found))  # /etc/hosts may list an address twice for the same name


def _refuse_overlap(first: Address, second: Address) -> None:  # CMD-03
    if first.family != second.family:
        return
    both = f"hosts {first.host!r} and {second.host!r}"
    if (first.ip, first.scope_id) == (second.ip, second.scope_id):
        raise ConfigurationError(f"{both} both name {first.ip}: give it once")
    every, kind = _WILDCARDS[first.family]
    if every in (first.ip, second.ip):
        raise ConfigurationError(f"{both} overlap: {every} already means every {kind} address")


def is_local(address: Any) -> bool:
    """Whether only this machine can reach a listening socket.

    Args:
        address: of the socket, as getsockname returns it; that of a Unix socket is not a tuple.
    """
    if not isinstance(address, tuple):
        return True
    try:
        return ip_address(str(address[0]).partition("%")[0]).is_loopback
    except ValueError:
        return False  # an inherited socket may be of any family
