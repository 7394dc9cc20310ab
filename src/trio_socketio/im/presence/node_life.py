"""Leads a node from lease to lease: enrolls it, keeps its lease, and acts when that has ended."""

import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.im.presence.confirming import AGAIN_S, Confirmations
from trio_socketio.im.presence.insisting import RETRY_S
from trio_socketio.im.presence.lease_keeping import Lease
from trio_socketio.im.presence.put_aside import PutAside
from trio_socketio.im.presence.reaping import Reaper, reap
from trio_socketio.im.presence.store import NamespaceUnusable, StoreUnavailable
from trio_socketio.im.presence.unusable import try_unusable
from trio_socketio.protocol.incarnation import Input, Outage, State, advance
from trio_socketio.protocol.presence_claims import Fenced, Renewal
from trio_socketio.runtime.fence import Fence, boottime

if TYPE_CHECKING:
    from trio_socketio.im.presence.claims import Claim
    from trio_socketio.im.presence.node import Node

log = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
"""The time that the last releases get when the node stops."""

FENCED: Final = "the store says that its lease has ended"

_GIVING: Final = frozenset((State.SETTLING, State.LEASED))


class NodeLife:
    """The incarnations of one node, one after the other. protocol/incarnation.py has the table.

    It has 17 attributes and 23 methods, because tasks, the poller and the seats of every namespace
    meet here.

    Args:
        node: has the claims.
        outage: whether clients stay while the store is away for longer than the lease.
        clock: in seconds; it goes on while the machine sleeps.

    Attributes:
        fenced_times: how often a lease has ended, or was uncertain.
        lease: that of this incarnation, or of the last one; None before the first.
        losses: how often the store has lost claims.
        node: see above.
        outage: see above.
        state: changed by this object alone.
    """

    def __init__(
        self, node: "Node", outage: Outage = "strict", clock: Callable[[], float] = boottime
    ) -> None:
        self.node = node
        self.outage = outage
        self.fenced_times = 0
        self.losses = 0
        self.lease: Lease | None = None
        self.state = State.OUT
        self._store = node.store
        self._clock = clock
        self._fence = Fence()
        self._blocked: Callable[[], str] = str
        self._why = "it has just started"  # has this node no lease
        self._started: Callable[[], None] = _ignore
        self._scope = trio.CancelScope()  # of the tasks of this incarnation
        self._settled = trio.Event()  # set when SETTLING is left
        self._unsettled = trio.Event()  # set when there is something to be settled
        self._ended: list[str] = []  # boots of this node whose claims may not have been reaped
        self._unreaped = PutAside("of the lost node with the boot")
        node.on_fenced = self.note_fenced

    # -- what is so

    @property
    def may_give(self) -> bool:
        """Whether a client that has its seat may enter now (LEASE-12)."""
        return self.state in _GIVING

    @property
    def is_fenced(self) -> bool:
        """Whether this node has had a lease that does not count any more, and no other yet."""
        is_without = self.state in (State.ENROLLING, State.ADRIFT)
        return is_without and self.lease is not None

    @property
    def left_s(self) -> float:
        """For how many seconds the lease counts; 0 without one."""
        if self._store.lease_s == inf:
            return inf
        return self.lease.left_s if self.lease is not None and self.may_give else 0.0

    @property
    def fault(self) -> str:
        """Why no client can take a seat now; empty if they can (LEASE-30).

        Single namespaces whose records cannot be used do not count: see `trouble`.
        """
        if self.state is State.OUT:
            return "presence does not run"
        if self.state is State.ENROLLING or self.lease is None:
            return f"node {self.node.name} has no lease: {self._why}"
        if self.state is State.ADRIFT:
            return f"node {self.node.name}: {self.lease.explain()}"
        if self.lease.failure:
            return f"the presence store does not answer: {self.lease.failure}"
        return self._store.fault

    @property
    def trouble(self) -> str:
        """What of the store cannot be used while the rest of it can; empty if there is nothing.

        It is no fault of this node, so the node stays ready (LEASE-36): all nodes have the same
        store, and without them clients could not join the other namespaces either.
        """
        return self.node.unusable.fault or self._unreaped.fault

    def has_turn(self, namespace: str, user: str) -> bool:
        """Whether the store can be asked for a seat for a user now; see `wait_turn`."""
        return self.state is State.LEASED and not self.node.releases.holds(namespace, user)

    async def wait_turn(self, namespace: str, user: str) -> bool:
        """Wait until the store can be asked for a seat for a user (LEASE-12, PRES-51).

        Returns:
            False if there is no lease, so that the client is refused without delay.
        """
        while not self.has_turn(namespace, user):
            if self.state is State.SETTLING:
                await self._settled.wait()
            elif self.state is not State.LEASED:
                return self.state is State.OUT  # whoever asks then is told by begin_claim
            else:
                await self.node.releases.wait_taken(namespace, user)
        return True

    def reassert_later(self, claim: "Claim") -> None:
        """Have a claim taken anew whose answer may have been lost by the store."""
        self.node.reasserting.add(claim)
        self._unsettled.set()

    # -- the end of a lease

    def pass_fence(self) -> None:
        """Note that the lease does not count any more: others may take over what this node has.

        The poller calls this before it handles or sends anything more, the lease when time is up,
        whichever is first; so it may be called again.
        """
        if self.lease is None or not self.may_give:
            return
        why = self.lease.explain()
        if blocked := self._blocked():
            why = f"{why} ({blocked})"
        if self.outage == "strict":
            self._end(why)
            return
        self._advance(Input.PASSED)
        self._fence.at = inf
        self.fenced_times += 1
        self.node.interrupt_joinings()  # LEASE-12
        log.error(
            "presence: node %s: %s; %d clients keep their seats, as [presence] outage is "
            '"available", and nobody else gets one until the store answers',
            self.node.name,
            why,
            len(self.node.claims),
        )

    def note_fenced(self, boot: str) -> None:
        """Note that the store has refused a boot, because it has no lease."""
        if boot != self.node.boot or self.state not in (*_GIVING, State.ADRIFT):
            return
        if self._store.lease_s < inf and self.lease is not None:
            self.lease.hurry()  # LEASE-11: if the store has lost all leases, this one goes on
        else:
            self._end(FENCED)

    def _end(self, why: str) -> None:
        """This incarnation is over (LEASE-10, LEASE-11)."""
        node, is_strict = self.node, self.outage == "strict"
        if self.state is not State.ADRIFT:
            self.fenced_times += 1
        self._fence.at = inf
        self._ended.append(node.boot)
        self._why = why
        boot, node.boot = node.boot, ""
        self._advance(Input.ENDED)
        self._scope.cancel()
        dropped = node.claims.tally.releases_dropped
        sessions = node.end_claims(all_of_them=is_strict)
        failures: list[Exception] = []
        for session in sessions:
            try:
                session.abort("service restart")
            except Exception as error:  # the others are put out all the same
                failures.append(error)
        for failure in failures:
            log.error("presence: a client was not put out: this is a defect", exc_info=failure)
        log.error(
            "presence: node %s, boot %s: %s; %d clients are closed with 1012, %d keep their seats, "
            "%d releases end with the lease; it enrolls anew as soon as the store answers",
            node.name,
            boot,
            why,
            len(sessions),
            len(node.claims),
            node.claims.tally.releases_dropped - dropped,
        )

    def _note_renewal(self, renewal: Renewal) -> None:
        assert self.lease is not None
        if self._clock() >= self._fence.at:  # LEASE-06: it comes too late to count
            self.pass_fence()
        if self.state not in (*_GIVING, State.ADRIFT):
            return
        if renewal is Renewal.ENDED:
            self._end(f"{FENCED}, {self.lease.explain()}" if self.lease.failure else FENCED)
            return
        self._fence.at = self.lease.counts_until
        if self.state is State.ADRIFT:  # LEASE-08: nobody has ended it, so nothing was lost
            self._advance(Input.RENEWED)
        if renewal is Renewal.REBUILD:
            self._rebuild()

    def _rebuild(self) -> None:
        self.losses += 1
        self._advance(Input.LOST)
        log.warning(
            "presence: the store has lost claims, as it was emptied or is an older copy; node %s "
            "has %d of them taken anew",
            self.node.name,
            self.node.reassert_held(),
        )

    def _advance(self, event: Input) -> None:
        self.state = advance(self.state, event)
        if self.state is State.SETTLING:
            self._settled = trio.Event() if self._settled.is_set() else self._settled
            self._unsettled.set()
        else:
            self._settled.set()

    # -- running

    async def run(
        self,
        fence: Fence,
        blocked: Callable[[], str] = str,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hold a lease, release claims and obey orders, until cancelled. A service.

        Args:
            fence: is given the time from which the lease does not count.
            blocked: says what has blocked the program, if anything has.
            task_status: is told when clients can take seats.
        """
        self._fence, self._blocked, self._started = fence, blocked, task_status.started
        fence.use(self.pass_fence)
        self._store = self.node.store  # which can be chosen until now (PRES-88)
        self._advance(Input.STARTED)
        try:
            while True:
                lease, before = await self._enroll()
                async with trio.open_nursery() as nursery:
                    self._scope = nursery.cancel_scope
                    if self._store.lease_s < inf:
                        nursery.start_soon(lease.keep, self._note_renewal, self.pass_fence)
                        reaper = Reaper(self._store, self.node.insistence, self._unreaped)
                        nursery.start_soon(reaper.run)
                    nursery.start_soon(self._take_orders, lease.boot)
                    nursery.start_soon(self.node.take_releases)
                    nursery.start_soon(try_unusable, self.node, lambda: self._unsettled.set())
                    nursery.start_soon(self._settle, before)
        finally:
            fence.close()

    async def _enroll(self) -> tuple[Lease, list[str]]:
        """Get a lease; return it, and the boots whose claims are to be ended (LEASE-07)."""
        node, store = self.node, self._store
        for boot in self._ended:
            await node.insistence.ask("for a new lease", partial(store.retire, boot))
        boot, began_at, failures = draw_boot(), self._clock(), 0
        is_unsure = False  # whether it was enrolled by what was sent before, without an answer
        while True:
            sent_at = self._clock()
            try:
                before = await store.enroll(node.name, boot)
                # The lease may count from what was sent before, so it is renewed.
                if isinstance(before, Fenced) or (
                    is_unsure and await store.renew(boot) is not Renewal.RENEWED
                ):
                    why, boot, is_unsure = "the store refuses the boot", draw_boot(), False
                elif self._clock() < Lease(store, boot, sent_at, self._clock).counts_until:
                    break
                else:  # LEASE-06
                    why, is_unsure = "the store has answered too late", True
            except StoreUnavailable as error:
                why, is_unsure = str(error), True
            self._note_no_lease(failures, why)
            failures += 1
            await trio.sleep(RETRY_S)
        self.lease = Lease(store, boot, sent_at, self._clock)
        node.boot = boot
        self._fence.at = self.lease.counts_until
        self._advance(Input.ENROLLED)
        count = node.reassert_held()
        if store.lease_s < inf:
            log.info(
                "presence: node %s has a lease after %.1f s, as boot %s; %d claims are taken anew",
                node.name,
                self._clock() - began_at,
                boot,
                count,
            )
        return self.lease, [*self._ended, *before]

    def _note_no_lease(self, failures: int, why: str) -> None:
        self._why = why
        if not failures:  # LEASE-04
            log.warning(
                "presence: node %s gets no lease, and asks for one again and again; no client gets "
                "a seat here meanwhile: %s",
                self.node.name,
                why,
            )

    async def _settle(self, before: Iterable[str]) -> None:
        """Take claims anew whenever that is needed, and let clients take seats after it."""
        node = self.node
        lost_before = self.losses
        while True:
            self._unsettled = trio.Event()
            losses = self.losses
            await node.reasserting.take_all(node.reassert)
            for boot in before:  # behind the claims that were kept, which go on without a gap
                try:
                    await reap(self._store, boot, node.insistence)
                except NamespaceUnusable as error:  # the reaper, who finds it, goes on with it
                    self._unreaped.note(boot, error)
                with suppress(ValueError):
                    self._ended.remove(boot)
            before = ()
            if losses != lost_before:
                lost_before = losses
                await node.insistence.ask(
                    "to end the rebuild", partial(self._end_rebuild, node.boot, losses)
                )
            if self.state is State.SETTLING and not node.reasserting:
                self._advance(Input.SETTLED)
                self._tell_started()
            if not self._unsettled.is_set():
                await self._unsettled.wait()

    async def _end_rebuild(self, boot: str, losses: int) -> None:
        """Say that all claims are taken anew, unless the store has lost them once more (LEASE-34).

        The store cannot tell which loss is meant when it is asked again after an outage.
        """
        if losses == self.losses:
            await self._store.end_rebuild(boot)

    def _tell_started(self) -> None:
        started, self._started = self._started, _ignore
        started()

    async def _take_orders(self, boot: str) -> None:
        node = self.node
        async with trio.open_nursery() as nursery:
            confirmations = Confirmations(node, nursery)
            while True:
                orders = await node.insistence.ask(
                    "whom to put out", partial(self._store.receive_orders, boot)
                )
                confirmations.obey(orders)
                await confirmations.wait_confirmed()
                if any(order.namespace in node.unusable for order in orders):
                    await trio.sleep(AGAIN_S)  # as the store names them until they are confirmed

    async def close(self) -> bool:
        """Release what is left, and give the lease back, when `run` has ended (PRES-60).

        It takes at most CLOSE_S, also if it is cancelled, and if the store is away (LEASE-31).

        Returns:
            Whether the store has taken all of that.
        """
        node = self.node
        self._advance(Input.STOPPED)
        node.reasserting.clear()
        node.end_lost("server shutting down")
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S) as scope:
            await node.take_queued_releases()
            for boot in filter(None, (*self._ended, node.boot)):
                await node.insistence.ask("to end the lease", partial(self._store.retire, boot))
                with suppress(NamespaceUnusable):  # the other nodes go on with it
                    await reap(self._store, boot, node.insistence)
        if scope.cancelled_caught:
            log.warning(
                "presence: the store has not taken %d releases of node %s within %g s; the claims "
                "end with its lease",
                len(node.releases),
                node.name,
                CLOSE_S,
            )
        is_done = not scope.cancelled_caught and not node.releases
        self._ended.clear()
        self.lease = None
        node.clear()
        return is_done


def draw_boot() -> str:
    """Return a new name of an incarnation: 20 characters."""
    return secrets.token_urlsafe(15)


def _ignore() -> None:
    """Stand in for a function that was called already."""
