"""What forwarding has counted, in plain numbers."""

from typing import Final, Literal

Kind = Literal["handshake", "poll", "post", "upgrade"]

KINDS: Final = ("handshake", "poll", "post", "upgrade")
REASONS: Final = {
    "draining": "this node takes no more of them, because it stops",
    "fence": "the lease of this node has ended",
    "full": "this node or the other one has as many connections as it may have",
    "gone": "the other node cannot be reached at this address, or was lost",
    "loop": "another node has passed it on already",
    "malformed": "the other side does not keep to the protocol",
    "node": "another node, or another process of that node, answers there",
    "proof": "the nodes have no secret in common; see [cluster] secret_files",
    "silent": "the other node is not heard",
    "tls": "see [cluster] internal_tls_cert and internal_tls_ca: both nodes must speak TLS, with "
    "certificates of one authority, or neither",
    "unknown": "no node that lives has this session",
    "version": "the other node speaks another version of forwarding",
}
"""Why a request is not passed on, or got no answer: a word for statistics, and a sentence."""
_OPTIONS: Final = frozenset(("proof", "tls"))
"""Reasons whose sentences name options; causes name none."""
OPENING_REASONS: Final = (
    "full",
    "late",
    "lost",
    "malformed",
    "node",
    "proof",
    "tls",
    "version",
)
"""Why a connection to the internal address is refused; the log line says it in words."""


def explain(reason: str, cause: str) -> str:
    """Say why something has failed.

    Args:
        reason: one of REASONS.
        cause: what exactly failed; empty if that is not known.
    """
    if not cause:
        return REASONS[reason]
    return f"{cause} ({REASONS[reason]})" if reason in _OPTIONS else cause


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
        self.openings_refused = dict.fromkeys(OPENING_REASONS, 0)
        self.requests = 0
        self.pipes = 0
