"""The lease of one boot, as its own node sees it: when it was renewed, and until when it counts."""

import logging
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_claims import Renewal

if TYPE_CHECKING:
    from trio_socketio.im.presence.store import PresenceStore

log = logging.getLogger(__name__)

MARGIN_S: Final = 1.0
"""How long before its end a lease does not count any more, for a lease of 3 to 10 s."""

_MAX_RETRY_S: Final = 0.5
_MIN_RETRY_S: Final = 0.05


def margin(lease_s: float) -> float:
    """Return how long before its end a lease does not count any more, in seconds (LEASE-01).

    In it the node puts its clients out, and the clocks of two machines may run at rates that
    differ.
    """
    return max(MARGIN_S, lease_s / 10) if lease_s >= 3 else lease_s / 3


class Lease:
    """Renews the lease of a boot. All times: seconds on the clock that is handed in.

    Args:
        store: gives the lease.
        boot: names the incarnation that has it.
        sent_at: when the store was asked for it.
        clock: one that goes on while the machine sleeps.

    Attributes:
        boot: see above.
        failure: why the last renewal has failed; empty if it has not.
        renewed_at: when the last renewal that has succeeded was sent. The store counts the lease
            from a later moment, when it took it.
    """

    def __init__(
        self, store: "PresenceStore", boot: str, sent_at: float, clock: Callable[[], float]
    ) -> None:
        self.boot = boot
        self.failure = ""
        self.renewed_at = sent_at
        self._store = store
        self._clock = clock
        self._tried_at = sent_at
        self._failures = 0
        self._failing_since = 0.0
        self._hurry = trio.Event()  # the next renewal does not wait for its time
        self._renewed = trio.Event()

    @property
    def counts_until(self) -> float:
        """From when on the lease does not count any more (LEASE-01)."""
        lease_s = self._store.lease_s
        return inf if lease_s == inf else self.renewed_at + lease_s - margin(lease_s)

    @property
    def left_s(self) -> float:
        """For how long it counts; 0 if it does not."""
        return max(0.0, self.counts_until - self._clock())

    def explain(self) -> str:
        """Say since when it was not renewed, and why, for the log (LEASE-09)."""
        now = self._clock()
        since = f"its lease was not renewed for {now - self.renewed_at:.1f} s"
        if self.failure:
            away_s = now - self._failing_since
            return f"{since}: the store has not answered for {away_s:.1f} s ({self.failure})"
        if self._tried_at > self.renewed_at:
            return f"{since}: the store has not answered for {now - self._tried_at:.1f} s"
        return f"{since}: the program stood still"

    def hurry(self) -> None:
        """Have it renewed at once."""
        self._hurry.set()

    async def keep(self, note: Callable[[Renewal], None], passed: Callable[[], None]) -> None:
        """Renew it three times in its length until it has ended (LEASE-02).

        Args:
            note: called with every answer.
            passed: called when it does not count any more; perhaps more than once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time, passed)
            nursery.start_soon(self._watch_losses)
            while True:
                with trio.move_on_after(self._pause_s()):
                    await self._hurry.wait()
                if self._clock() >= self.counts_until:  # before the store is asked: see explain
                    passed()
                outcome = await self._renew()
                if outcome is not None:
                    note(outcome)
                if outcome is Renewal.ENDED:
                    break
            nursery.cancel_scope.cancel()

    def _pause_s(self) -> float:
        if self.failure:  # LEASE-03
            return min(max(self._store.lease_s / 30, _MIN_RETRY_S), _MAX_RETRY_S)
        return max(0.0, self.renewed_at + self._store.lease_s / 3 - self._clock())

    async def _renew(self) -> Renewal | None:
        self._hurry = trio.Event()
        sent_at = self._tried_at = self._clock()
        timeout_s = self._store.lease_s / 2
        try:
            with trio.fail_after(timeout_s):
                outcome = await self._store.renew(self.boot)
        except StoreUnavailable as error:
            self._note_failure(str(error))
            return None
        except trio.TooSlowError:
            self._note_failure(f"no answer within {timeout_s:g} s")
            return None
        self._note_answer()
        if outcome is not Renewal.ENDED:
            self.renewed_at = sent_at
            renewed, self._renewed = self._renewed, trio.Event()
            renewed.set()
        return outcome

    def _note_failure(self, failure: str) -> None:
        if not self._failures:  # LEASE-04: not again at every try
            self._failing_since = self._tried_at
            log.warning(
                "presence: the lease of boot %s is not renewed, and counts for %.1f s more; it is "
                "tried again: %s",
                self.boot,
                self.left_s,
                failure,
            )
        self._failures += 1
        self.failure = failure

    def _note_answer(self) -> None:
        if self._failures:
            log.info(
                "presence: the store answers again, after %d failed renewals in %.1f s",
                self._failures,
                self._clock() - self._failing_since,
            )
        self._failures, self.failure = 0, ""

    async def _watch_time(self, passed: Callable[[], None]) -> None:
        """Notice that the lease does not count any more, also if no connection has anything."""
        while True:
            left_s = self.left_s
            if left_s:
                await trio.sleep(left_s)
            else:
                passed()
                await self._renewed.wait()

    async def _watch_losses(self) -> None:
        """Hurry when the store says that it has lost claims (LEASE-05)."""
        while True:
            try:
                await self._store.wait_lost(self.boot)
            except StoreUnavailable:  # the renewals say so
                await trio.sleep(_MAX_RETRY_S)
                continue
            renewed = self._renewed
            self.hurry()
            await renewed.wait()
