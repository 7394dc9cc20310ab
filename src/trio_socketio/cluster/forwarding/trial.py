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

    A trial is no verdict on the node, which may be heard by its other connections. It says whether
    a new connection can be opened, as both nodes are set up now: so it never uses one that is
    there.

    Args:
        ground: what all peers share.
        node: the node.
        pool: dials, and keeps the connection.

    Attributes:
        fault: why nothing can be passed on to the node; empty if that is possible, None if it is
            not known yet.
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
        # While trials fail, the next one comes in its time, however many requests fail as well.
        if not (self._is_under_way or self._failures) and self._at > trio.current_time() + soon_s:
            self._wait(soon_s, 0.0)

    def renew(self) -> None:
        """Try soon, and forget the failures: by what the nodes know one another has changed."""
        self._failures = 0
        self.begin()

    def end(self) -> None:
        """Try no more."""
        self._is_over = True
        self._ground.links.deadlines.forget(self)

    def _wait(self, most_s: float, least: float = 0.75) -> None:
        """Wait for a part of a time, so that the nodes do not all dial at once."""
        self._at = trio.current_time() + most_s * random.uniform(least, 1.0)
        self._ground.links.deadlines.schedule(self)

    def _go_on(self, most_s: float) -> None:
        if self._at == inf:  # else it is to be tried anew before
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
        link, self._link = self._link, None
        assert link is not None
        if not link.receive_pulse(data):
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
        # The bound of the exponent is that of a float, and not of a time.
        self._go_on(min(times.most_s, times.again_s * 2.0 ** min(max(self._failures - 1, 0), 64)))

    def _tell(self, fault: str) -> None:
        before, self.fault = self.fault, fault
        kind = "nodes to which requests cannot be passed on"
        if fault != before and self._ground.lines.admits(kind):  # FWD-55
            log.warning(
                "requests cannot be passed on to node %r at %s: %s",
                self._node.name,
                self._node.internal,
                fault,
                extra={"fields": {"refusal": kind, "node": self._node.name}},
            )
