"""The nodes that requests can be passed on to, by the prefix of their sids."""

import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from trio_socketio.cluster.forwarding.peer import Peer
from trio_socketio.cluster.forwarding.pool import Address, Ground

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_socketio.codec.node_messages import NodeFacts

log = logging.getLogger(__name__)


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

    def __iter__(self) -> "Iterator[Peer]":
        return iter(tuple(self._peers.values()))

    def leads_to(self, peer: Peer) -> bool:
        """Whether requests can be passed on to a peer."""
        return self.routes.get(peer.node.sid_prefix) is peer

    def node_came(self, node: "NodeFacts") -> None:
        """Take a node in."""
        before = self._peers.get(node.name)
        if before is not None:  # Redis was away, and the node may be the same
            if before.node.boot == node.boot:
                before.is_missing = False
                return
            self._drop(before)
        if not (node.internal and node.sid_prefix):
            return
        address = resolve(node.internal)
        if address is None:
            log.warning(
                "node %r says that it listens for nodes on %s, which is not an address: nothing is "
                "passed on to it",
                node.name,
                node.internal,
            )
            return
        self._peers[node.name] = Peer(self._ground, node, address)
        self._arrange(node.sid_prefix)

    def node_went(self, node: "NodeFacts", *, is_cut_off: bool) -> None:
        """Let a node go.

        Args:
            node: the node.
            is_cut_off: whether this node hears no other one, so that the node may well live. It is
                kept for as long as it can be reached.
        """
        peer = self._peers.get(node.name)
        if peer is None or peer.node.boot != node.boot:
            return
        if is_cut_off:  # FWD-23
            peer.is_missing = True
        else:
            self._drop(peer)

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


def resolve(internal: str) -> Address | None:
    """Return the family and the address of ``HOST:PORT``; None if the host is not an address."""
    host, _, port_text = internal.rpartition(":")
    host, port = host.strip("[]"), int(port_text)
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    if not 0 < port <= 65535:
        return None
    if version == 6:
        return socket.AF_INET6, (host, port, 0, 0)
    return socket.AF_INET, (host, port)
