"""Reports presence to a URL: the log of each namespace, in order, until it was taken.

A request is a POST of ``{"namespace", "records", "cursor"}``. Its records are entries of the log as
they are, and these two: ::

    {"type": "gap", "reason": ..., "after": CURSOR or null, "cursor": CURSOR}
    {"type": "snapshot", "cursor": CURSOR, "users": [{"user", "seats"}...], "last": true or false}

A gap says that what the receiver knows of the namespace is not enough to go on from: it forgets
that, and takes the users of the snapshots that follow, up to the last one. The reasons are started
(this program has, and does not know what was reported before), cursor_expired (the URL was away for
longer than the log reaches back) and generation_changed (the log is another one). A snapshot of a
store that has lost claims has "rebuilding": true as well: users may be missing whom entries that
follow tell of.

A request is the same at every attempt, except for its signature. So a receiver that has answered
2xx, and whose answer was lost, gets it again. It compares cursors as two numbers, the generation
first, with the highest that it has taken: it leaves out records whose cursor is lower, gaps and
snapshots included, and entries whose cursor is the same.

If several nodes share a store, each of them has this, and one at a time reports a namespace: that
which has the turn of it. The turn keeps the cursor of the last request that was accepted, so the
next node goes on behind that, without a gap; only that request may come again. See report.py for
what a receiver may get from a node that has lost its turn.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from trio_socketio.im.presence.courier import Address, Courier, Result, prepare_address
from trio_socketio.im.presence.report import GapReason, Report
from trio_socketio.im.presence.turns import LocalTurns
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.im.presence.hook_options import PresenceWebhookOptions
    from trio_socketio.im.presence.store import PresenceStore
    from trio_socketio.im.presence.turns import Turns

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookStatistics:
    """What the webhook does at the moment, and its totals.

    Args:
        attempts: how attempts ended: accepted (2xx), refused (4xx), failed (anything else).
        gaps: how often receivers were told that there is a gap, by reason.
        lag: by namespace, the entries of the log that were not accepted yet, as far as is known.
        lag_s: how old the oldest of them is.
    """

    attempts: dict[Result, int]
    gaps: dict[GapReason, int]
    lag: dict[str, int]
    lag_s: float


class PresenceWebhook:
    """Reports the logs of namespaces to a URL. Nothing is started before `run`.

    It has to be started before the server whose presence it reports, and ended after it, so that
    it has the last entries: those of a runtime's services are.

    Args:
        store: has the logs.
        options: the URL, and what is sent there.
        address: what `prepare_address` has made of the options; None does that now.
        clock: seconds since 1970.
        turns: say which node reports; None means that no other one does.

    Raises:
        ConfigurationError: a file cannot be used.
    """

    def __init__(
        self,
        store: "PresenceStore",
        options: "PresenceWebhookOptions",
        address: Address | None = None,
        clock: Callable[[], float] = time.time,
        turns: "Turns | None" = None,
    ) -> None:
        self._options = options
        self._clock = clock
        self._courier = Courier(
            address or prepare_address(options), options, self._look, clock=clock
        )
        turns = LocalTurns() if turns is None else turns
        self._reports = [
            Report(store, name, self._courier, options, turns) for name in options.namespaces
        ]
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report until cancelled, or until `end` was called and nothing is left: a service."""
        try:
            with self._scope:
                async with alone(trio.open_nursery()) as nursery:
                    for report in self._reports:
                        nursery.start_soon(report.run)
                    task_status.started()
        finally:
            await self._courier.aclose()
        if self._scope.cancelled_caught:
            left = {name: count for name, count in self.statistics().lag.items() if count}
            log.warning(
                "presence: the webhook has not taken everything within %g s, and the program ends; "
                "entries that are left: %s; another node sends them, or the receiver is sent a "
                "snapshot at the next start",
                self._options.stop_s,
                left or "none is known",
            )

    def end(self) -> None:
        """Have `run` return when everything was taken, or when stop_s have passed (HOOK-09)."""
        self._scope.deadline = trio.current_time() + self._options.stop_s
        self._courier.hurry()
        for report in self._reports:
            report.end()

    async def _look(self) -> None:
        """Find out how far the logs have come meanwhile."""
        for report in self._reports:
            await report.look()

    def statistics(self) -> WebhookStatistics:
        """Return what the webhook does at the moment."""
        gaps: Counter[GapReason] = Counter()
        oldest = min((report.oldest_at for report in self._reports if report.oldest_at), default=0)
        for report in self._reports:
            gaps.update(report.gaps)
        return WebhookStatistics(
            attempts=dict(self._courier.attempts),
            gaps=dict(gaps),
            lag={report.namespace: report.lag for report in self._reports},
            lag_s=max(0.0, self._clock() - oldest) if oldest else 0.0,
        )
