"""The other nodes, as one node knows them: who lives, and since when one was not heard."""

from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from trio_socketio.codec.node_messages import NodeFacts

MAX_NODES: Final = 1000
"""The most nodes that are known; further ones are ignored."""
_MAX_ENDED: Final = 1000
SILENT: Final = "is silent"


class Joined(msgspec.Struct, frozen=True):
    """A node has come, or has come back."""

    node: NodeFacts


class Gone(msgspec.Struct, frozen=True):
    """A node has gone.

    Args:
        node: as it was known last.
        why: "has left", "is silent", or "was replaced".
    """

    node: NodeFacts
    why: str


News = Joined | Gone


@dataclass(slots=True)
class Peer:
    """Another node.

    Args:
        node: what it has told about itself last.
        heard_at: when that was.
        overlooked_s: how long this program has not run since, and so has heard nobody.
    """

    node: NodeFacts
    heard_at: float
    overlooked_s: float = 0.0


class Roster:
    """The other nodes. All times: seconds on the caller's clock.

    Args:
        silence_s: a node that has not been heard for this time is gone.

    Attributes:
        ignored: how many beats of nodes beyond MAX_NODES were ignored.
        peers: the nodes that live, by name.
    """

    def __init__(self, silence_s: float) -> None:
        self.ignored = 0
        self.peers: dict[str, Peer] = {}
        self._silence_s = silence_s
        # Boots that have said goodbye or were replaced. A late beat must not bring them back.
        self._ended: dict[str, None] = {}

    def receive_beat(self, node: NodeFacts, now: float) -> list[News]:
        """Note that a node lives."""
        if node.boot in self._ended:  # NODE-16
            return []
        before = self.peers.get(node.name)
        if before is not None and before.node.boot == node.boot:
            self.peers[node.name] = Peer(node, now)
            return []
        if before is None and len(self.peers) >= MAX_NODES:
            self.ignored += 1
            return []
        # A node beats only once its claim to the name has found the one before it silent.
        news: list[News] = [] if before is None else self._end(node.name, "was replaced")
        self.peers[node.name] = Peer(node, now)
        return [*news, Joined(node)]

    def receive_bye(self, name: str, boot: str) -> list[News]:
        """Note that a node has ended (NODE-21)."""
        peer = self.peers.get(name)
        if peer is None or peer.node.boot != boot:
            self._forbid(boot)
            return []
        return self._end(name, "has left")

    def advance(self, now: float) -> list[News]:
        """Drop the nodes that have been silent for too long (NODE-20)."""
        silent = [one for one in self.peers.values() if now >= self._ends_at(one)]
        for peer in silent:
            del self.peers[peer.node.name]  # it may come back
        return [Gone(peer.node, SILENT) for peer in silent]

    def pardon(self, paused_s: float, now: float) -> None:
        """Allow for a time in which this program has not run, and so has heard nobody (NODE-22)."""
        for peer in self.peers.values():  # which may have been heard only after that
            peer.overlooked_s = min(peer.overlooked_s + paused_s, now - peer.heard_at)

    def next_deadline(self) -> float:
        """When `advance` has something to do."""
        return min(map(self._ends_at, self.peers.values()), default=inf)

    def _ends_at(self, peer: Peer) -> float:
        return peer.heard_at + peer.overlooked_s + self._silence_s

    def _end(self, name: str, why: str) -> list[News]:
        peer = self.peers.pop(name)
        self._forbid(peer.node.boot)
        return [Gone(peer.node, why)]

    def _forbid(self, boot: str) -> None:
        self._ended[boot] = None
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
