"""Reports presence to a URL: the log of each namespace, in order, until it was taken.

A request is a POST of ``{"namespace", "records", "cursor"}``. Its records are entries of the log as
they are, and these two: ::

    {"type": "gap", "reason": ..., "after": CURSOR or null, "cursor": CURSOR}
    {"type": "snapshot", "cursor": CURSOR, "users": [{"user", "seats"}...], "last": true or false}

A gap says that what the receiver knows of the namespace is not enough to go on from: it forgets
that, and takes the users of the snapshots that follow, up to the last one. The reasons are started
(this program has), cursor_expired (the URL was away for longer than the log reaches back) and
generation_changed (the log is another one).

A request is the same at every attempt, except for its signature. So a receiver that has answered
2xx, and whose answer was lost, gets it again: it leaves out entries whose cursor is not greater
than that of the last entry or snapshot that it took.

One program reports a log. If several servers share a store, only one of them has this.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import trio

from trio_socketio.im.presence.courier import Address, Courier, Result, prepare_address
from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_cursor import parse_cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.im.presence.hook_options import PresenceWebhookOptions
    from trio_socketio.im.presence.store import PresenceStore
    from trio_socketio.protocol.presence_claims import Present
    from trio_socketio.protocol.presence_cursor import Cursor

log = logging.getLogger(__name__)

T = TypeVar("T")

GapReason = Literal["started", "cursor_expired", "generation_changed"]


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

    Raises:
        ConfigurationError: a file cannot be used.
    """

    def __init__(
        self,
        store: "PresenceStore",
        options: "PresenceWebhookOptions",
        address: Address | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._clock = clock
        self._courier = Courier(
            address or prepare_address(options), options, self._look, clock=clock
        )
        self._reports = [Report(store, name, self._courier, options) for name in options.namespaces]
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
                "entries that are left: %s; the receiver is sent a snapshot at the next start",
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


class Report:
    """The report about one namespace.

    Args:
        store: has the log.
        namespace: its name.
        courier: delivers requests.
        options: how much one may hold.

    Attributes:
        gaps: how often there was a gap, by reason.
        namespace: see above.
        oldest_at: when the oldest entry was written that is being delivered; 0 if there is none.
    """

    def __init__(
        self,
        store: "PresenceStore",
        namespace: str,
        courier: Courier,
        options: "PresenceWebhookOptions",
    ) -> None:
        self.gaps: Counter[GapReason] = Counter()
        self.namespace = namespace
        self.oldest_at = 0.0
        self._store = store
        self._courier = courier
        self._options = options
        self._cursor: Cursor | None = None  # of the last entry that was taken
        self._head: Cursor | None = None
        self._is_ending = False
        self._wait: trio.CancelScope | None = None

    @property
    def lag(self) -> int:
        """How many entries were not taken yet, as far as is known."""
        if self._head is None or self._cursor is None:
            return 0
        if self._head.generation != self._cursor.generation:
            return self._head.sequence
        return max(0, self._head.sequence - self._cursor.sequence)

    def end(self) -> None:
        """Have `run` return when there is nothing left."""
        self._is_ending = True
        if self._wait is not None:
            self._wait.cancel()

    async def look(self) -> None:
        """Find out how far the log has come."""
        with suppress(StoreUnavailable):
            self._head = (await self._store.count(self.namespace)).cursor

    async def run(self) -> None:
        """Report what happens."""
        cursor = await self._send_snapshot("started")
        while True:
            found = await insist(
                partial(self._store.read, self.namespace, cursor, self._options.batch_entries)
            )
            self._head = found.head
            if isinstance(found, CursorExpired):
                cursor = await self._send_snapshot("cursor_expired")
            elif isinstance(found, GenerationChanged):
                cursor = await self._send_snapshot("generation_changed")
            elif found.entries:
                cursor = await self._send_entries(found)
            elif self._is_ending:
                return
            else:
                await self._wait_for_more(cursor)

    async def _wait_for_more(self, cursor: "Cursor") -> None:
        with trio.CancelScope() as self._wait:
            await insist(partial(self._store.wait_for_more, self.namespace, cursor))
        self._wait = None

    async def _send_entries(self, found: Entries) -> "Cursor":
        for part in self._split(found.entries):
            (first, _), (last, _) = part[0], part[-1]
            self.oldest_at = first.at
            await self._send([encoded for _, encoded in part], last.cursor)
            self._cursor = parse_cursor(last.cursor)
        self.oldest_at = 0.0
        return found.cursor

    def _split(self, items: Iterable[T]) -> Iterator[list[tuple[T, bytes]]]:
        """Encode what is to be sent, and cut it into requests, by number and bytes (HOOK-04)."""
        taken: list[tuple[T, bytes]] = []
        size = 0
        for item in items:
            encoded = msgspec.json.encode(item)
            is_full = size + len(encoded) > self._options.batch_bytes
            if taken and (is_full or len(taken) == self._options.batch_entries):
                yield taken
                taken, size = [], 0
            taken.append((item, encoded))
            size += len(encoded) + 1
        if taken:
            yield taken

    # -- snapshots

    async def _send_snapshot(self, reason: GapReason) -> "Cursor":
        """Tell of a gap, and who is online now; return where to go on (HOOK-06)."""
        present = await insist(partial(self._store.snapshot, self.namespace))
        self._tell(reason, present)
        self.gaps[reason] += 1
        at = present.cursor
        self._head = at
        after = None if self._cursor is None else str(self._cursor)
        gap = {"type": "gap", "reason": reason, "after": after, "cursor": str(at)}
        records = [msgspec.json.encode(gap)]
        pages = self._split(_users(present))
        page: list[tuple[Any, bytes]] | None = next(pages, [])
        while page is not None:
            following = next(pages, None)
            snapshot = {
                "type": "snapshot",
                "cursor": str(at),
                "users": [msgspec.Raw(encoded) for _, encoded in page],
                "last": following is None,
            }
            records.append(msgspec.json.encode(snapshot))
            await self._send(records, str(at) if following is None else None)
            records, page = [], following
        self._cursor = at
        return at

    def _tell(self, reason: GapReason, present: "Present") -> None:
        if reason == "started":
            return
        remedy = "max_events and max_bytes of [presence] say how far the log reaches back"
        if reason == "generation_changed":
            remedy = "the store has begun a new log"
        log.warning(
            "presence of %s: the webhook has missed entries behind %s (%s), and is sent a snapshot "
            "of %d users instead; %s",
            self.namespace,
            self._cursor,
            reason,
            len(present.users),
            remedy,
        )

    async def _send(self, records: list[bytes], cursor: str | None) -> None:
        place = msgspec.json.encode(self.namespace)
        end = msgspec.json.encode(cursor)
        body = b'{"namespace":%b,"records":[%b],"cursor":%b}' % (place, b",".join(records), end)
        await self._courier.deliver(body)


def _users(present: "Present") -> Iterator[dict[str, Any]]:
    for user, seats in present.users.items():
        yield {
            "user": user,
            "seats": [
                {
                    "token": str(seat.token),
                    "id": seat.id,
                    "node": seat.node,
                    "boot": seat.boot,
                    "at": seat.at,
                }
                for seat in seats
            ],
        }
