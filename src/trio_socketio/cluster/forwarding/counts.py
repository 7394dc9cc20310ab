"""What forwarding has counted, in plain numbers."""

from typing import Final, Literal

Kind = Literal["handshake", "poll", "post", "upgrade"]

KINDS: Final = ("handshake", "poll", "post", "upgrade")
REASONS: Final = {
    "draining": "this node takes no more of them, because it stops",
    "fence": "the lease of this node has ended",
    "full": "this node or the other one has as many connections as it may have",
    "gone": "the other node cannot be reached, or was lost; if that is always so, see whether it "
    "is reached at this address, and whether both nodes speak TLS, by one authority, or neither",
    "loop": "another node has passed it on already",
    "malformed": "the other side does not keep to the protocol",
    "node": "another node, or another process of that node, answers there",
    "proof": "the nodes have no secret in common; see [cluster] secret_files",
    "silent": "the other node is not heard",
    "unknown": "no node that lives has this session",
    "version": "the other node speaks another version of forwarding",
}
"""Why a request is not passed on, or got no answer: a word for statistics, and a sentence."""


class ForwardingCounts:
    """The numbers of one node.

    Attributes:
        passed: how many requests were passed on to other nodes, by kind.
        answered: how many of them were answered there, by kind.
        taken: how many requests of other nodes were taken, by kind.
        refused: how many requests were refused that might have been passed on, by reason.
        openings_refused: how many connections of other nodes were refused, by reason.
        requests: how many are under way at other nodes.
        pipes: how many WebSockets lead through this node.
    """

    def __init__(self) -> None:
        self.passed: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.answered: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.taken: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.refused = dict.fromkeys(REASONS, 0)
        self.openings_refused = dict.fromkeys(("full", "malformed", "node", "proof", "version"), 0)
        self.requests = 0
        self.pipes = 0
