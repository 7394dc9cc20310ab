"""This node's part in presence: its claims, from one lease to the next."""

import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import trio

from trio_socketio.errors import LocalProtocolError
from trio_socketio.im.presence.held_claims import HeldClaims
from trio_socketio.im.presence.insisting import Insistence
from trio_socketio.im.presence.leavers import Leaver
from trio_socketio.im.presence.lingering import Lingering
from trio_socketio.im.presence.put_aside import PutAside
from trio_socketio.im.presence.reasserting import Reasserting
from trio_socketio.im.presence.releases import Releases
from trio_socketio.im.presence.store import NamespaceUnusable, StoreUnavailable
from trio_socketio.protocol.claim_life import Input, State
from trio_socketio.protocol.presence_claims import (
    KICKED,
    REPLACED,
    Claimed,
    Fenced,
    Order,
    Released,
    Stale,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.session import Session
    from trio_socketio.im.presence.claims import Claim
    from trio_socketio.im.presence.seat_options import SeatOptions
    from trio_socketio.im.presence.store import PresenceStore
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

AGAIN_S: Final = 0.05
"""The wait before a claim is reasserted that the store has refused for want of a lease."""


class Node:
    """The claims of one server, and what it asks of the store for them.

    It has 25 methods, because that is what can happen to a claim.

    Args:
        store: has the seats.
        name: of the node.

    Attributes:
        boot: names this incarnation; empty while it has no lease. Whatever awaits something of the
            store compares it afterwards, as answers to an earlier boot count no more.
        claims: those that are not over.
        insistence: asks the store.
        lingering: claims whose clients were lost and may come back.
        name: see above.
        on_fenced: called with a boot when the store says that its lease has ended.
        reasserting: claims that the store may not know any more.
        releases: claims whose clients have left. One task takes them to the store.
        store: see above.
        unusable: namespaces whose records the store cannot use.
    """

    def __init__(self, store: "PresenceStore", name: str) -> None:
        self.store = store
        self.name = name
        self.boot = ""
        self.claims = HeldClaims()
        self.insistence = Insistence(NamespaceUnusable)
        self.lingering = Lingering()
        self.releases = Releases()
        self.reasserting = Reasserting()
        self.unusable = PutAside("the namespace")
        self.on_fenced: Callable[[str], None] = _ignore
        self._leavers = WeakValueDictionary[int, Leaver]()  # by the numbers of their attempts
        self._changed = trio.Event()  # there is a release, or another claim lingers

    # -- claims

    def begin_claim(
        self, socket: "Socket", user: str, options: "SeatOptions", *, recovers: bool = False
    ) -> "Claim":
        """Return a claim that the store is about to be asked for."""
        if not self.boot:
            raise LocalProtocolError("presence does not run: the server does not serve")
        return self.claims.add(socket, user, options, recovers=recovers)

    def note_refused(self, claim: "Claim") -> None:
        """Note that the store has refused a claim."""
        self.claims.tally.refused += 1
        claim.move(Input.REFUSED)
        self.claims.forget_if_over(claim)

    def note_claimed(self, claim: "Claim", outcome: Claimed) -> list[Leaver]:
        """Note that the store has given a seat; older clients here are out (PRES-55).

        Returns:
            Those of them that may not have been told yet.
        """
        self.claims.note_claimed(claim, outcome.token)
        claim.awaits = outcome.awaits
        leavers = (self.obey(order) for order in outcome.orders)
        return [leaver for leaver in leavers if leaver is not None]

    def is_clear(self, claim: "Claim") -> bool:
        """Whether nothing keeps a client from entering, as far as this node knows."""
        is_taken = claim not in self.reasserting and not self.reasserting.is_aside(claim)
        return is_taken and not claim.awaits

    async def wait_clear(self, claim: "Claim") -> None:
        """Wait until others are known to be out, and the store to have the claim (PRES-55).

        Raises:
            StoreUnavailable: that cannot be known.
        """
        while claim.state is State.HELD and not self.is_clear(claim):
            if self.reasserting.is_aside(claim):
                raise StoreUnavailable(f"the records of {claim.namespace} cannot be used")
            if claim in self.reasserting:
                await self.reasserting.wait_taken(claim)
                continue
            awaits = claim.awaits
            await self.store.wait_confirmed(claim.namespace, claim.user, awaits)
            if claim.awaits is awaits:  # and the store has not lost the claim meanwhile
                claim.awaits = ()

    def release(self, claim: "Claim", reason: str) -> None:
        """Have a claim released, unless others have ended it; called once its client has left."""
        claim.move(Input.LEFT)
        claim.socket = None
        if claim.state is not State.RELEASING:
            return
        if not self.boot:  # what is left of the last lease ends with it
            self._drop_release(claim)
        elif not self._release_now(claim, reason):
            self.releases.add(claim, reason)
            self._changed.set()

    def _release_now(self, claim: "Claim", reason: str) -> bool:
        """Release a claim here and now, if the store can do that (PRES-92)."""
        at_once = self.store.at_once
        if at_once is None or claim in self.reasserting:  # LEASE-16
            return False
        try:
            outcome = at_once.release_now(claim.refer(self.boot), reason)
        except StoreUnavailable:  # PRES-94: whoever takes queued releases asks again, and reports
            return False
        self._note_released(claim, outcome, self.boot)
        return True

    def linger(self, claim: "Claim", reason: str, until: float, saved_until: float) -> None:
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

    def end_lost(self, reason: str, user: str | None = None) -> int:
        """End the claims of lost clients that are waited for (PRES-86).

        Args:
            reason: for the log.
            user: whose; None means everybody.
        Returns:
            How many there were.
        """
        lost = [
            one
            for one in self.lingering
            if user in (None, one.user) and one.state is State.LINGERING
        ]
        for claim in lost:
            self.lingering.forget(claim)
            self.release(claim, reason)
        return len(lost)

    def obey(self, order: Order) -> Leaver | None:
        """Put the client of an order out, if it is still here.

        Returns:
            The client, if it may not have been told yet. The store hands out an order more than
            once: with the claim of whoever takes the seat on this node, and until it is confirmed.
        """
        claim = self.claims.find(order.attempt)
        # LEASE-17: if it has been reasserted since, its client may be here still.
        if (
            claim is not None
            and order.boot == self.boot
            and (claim.is_unsure or claim.token in (None, order.token))
        ):
            session = self._evict(claim, order.reason)
            if session is not None:
                self._leavers[order.attempt] = leaver = Leaver(session)
                return leaver
        return self._leavers.get(order.attempt)

    def _evict(self, claim: "Claim", reason: str) -> "Session | None":
        socket = claim.socket
        was_lingering = claim.state is State.LINGERING
        claim.evict(reason)
        if claim.state is State.OVER:
            self.claims.tally.kicked += reason == KICKED
            self.claims.tally.replaced += reason == REPLACED
        if was_lingering and reason == KICKED:
            claim.until = claim.saved_until  # PRES-58: its client is refused when it comes back
        elif was_lingering:
            self.lingering.forget(claim)
        self.claims.forget_if_over(claim)
        return None if socket is None else socket.session

    # -- the end of a lease

    def end_claims(self, *, all_of_them: bool) -> "set[Session]":
        """End the claims of a boot, as its lease has ended (LEASE-10, LEASE-11).

        Args:
            all_of_them: also those of clients that are in, and of lost ones.
        Returns:
            The sessions to be closed.
        """
        sessions = set()
        for claim in self.claims:
            if claim.is_kept and not all_of_them:
                continue
            if claim.state is State.RELEASING:
                self.claims.tally.releases_dropped += 1
            self.lingering.forget(claim)
            session = claim.fence()
            if session is not None:
                sessions.add(session)
            self.claims.forget_if_over(claim)
        self.releases.clear()
        self.reasserting.clear()
        return sessions

    def interrupt_joinings(self) -> None:
        """Have those who wait for a seat wait no longer."""
        for claim in self.claims:
            claim.interrupt()
        self.releases.wake()

    # -- claims that the store may have lost

    def reassert_held(self) -> int:
        """Have all claims that hold seats taken anew; return how many there are (LEASE-14)."""
        held = [claim for claim in self.claims if claim.holds_seat]
        for claim in held:
            self.reasserting.add(claim)
        return len(held)

    async def reassert(self, claim: "Claim") -> None:
        """Ask the store for a seat that it has given before, or put the claim aside (LEASE-32)."""
        try:
            if claim.namespace in self.unusable:
                self.reasserting.put_aside(claim)
            else:
                await self._reassert(claim)
        except NamespaceUnusable as error:
            self.unusable.note(claim.namespace, error)
            self.reasserting.put_aside(claim)

    async def _reassert(self, claim: "Claim") -> None:
        boot, token = self.boot, claim.token
        if not claim.holds_seat or not boot or token is None:
            if claim.is_unsure and claim.state is State.OVER:
                await self._release_again(claim, boot)
            return  # its client has left since; the release is stale then
        claim.is_unsure = True
        outcome = await self.insistence.ask(
            "to take claims anew",
            lambda: self.store.reassert(claim.request(self.name, boot), token),
        )
        if isinstance(outcome, Fenced):  # or the store has lost even more, and with it the lease
            self.on_fenced(boot)
            await trio.sleep(AGAIN_S)
            self.reasserting.add(claim)
            return
        if isinstance(outcome, Stale):  # LEASE-18: a later login has the seat
            claim.is_unsure = False
            self.claims.tally.lost_seats += claim.holds_seat
            if claim.state is not State.OVER:
                self._evict(claim, REPLACED)
            return
        claim.token = outcome.token
        if boot != self.boot:
            claim.is_unsure = False
            return
        if claim.state is State.OVER:  # by an order that the store has lost as well
            await self._release_again(claim, boot)
            return
        claim.is_unsure = False
        self.claims.tally.reasserted += outcome.token != token
        claim.awaits = outcome.awaits
        for order in outcome.orders:
            self.obey(order)

    async def _release_again(self, claim: "Claim", boot: str) -> None:
        """Release a claim that is over, and that the store may have taken anew all the same."""
        if boot:  # otherwise it has ended with the lease
            ref = claim.refer(boot)
            await self.insistence.ask(
                "to release claims", lambda: self.store.release(ref, claim.ended_by)
            )
        claim.is_unsure = False

    # -- namespaces whose records cannot be used

    def bring_back(self, namespace: str) -> None:
        """Queue again what was put aside of a namespace; claims first, as releases wait for them.

        Whoever calls this sees to it that the claims are taken anew.
        """
        self.unusable.put_on_trial(namespace)
        self.reasserting.bring_back(namespace)
        self.releases.bring_back(namespace)
        self._changed.set()

    # -- releases

    async def take_releases(self) -> None:
        """Take releases to the store, and end the time of lost clients, until cancelled."""
        while True:
            self._changed = trio.Event()
            for claim in self.lingering.end_due(trio.current_time()):  # PRES-56
                if claim.state is State.LINGERING:
                    self.release(claim, claim.left_by)
            await self.take_queued_releases()
            if not self._changed.is_set():
                with trio.move_on_at(self.lingering.next_end()):
                    await self._changed.wait()

    async def take_queued_releases(self) -> None:
        """Release what is queued, several at once: else each would wait for the one before."""
        while batch := self.releases.next_batch(self.unusable):
            if len(batch) == 1:
                await self._take_release(*batch[0])
                continue
            async with trio.open_nursery() as nursery:
                for claim, reason in batch:
                    nursery.start_soon(self._take_release, claim, reason)

    async def _take_release(self, claim: "Claim", reason: str) -> None:
        boot = self.boot
        await self.reasserting.wait_taken(claim)  # LEASE-16: else it could be made after its end
        try:
            outcome = await self.insistence.ask(
                "to release claims", lambda: self.store.release(claim.refer(boot), reason)
            )
        except NamespaceUnusable as error:  # from here on it is put aside (LEASE-32)
            self.unusable.note(claim.namespace, error)
            return
        self._note_released(claim, outcome, boot)

    def _note_released(self, claim: "Claim", outcome: Released | Stale | Fenced, boot: str) -> None:
        if isinstance(outcome, Fenced):
            self.on_fenced(boot)
        if claim.state is State.RELEASING:
            self.releases.note_taken(claim)
            claim.move(Input.SETTLED)
            self.claims.forget_if_over(claim)

    def _drop_release(self, claim: "Claim") -> None:
        self.claims.tally.releases_dropped += 1
        claim.move(Input.SETTLED)
        self.claims.forget_if_over(claim)

    def clear(self) -> None:
        """Forget everything: the server has stopped."""
        self.boot = ""
        self.claims.clear()
        self.lingering.clear()
        self.releases.clear()
        self.reasserting.clear()


def _ignore(boot: str) -> None:
    """Stand in for a function that was not given yet."""
