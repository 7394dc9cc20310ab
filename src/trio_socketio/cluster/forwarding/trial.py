"""Tries whether requests can be passed on to another node, before the first client needs it."""

import logging
import random
from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.cluster.forwarding.counts import explain
from trio_socketio.cluster.forwarding.pool import DialFailed, Ground, Pool

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.link import Link
    from trio_socketio.codec.node_messages import NodeFacts

log = logging.getLogger(__name__)

_NO_VERDICT: Final = frozenset(("draining", "fence", "full"))
"""Reasons that say nothing about how the nodes are set up."""


class Trial:
    """Opens a connection to a node now and then, and sends a pulse over it.

    A trial says whether a new connection can be opened with the current set-up of both nodes. So it
    never uses an existing connection: the node may well be heard over that one while trials fail.

    Args:
        ground: what all peers share.
        node: the node.
        pool: dials, and keeps the connection.

    Attributes:
        fault: why requests cannot be passed on to the node; empty if they can, None if it is not
            known yet.
    """

    def __init__(self, ground: Ground, node: "NodeFacts", pool: Pool) -> None:
        self.deadline_entry: Any = None
        self.fault: str | None = None
        self._ground = ground
        self._node = node
        self._pool = pool
        self._failures = 0  # since the last success
        self._link: Link | None = None
        self._is_under_way = False
        self._is_over = False
        self._at = inf

    def begin(self) -> None:
        """Try soon, and then again and again."""
        self._wait(self._ground.times.soon_s, 0.0)

    def doubt(self) -> None:
        """Try soon: a request has failed."""
        soon_s = self._ground.times.soon_s
        # While trials fail, the next one keeps its time, however many requests fail as well.
        if not (self._is_under_way or self._failures) and self._at > trio.current_time() + soon_s:
            self._wait(soon_s, 0.0)

    def hope(self) -> None:
        """Try soon if trials have failed: a connection for something else has now been opened.

        Only a trial shows that the fault is over, and until then the node gets no new clients.
        """
        soon_s = self._ground.times.soon_s
        if self.fault and not self._is_under_way and self._at > trio.current_time() + soon_s:
            self._wait(soon_s, 0.0)

    def renew(self) -> None:
        """Try soon, and forget the failures: the nodes' secrets or certificates have changed."""
        self._failures = 0
        self.begin()

    def end(self) -> None:
        """Stop trying."""
        self._is_over = True
        self._at = inf
        self._ground.links.deadlines.forget(self)

    def _wait(self, most_s: float, least: float = 0.75) -> None:
        """Wait for a random part of a time, so that the nodes do not all dial at once."""
        if self._is_over:  # a request that fails during shutdown must not start another trial
            return
        self._at = trio.current_time() + most_s * random.uniform(least, 1.0)
        self._ground.links.deadlines.schedule(self)

    def _go_on(self, most_s: float) -> None:  # FWD-56
        if self._at == inf:  # else it is to be tried again before that
            self._wait(most_s)

    # -- time

    def next_deadline(self) -> float:
        return self._at

    def expire(self, now: float) -> None:
        self._at = inf
        self._ground.links.poller.defer(self._begin)

    # -- a trial

    def _begin(self) -> None:
        if self._is_over or self._ground.is_draining:
            return
        if self._is_under_way:  # with what was replaced meanwhile
            self.begin()
            return
        self._is_under_way = True
        try:
            self._pool.dial(self)
        except DialFailed as error:
            self.link_lost(error.reason, error.cause)

    def link_opened(self, link: "Link") -> None:
        self._link = link
        link.send_pulse()

    def receive_answer(self, data: bytes) -> None:
        assert self._link is not None
        is_right = self._link.receive_pulse(data)
        if is_right is None:
            return
        self._link = None
        if not is_right:
            self.link_lost("malformed", "it answers a pulse with something else")
            return
        self._is_under_way = False
        self._failures = 0
        before, self.fault = self.fault, ""
        if before:
            log.info("requests can be passed on to node %r again", self._node.name)
        self._go_on(self._ground.times.well_s)

    def link_lost(self, reason: str, cause: str = "") -> None:
        self._is_under_way = False
        self._link = None
        if self._is_over:
            return
        times = self._ground.times
        if reason not in _NO_VERDICT:
            self._failures += 1
            self._tell(explain(reason, cause))
        # The exponent is bounded only so that the float does not overflow.
        self._go_on(min(times.most_s, times.again_s * 2.0 ** min(max(self._failures - 1, 0), 64)))

    def _tell(self, fault: str) -> None:
        before, self.fault = self.fault, fault
        if fault != before:  # FWD-55
            warn_of(self._ground, self._node, f"at {self._node.internal}", fault)


def warn_of(ground: Ground, node: "NodeFacts", where: str, fault: str) -> None:
    """Warn that requests cannot be passed on to a node.

    The log counts each node as a kind of its own, so none goes unnamed, however many there are: a
    fault is reported only once, and a dropped line would not be repeated.

    Args:
        ground: what all peers share.
        node: the node.
        where: its address or its host, in words.
        fault: why requests cannot be passed on to it.
    """
    kind = f"faults of the way to node {node.name}"
    if ground.lines.admits(kind):
        log.warning(
            "requests cannot be passed on to node %r %s: %s",
            node.name,
            where,
            fault,
            extra={"fields": {"refusal": kind, "node": node.name}},
        )
