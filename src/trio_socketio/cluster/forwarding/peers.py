"""The nodes that requests can be passed on to, by the prefix of their sids."""

import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.cluster.forwarding.peer import Peer
from trio_socketio.cluster.forwarding.pool import Address, Ground
from trio_socketio.cluster.forwarding.trial import warn_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_socketio.codec.node_messages import NodeFacts

log = logging.getLogger(__name__)

LOOK_UP_S: Final = 5.0
"""How long the look-up of a name may take."""
RETRY_S: Final = 5.0

_MOST_NAMES: Final = 5
_SAME_PREFIX: Final = "another node has the same sid_prefix"
_NO_ADDRESS: Final = (
    "it does not listen for other nodes; start it with --internal too, or see to it that the "
    "balancer is sticky"
)
_LOOPBACK: Final = (
    "is a loopback address of another machine; give that node an --internal, or an "
    "internal_advertise, by which this machine reaches it"
)


class Peers:
    """The other nodes that live and have an internal address.

    Args:
        ground: what they share.
        prefix: of the sids of this node.

    Attributes:
        routes: by prefix; a prefix that several nodes have is not there.
    """

    def __init__(self, ground: Ground, prefix: str) -> None:
        self.routes: dict[str, Peer] = {}
        self._ground = ground
        self._prefix = prefix
        self._peers: dict[str, Peer] = {}  # by the name of the node
        self._unresolved: dict[str, NodeFacts] = {}  # by their names; their hosts are to be found
        self._outside: dict[str, str] = {}  # nodes that cannot be reached at all, and why
        self._has_names = trio.Event()

    def __iter__(self) -> "Iterator[Peer]":
        return iter(tuple(self._peers.values()))

    def leads_to(self, peer: Peer) -> bool:
        """Whether requests can be passed on to a peer."""
        return self.routes.get(peer.node.sid_prefix) is peer

    def faults(self) -> dict[str, str | None]:  # FWD-57
        """Return why requests cannot be passed on to the other nodes, by node name.

        Empty text means that they can, and None that it is not known yet.
        """
        found: dict[str, str | None] = dict.fromkeys(self._unresolved)
        found.update(self._outside)
        for name, peer in self._peers.items():
            found[name] = peer.trial.fault if self.leads_to(peer) else _SAME_PREFIX
        return found

    def renew(self) -> None:
        """Soon try whether the nodes accept one another's new secrets or certificates."""
        for peer in self:
            peer.trial.renew()

    def node_came(self, node: "NodeFacts") -> None:
        """Take a node in."""
        self._unresolved.pop(node.name, None)
        self._outside.pop(node.name, None)
        before = self._peers.get(node.name)
        if before is not None:  # Redis was away, and the node may be the same
            if _is_same(before.node, node):
                before.node, before.is_missing = node, False
                return
            self._drop(before)
        if self._ground.within not in ("", node.parent) or node.workers:
            # WORK-50: the workers of another program have another secret. A parent has no sessions.
            return
        if not (node.internal and node.sid_prefix):
            self._leave_out(node, _NO_ADDRESS)  # FWD-58
            return
        address = read_address(node.internal)
        if node.host != self._ground.host and _is_loopback(address):
            # FWD-52: it means other workers on its own machine
            self._leave_out(node, f"{node.internal} {_LOOPBACK}")
            return
        if address is None:
            self._unresolved[node.name] = node
            self._has_names.set()
        else:
            self._add(node, address)

    def _leave_out(self, node: "NodeFacts", fault: str) -> None:
        """Note and report why requests cannot be passed on to a node."""
        before = self._outside.get(node.name)
        self._outside[node.name] = fault
        if fault != before:
            warn_of(self._ground, node, f"of host {node.host}", fault)

    def _add(self, node: "NodeFacts", address: Address) -> None:
        peer = self._peers[node.name] = Peer(self._ground, node, address)
        self._arrange(node.sid_prefix)
        peer.trial.begin()

    def node_went(self, node: "NodeFacts", *, is_cut_off: bool) -> None:
        """Let a node go.

        Args:
            node: the node.
            is_cut_off: whether this node hears no other one, so that the node may well live. It is
                kept for as long as it can be reached.
        """
        self._unresolved.pop(node.name, None)  # nothing leads to it yet, and it may come back
        self._outside.pop(node.name, None)
        peer = self._peers.get(node.name)
        if peer is None or not _is_same(peer.node, node):
            return
        if is_cut_off:  # FWD-23
            peer.is_missing = True
        else:
            self._drop(peer)

    def nodes_settled(self) -> None:
        """Let go of those that were missing while this node was cut off, and have not come back."""
        for peer in self:
            if peer.is_missing:
                self._drop(peer)

    async def resolve_names(self) -> None:
        """Look up the hosts of nodes that have told a name in place of an address, until cancelled.

        What is not found is looked up again after RETRY_S, while the node lives.
        """
        while True:
            await self._has_names.wait()
            self._has_names = trio.Event()
            for node in tuple(self._unresolved.values()):
                address = await _look_up(node)
                if self._unresolved.get(node.name) is not node:  # it has left meanwhile
                    continue
                if isinstance(address, str):
                    self._leave_out(node, address)
                else:
                    del self._unresolved[node.name]
                    self._outside.pop(node.name, None)
                    self._add(node, address)
            if self._unresolved:
                await trio.sleep(RETRY_S)
                self._has_names.set()

    def _drop(self, peer: Peer) -> None:
        del self._peers[peer.node.name]
        self._arrange(peer.node.sid_prefix)
        peer.leave("gone")

    def _arrange(self, prefix: str) -> None:
        """Find out who has a prefix; if two have it, nobody knows whose a session is (FWD-10)."""
        peers = [peer for peer in self._peers.values() if peer.node.sid_prefix == prefix]
        self.routes.pop(prefix, None)
        if prefix == self._prefix or len(peers) > 1:
            names = [peer.node.name for peer in peers]
            if prefix == self._prefix:
                names.append(self._ground.name)
            if len(names) > 1:
                log.warning(
                    "the nodes %s have the same sid_prefix, so no request is passed on to any of "
                    "them: give each node another one, or leave out [engine] sid_prefix",
                    " and ".join(map(repr, sorted(names))),
                )
        elif peers:
            self.routes[prefix] = peers[0]


