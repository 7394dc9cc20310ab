"""Reports the log of one namespace to a URL, while this node has the turn to do so.

The turn decides which node reports, and keeps the cursor of the last request that was accepted. A
node that has lost its turn notices within a second, or when it tries to move that cursor, and
abandons the request that is under way. Until then two nodes may send. So a receiver may get

- the last request before the change again, divided differently;
- a late request of the old node, among those of the new one. Its entries are those of the log, and
  the first of them comes no later than the next one that the receiver needs. Its gap or snapshot is
  as old as what the new node has sent, or older.

In all cases the cursors of these records are not above what the receiver has taken, or they come
next. So a receiver that ignores records with lower cursors, and entries with the same cursor, gets
the log in order and without a gap, whatever comes late (HOOK-13).
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
import trio

from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged
from trio_socketio.protocol.presence_turns import Held, Lost
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.im.presence.courier import Courier
    from trio_socketio.im.presence.hook_options import PresenceWebhookOptions
    from trio_socketio.im.presence.store import PresenceStore
    from trio_socketio.im.presence.turns import Turns
    from trio_socketio.protocol.presence_claims import Present

log = logging.getLogger(__name__)

T = TypeVar("T")

GapReason = Literal["started", "cursor_expired", "generation_changed"]

WEBHOOK: Final = "\nwebhook"
"""The name of the turn. It has a control character, so that no group of backends can have it."""


class Report:
    """The report about one namespace.

    It has 13 attributes: what it is made of, how far it is, and how its waits are ended.

    Args:
        store: has the log.
        namespace: its name.
        courier: delivers requests.
        options: among them, how much a request may hold.
        turns: decide which node reports.

    Attributes:
        gaps: how often there was a gap, by reason.
        namespace: see above.
        oldest_at: when the oldest entry of those being delivered was written; 0 if there is none.
    """

    def __init__(
        self,
        store: "PresenceStore",
        namespace: str,
        courier: "Courier",
        options: "PresenceWebhookOptions",
        turns: "Turns",
    ) -> None:
        self.gaps: Counter[GapReason] = Counter()
        self.namespace = namespace
        self.oldest_at = 0.0
        self._store = store
        self._courier = courier
        self._options = options
        self._turns = turns
        self._place = (namespace, WEBHOOK)
        self._cursor: Cursor | None = None  # of the last entry that was taken
        self._head: Cursor | None = None
        self._is_ending = False
        self._wait: trio.CancelScope | None = None
        self._reporting = trio.CancelScope()

    @property
    def lag(self) -> int:
        """How many entries were not taken yet, as far as known; 0 while another node reports."""
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
        """Report what happens, whenever this node has the turn."""
        while not self._is_ending:
            turn = await insist(partial(self._turns.take, self._place, is_bounded=False))
            if not isinstance(turn, Held):
                with trio.CancelScope() as self._wait:
                    await insist(partial(self._turns.wait_changed, self._place))
                self._wait = None
                continue
            is_done = False
            async with alone(trio.open_nursery()) as nursery:
                self._reporting = nursery.cancel_scope
                nursery.start_soon(self._keep_turn, turn)
                await self._report(turn)
                is_done = True
                nursery.cancel_scope.cancel()
            if is_done:
                await insist(partial(self._turns.give_back, turn, None, waits=False))
                return
            self._cursor, self._head, self.oldest_at = None, None, 0.0
        await insist(partial(self._turns.withdraw, self._place))

    # -- the turn

    async def _keep_turn(self, turn: Held) -> None:
        while True:
            await insist(partial(self._turns.wait_changed, self._place))
            await self._move(turn, None)

    async def _move(self, turn: Held, cursor: Cursor | None) -> None:
        """Note what was accepted. Abandon the report if the turn is lost (HOOK-12)."""
        if self._turns.boot in ("", turn.boot):
            moved = await insist(partial(self._turns.acknowledge, turn, cursor))
            if not isinstance(moved, Lost):
                return
        if not self._reporting.cancel_called:
            log.warning("presence of %s: another node reports to the webhook", self.namespace)
            self._reporting.cancel()
        await trio.sleep_forever()

    async def _accept(self, turn: Held, cursor: Cursor) -> None:
        self._cursor = cursor
        await self._move(turn, cursor)

    # -- what is sent

    async def _report(self, turn: Held) -> None:
        """Report until the end, including what is left then."""
        self._cursor = cursor = turn.position
        if cursor is None:
            cursor = await self._send_snapshot(turn, "started")
        while True:
            found = await insist(
                partial(self._store.read, self.namespace, cursor, self._options.batch_entries)
            )
            self._head = found.head
            if isinstance(found, CursorExpired):
                cursor = await self._send_snapshot(turn, "cursor_expired")
            elif isinstance(found, GenerationChanged):
                cursor = await self._send_snapshot(turn, "generation_changed")
            elif found.entries:
                cursor = await self._send_entries(turn, found)
            elif self._is_ending:
                return
            else:
                await self._wait_for_more(cursor)

    async def _wait_for_more(self, cursor: Cursor) -> None:
        with trio.CancelScope() as self._wait:
            await insist(partial(self._store.wait_for_more, self.namespace, cursor))
        self._wait = None

    async def _send_entries(self, turn: Held, found: Entries) -> Cursor:
        for part in self._split(found.entries):
            (first, _), (last, _) = part[0], part[-1]
            self.oldest_at = first.at
            await self._send([encoded for _, encoded in part], last.cursor)
            await self._accept(turn, parse_cursor(last.cursor))
        self.oldest_at = 0.0
        return found.cursor

    def _split(self, items: Iterable[T]) -> Iterator[list[tuple[T, bytes]]]:
        """Encode items, and divide them into requests by number and bytes (HOOK-04)."""
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

    async def _send_snapshot(self, turn: Held, reason: GapReason) -> Cursor:
        """Send a gap and who is online now; return where to go on (HOOK-06)."""
        if self._cursor is not None:
            # A receiver that has taken a part of a snapshot cannot go on from before that snapshot.
            await insist(partial(self._turns.forget, turn))
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
            if present.is_rebuilding:  # HOOK-14
                snapshot["rebuilding"] = True
            records.append(msgspec.json.encode(snapshot))
            await self._send(records, str(at) if following is None else None)
            records, page = [], following
        await self._accept(turn, at)
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
