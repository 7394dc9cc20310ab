"""Another node, as requests are passed on to it: what is under way, and whether it is heard."""

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.cluster.forwarding.counts import explain
from trio_socketio.cluster.forwarding.passage import Gate, Passage
from trio_socketio.cluster.forwarding.pool import Address, DialFailed, Ground, Pool
from trio_socketio.cluster.forwarding.pulse import Pulse
from trio_socketio.cluster.forwarding.trial import Trial
from trio_socketio.protocol.hearing import Hearing

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.cluster.forwarding.counts import Kind
    from trio_socketio.cluster.forwarding.link import Link
    from trio_socketio.codec.node_messages import NodeFacts
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection

log = logging.getLogger(__name__)

UNFIT_S: Final = 10.0
"""How long a node whose request has failed opens no sessions for others. One that cannot be reached
has the fewest sessions for that very reason, and would be given every newcomer."""


class Peer:
    """Another node.

    It has 13 attributes and 22 methods, because passages, pipes, the pool and the deadlines each
    need some of them.

    Args:
        ground: what all peers share.
        node: what it has told about itself.
        address: where it listens for nodes.

    Attributes:
        hearing: whether it is heard.
        is_missing: whether the other nodes may not know it any more, because Redis is away.
        node: what it has told about itself, when it came.
        pool: the connections to it that are no pipes.
        trial: says whether requests can be passed on to it.
        pipes: the connection to it of each WebSocket that leads there, by that of its client.
        placed: how many handshakes it was given since it last told how many sessions it has.
        unfit_until: until when it opens no sessions for this node, because a request has failed.
    """

    def __init__(self, ground: Ground, node: "NodeFacts", address: Address) -> None:
        self.deadline_entry: Any = None
        self.hearing: Hearing[Passage] = Hearing()
        self.is_missing = False
        self.node = node
        self.pipes: dict[Connection, Connection] = {}
        self.placed = 0
        self.unfit_until = -inf
        self.pool = Pool(ground, node, address, self.hearing, lambda: self.trial.hope())
        self._ground = ground
        self._passages: dict[Passage, None] = {}
        self._told = node
        self._pulse = Pulse(self.pool)
        self.trial = Trial(ground, node, self.pool)

    @property
    def is_draining(self) -> bool:
        return self._ground.is_draining

    # -- passing on

    def forward(
        self,
        request: "Request",
        gate: Gate,
        kind: "Kind",
        max_body_bytes: int,
        *,
        is_upgrade: bool,
    ) -> None:
        """Pass a request on, or refuse it if this peer is not heard."""
        self._ground.counts.requests += 1
        passage = Passage(self, request, gate, kind, is_upgrade=is_upgrade)
        self._passages[passage] = None
        if self.hearing.is_silent:
            passage.fail("silent")
        else:
            passage.begin(max_body_bytes)

    def note_sent(self, passage: Passage) -> None:
        self._ground.counts.passed[passage.kind] += 1
        self.note_waiting(passage)

    def note_waiting(self, passage: Passage) -> None:
        deadlines = self._ground.links.deadlines
        if self.hearing.add(passage, deadlines.now()):
            deadlines.schedule(self)

    def take_link(self, passage: Passage) -> "Link | None":
        try:
            return self.pool.take(passage)
        except DialFailed as error:
            passage.fail(error.reason, error.cause)
            return None

    def passage_over(self, passage: Passage, *, answered: bool = False) -> None:
        if passage in self._passages:
            del self._passages[passage]
            self.hearing.remove(passage)
            counts = self._ground.counts
            counts.requests -= 1
            counts.answered[passage.kind] += answered

    def passage_failed(self, passage: Passage, reason: str, cause: str) -> None:
        ground = self._ground
        ground.counts.refused[reason] += 1
        self.unfit_until = trio.current_time() + UNFIT_S
        self.trial.doubt()
        kind = f"requests for node {self.node.name} that failed"
        if ground.lines.admits(kind):
            log.warning(
                "a request (%s) for a session of node %r at %s failed: %s",
                passage.kind,
                self.node.name,
                self.node.internal,
                explain(reason, cause),
                extra={"fields": {"refusal": kind}},
            )

    def count_sessions(self, node: "NodeFacts") -> int:
        """Return how many sessions the peer has, with those that it was given meanwhile.

        Args:
            node: what it has told about itself last.
        """
        if node is not self._told:
            self._told, self.placed = node, 0
        return node.connections + self.placed

    # -- pipes

    def pipe_began(self, link: "Link", client: "Connection") -> None:
        self.pool.link_over(link)
        self.pipes[client] = link.connection
        self._ground.counts.pipes += 1

    def pipe_over(self, client: "Connection") -> None:
        if self.pipes.pop(client, None) is not None:
            self._ground.counts.pipes -= 1

    def close_pipe(self, client: "Connection") -> None:
        """End a pipe, and let both sides have what is on its way to them."""
        node = self.pipes.get(client)
        if node is not None:
            self.pipe_over(client)
            client.finish()
            node.finish()

    # -- the end

    def drain(self) -> "list[Callable[[], None]]":
        """Keep nothing that is idle; return what ends each poll, upgrade and pipe under way.

        Polls have an answer soon, when they are asked for, and all others have one without that.
        """
        self.pool.end_idle()
        return [
            *(partial(self._let_go, passage) for passage in self._passages),
            *(partial(self.close_pipe, client) for client in self.pipes),
        ]

    def _let_go(self, passage: Passage) -> None:
        if passage not in self._passages:  # it was answered, perhaps by what has made a pipe of it
            self.close_pipe(passage.request.connection)
        elif passage.kind == "upgrade":
            passage.fail("draining")
        else:
            passage.release()

    def end(self, reason: str) -> None:
        """End all that leads to this peer."""
        for passage in tuple(self._passages):
            passage.fail(reason)
        self.pool.fail(reason)
        for client in tuple(self.pipes):
            self.close_pipe(client)

    def leave(self, reason: str) -> None:
        """End all that leads to this peer, for good."""
        self.trial.end()
        self.pool.close()
        self.end(reason)
        self._ground.links.deadlines.forget(self)

    def end_unsent(self) -> None:
        """End all of this at once, and send nothing that waits: it may be out of date (FWD-24)."""
        for client, node in tuple(self.pipes.items()):
            self.pipe_over(client)
            client.abort()
            node.abort()
        self.end("fence")

    # -- time

    def next_deadline(self) -> float:
        return self.hearing.next_deadline()

    def expire(self, now: float) -> None:
        due = self.hearing.advance(now)
        if due.failed:
            self._ground.links.poller.defer(partial(self._fail, due.failed, "silent"))
        if due.pulse:
            self._ground.links.poller.defer(self._pulse.send)

    def _fail(self, passages: tuple[Passage, ...], reason: str) -> None:
        for passage in passages:
            if passage in self._passages:  # else it was answered meanwhile
                passage.fail(reason)