def tell_faults(faults: "Mapping[str, str | None]") -> str:
    """Name in one line the nodes to which requests cannot be passed on; empty if there are none.

    Args:
        faults: see Peers.faults.
    """
    names = sorted(name for name, fault in faults.items() if fault)
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    told = ", ".join(map(repr, names[:_MOST_NAMES]))
    return f"requests cannot be passed on to the nodes {told}{more}; see system.nodes"


def _is_same(one: "NodeFacts", other: "NodeFacts") -> bool:
    """Whether these are of the same process; it has another boot each time it claims its name."""
    return (one.pid, one.started_at_s, one.internal, one.sid_prefix) == (
        other.pid,
        other.started_at_s,
        other.internal,
        other.sid_prefix,
    )


def read_address(internal: str) -> Address | None:
    """Return the family and the address of ``HOST:PORT``; None if the host is a name."""
    host, port = _split(internal)
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return (socket.AF_INET6, (host, port, 0, 0)) if version == 6 else (socket.AF_INET, (host, port))


def _is_loopback(address: Address | None) -> bool:
    return address is not None and ip_address(address[1][0]).is_loopback


def _split(internal: str) -> tuple[str, int]:
    host, _, port = internal.rpartition(":")
    return host.strip("[]"), int(port)


async def _look_up(node: "NodeFacts") -> Address | str:
    """Return the first address of the host that a node has announced, or why it is not found."""
    host, port = _split(node.internal)
    try:
        with trio.fail_after(LOOK_UP_S):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except trio.TooSlowError:
        return f"{node.internal} is not found: no answer within {LOOK_UP_S:g} s"
    except (OSError, UnicodeError) as error:  # FWD-54
        words = error.strerror if isinstance(error, OSError) else None
        return f"{node.internal} is not found: {words or error}"
    family, _, _, _, address = found[0]
    return family, address
