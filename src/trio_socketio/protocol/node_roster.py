"""The other nodes, as one node knows them: who lives, and since when one was not heard.

A node that falls silent without a goodbye may stand still, and keep its clients until its lease has
ended. So it is remembered for that long: nobody may answer as if it had no clients.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from trio_socketio.codec.node_messages import NodeFacts

MAX_NODES: Final = 1000
"""The most nodes that are known; further ones are ignored."""
_MAX_ENDED: Final = 1000
SILENT: Final = "is silent"
REPLACED: Final = "was replaced"
"""Why a node has gone; the node that has its name now has joined in the same step."""


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
        keeps_s: how long a node may have clients after it has gone without a goodbye.

    Attributes:
        departed: the names of nodes that have said goodbye last; they have no clients.
        ignored: how many beats of nodes beyond MAX_NODES were ignored.
        peers: the nodes that live, by name.
        silent: the nodes that have gone without a goodbye and may still have clients, by name.
    """

    def __init__(self, silence_s: float, keeps_s: float = 0.0) -> None:
        self.ignored = 0
        self.peers: dict[str, Peer] = {}
        self.silent: dict[str, Peer] = {}
        self.departed: dict[str, None] = {}
        self._silence_s = silence_s
        self._keeps_s = keeps_s
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
        self.silent.pop(node.name, None)
        self.departed.pop(node.name, None)
        # A node beats only once its claim to the name has found the one before it silent.
        news: list[News] = [] if before is None else self._end(node.name, REPLACED)
        self.peers[node.name] = Peer(node, now)
        return [*news, Joined(node)]

    def receive_bye(self, name: str, boot: str) -> list[News]:
        """Note that a node has ended (NODE-21)."""
        peer = self.peers.get(name)
        if peer is not None and peer.node.boot == boot:
            self._depart(name)
            return self._end(name, "has left")
        self._forbid(boot)
        silent = self.silent.get(name)
        if silent is not None and silent.node.boot == boot:
            del self.silent[name]
            self._depart(name)
        return []

    def advance(self, now: float) -> list[News]:
        """Drop the nodes that have been silent for too long (NODE-20)."""
        silent = [one for one in self.peers.values() if now >= self._ends_at(one)]
        for peer in silent:
            del self.peers[peer.node.name]  # it may come back
            self.silent[peer.node.name] = peer
        self.silent = {
            name: peer
            for name, peer in self.silent.items()
            if now < self._ends_at(peer) + self._keeps_s  # NODE-24
        }
        return [Gone(peer.node, SILENT) for peer in silent]

    def pardon(self, paused_s: float, now: float) -> None:
        """Allow for a time in which this program has not run, and so has heard nobody (NODE-22)."""
        # They may have been heard only after that.
        for peer in (*self.peers.values(), *self.silent.values()):
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
        _remember(self._ended, boot)

    def _depart(self, name: str) -> None:
        _remember(self.departed, name)


def _remember(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > _MAX_ENDED:
        del names[next(iter(names))]
