"""This node's part in presence: its lease, its claims, and whom it is ordered to put out."""

import logging
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import LocalProtocolError, SessionClosed, TrioSocketIOError
from trio_socketio.im.presence.claims import Claim
from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.lingering import Lingering
from trio_socketio.im.presence.releases import Releases
from trio_socketio.im.presence.store import PresenceStore
from trio_socketio.protocol.claim_life import Input, State
from trio_socketio.protocol.presence_claims import KICKED, REPLACED, Fenced, Order, Renewal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.engine.session import Session
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
"""The time that the last releases get when the node stops."""

LEAVES_S: Final = 0.05
"""How long a confirmation waits for what old clients are sent. It takes less than a millisecond,
unless one of them does not read, or does not poll at the moment."""


class LeaseLost(TrioSocketIOError):
    """The lease of this node has ended: others may hold the seats of its clients."""


@dataclass(slots=True)
class Tally:
    """Counts the outcomes of claims; see PresenceStatistics."""

    claimed: int = 0
    refused: int = 0
    replaced: int = 0
    kicked: int = 0


class Node:
    """The claims of one server, while it serves.

    Args:
        store: has the seats.
        name: of the node.

    Attributes:
        boot: names this incarnation; empty while it does not run.
        lingering: claims whose clients were lost and may come back.
        name: see above.
        releases: claims whose clients have left. One task takes them to the store.
        store: see above.
        tally: what has become of claims.
        users: how many users have a seat through this node, by namespace.
    """

    def __init__(self, store: PresenceStore, name: str) -> None:
        self.store = store
        self.name = name
        self.boot = ""
        self.tally = Tally()
        self.lingering = Lingering()
        self.releases = Releases()
        self._claims: dict[int, Claim] = {}  # by attempt, until they are over
        self._seats: Counter[tuple[str, str]] = Counter()  # by namespace and user
        self.users: Counter[str] = Counter()
        self._attempts = count(1)
        self._changed = trio.Event()  # there is a release, or another claim lingers

    @property
    def claim_count(self) -> int:
        """The number of claims."""
        return len(self._claims)

    # -- claims

    def begin_claim(self, socket: "Socket", user: str) -> Claim:
        """Return a claim that the store is about to be asked for."""
        if not self.boot:
            raise LocalProtocolError("presence does not run: the server does not serve")
        claim = Claim(socket, user, next(self._attempts))
        self._claims[claim.attempt] = claim
        return claim

    def note_claimed(self, claim: Claim, token: "Cursor") -> None:
        """Note that the store has given a seat.

        Args:
            claim: of the client.
            token: of the claim.
        """
        self.tally.claimed += 1
        claim.token = token
        claim.move(Input.CLAIMED)
        if claim.state is State.OVER:  # others have ended it meanwhile
            return
        if not self._seats[claim.place]:
            self.users[claim.namespace] += 1
        self._seats[claim.place] += 1

    def note_refused(self, claim: Claim) -> None:
        """Note that the store has refused a claim."""
        self.tally.refused += 1
        claim.move(Input.REFUSED)
        self._forget_if_over(claim)

    def release(self, claim: Claim, reason: str) -> None:
        """Have a claim released, unless others have ended it; called once its client has left."""
        claim.move(Input.LEFT)
        claim.socket = None
        if claim.state is State.RELEASING:
            self.releases.add(claim, reason)
            self._changed.set()

    def linger(self, claim: Claim, reason: str, until: float, saved_until: float) -> None:
        """Hold the seat of a client that was lost (PRES-56).

        Args:
            claim: of the client.
            reason: why it was lost, for the log in case that it does not come back.
            until: how long, on trio's clock.
            saved_until: when its session expires, so that it cannot come back to its socket.
        """
        claim.move(Input.LOST)
        claim.socket = None
        if claim.state is State.LINGERING:
            claim.left_by, claim.until, claim.saved_until = reason, until, saved_until
            self.lingering.add(claim)
            self._changed.set()

    def end_lost(self, user: str, reason: str) -> int:
        """End the claims of a user's lost clients that are waited for (PRES-86).

        Args:
            user: the user.
            reason: for the log.
        Returns:
            How many there were.
        """
        lost = [one for one in self.lingering if one.user == user and one.state is State.LINGERING]
        for claim in lost:
            self.lingering.forget(claim)
            self.release(claim, reason)
        return len(lost)

    def obey(self, order: Order) -> "Session | None":
        """Put the client of an order out, if it is still here.

        Returns:
            Its session, which has not been sent yet what the client is told.
        """
        claim = self._claims.get(order.attempt)
        if claim is None:
            return None
        socket = claim.socket
        was_lingering = claim.state is State.LINGERING
        claim.evict(order.reason)
        if claim.state is State.OVER:
            self.tally.kicked += order.reason == KICKED
            self.tally.replaced += order.reason == REPLACED
        if was_lingering and order.reason == KICKED:
            claim.until = claim.saved_until  # PRES-58: its client is refused when it comes back
        elif was_lingering:
            self.lingering.forget(claim)
        self._forget_if_over(claim)
        return None if socket is None else socket.session

    def _forget_if_over(self, claim: Claim) -> None:
        if claim.state is not State.OVER or self._claims.pop(claim.attempt, None) is None:
            return
        if claim.token is None:  # it was never counted
            return
        self._seats[claim.place] -= 1
        if not self._seats[claim.place]:
            del self._seats[claim.place]
            self.users[claim.namespace] -= 1
            if not self.users[claim.namespace]:
                del self.users[claim.namespace]

    # -- running

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold a lease, release claims and obey orders, until cancelled. A service.

        Raises:
            LeaseLost: the lease has ended, as seen by the store.
        """
        self.boot = secrets.token_urlsafe(15)  # 20 characters
        before = await self.store.enroll(self.name, self.boot)
        if isinstance(before, Fenced):
            raise LeaseLost(f"node {self.name}: the store refuses the boot {self.boot}")
        for boot in before:
            await self._reap(boot)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_orders)
            nursery.start_soon(self._take_releases)
            if self.store.lease_s < inf:
                nursery.start_soon(self._keep_lease)
            task_status.started()

    async def close(self) -> None:
        """Release what is left, and give the lease back, when `run` has ended (PRES-60).

        It takes at most CLOSE_S, also if it is cancelled.
        """
        for claim in tuple(self.lingering):
            if claim.state is State.LINGERING:
                self.release(claim, "server shutting down")
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S) as scope:
            while self.releases:
                await self._take_batch()
            await insist(lambda: self.store.retire(self.boot))
            await self._reap(self.boot)
        if scope.cancelled_caught:
            log.warning(
                "presence: the store has not taken %d releases of node %s within %g s; the claims "
                "end with its lease",
                len(self.releases),
                self.name,
                CLOSE_S,
            )
        self.boot = ""
        self._claims.clear()
        self._seats.clear()
        self.users.clear()
        self.lingering.clear()
        self.releases.clear()

    async def _reap(self, boot: str) -> None:
        ended: int | None = 1
        while ended:  # slice by slice
            ended = await insist(lambda: self.store.reap(boot))

    async def _keep_lease(self) -> None:
        while True:
            await trio.sleep(self.store.lease_s / 3)
            if await insist(lambda: self.store.renew(self.boot)) is Renewal.ENDED:
                raise LeaseLost(f"the lease of node {self.name} has ended")

    async def _take_orders(self) -> None:
        while True:
            orders = await insist(lambda: self.store.receive_orders(self.boot))
            told = [session for order in orders if (session := self.obey(order)) is not None]
            await _wait_sent(told)
            for order in orders:
                await insist(partial(self.store.confirm, order))

    async def _take_releases(self) -> None:
        while True:
            self._changed = trio.Event()
            for claim in self.lingering.end_due(trio.current_time()):  # PRES-56
                if claim.state is State.LINGERING:
                    self.release(claim, claim.left_by)
            while self.releases:
                await self._take_batch()
            if not self._changed.is_set():
                with trio.move_on_at(self.lingering.next_end()):
                    await self._changed.wait()

    async def _take_batch(self) -> None:
        """Release several claims at once: one after the other, each would wait for an answer."""
        batch = self.releases.next_batch()
        if len(batch) == 1:
            await self._take_release(*batch[0])
            return
        async with trio.open_nursery() as nursery:
            for claim, reason in batch:
                nursery.start_soon(self._take_release, claim, reason)

    async def _take_release(self, claim: Claim, reason: str) -> None:
        outcome = await insist(lambda: self.store.release(claim.refer(self.boot), reason))
        if isinstance(outcome, Fenced):
            log.warning("presence: %r is left to others, as the lease has ended", claim)
        self.releases.note_taken(claim)
        claim.move(Input.SETTLED)
        self._forget_if_over(claim)


async def _wait_sent(sessions: "Iterable[Session]") -> None:
    """Wait until clients were sent that they are out, or LEAVES_S have passed (PRES-80).

    A newer client enters on another node as soon as this one has confirmed. Without the wait it
    could be told so before the old one is told, because output is gathered for a moment.
    """
    with trio.move_on_after(LEAVES_S):
        for session in sessions:
            with suppress(SessionClosed):
                await session.wait_drained()
