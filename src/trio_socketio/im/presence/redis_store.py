"""The presence store of several nodes, in Redis.

Each transition is one Lua script, which changes the state and appends to the log in the same step.
`lua/begin.lua` says which keys there are.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from trio_socketio.errors import OptionError
from trio_socketio.im.presence.redis_records import (
    fold,
    read_claimed,
    read_entry,
    read_order,
    read_owned,
    read_present,
)
from trio_socketio.im.presence.redis_scripts import Answer, PresenceScripts
from trio_socketio.im.presence.redis_wakings import Wakings
from trio_socketio.im.presence.store import CLAIM_S, NamespaceUnusable, StoreUnavailable
from trio_socketio.protocol.lease_watch import LeaseWatch
from trio_socketio.protocol.presence_claims import (
    Absent,
    Claimed,
    ClaimRef,
    ClaimRequest,
    Count,
    Fenced,
    Kicked,
    Order,
    Page,
    Present,
    Released,
    Renewal,
    Seat,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    Entry,
    EntryType,
    GenerationChanged,
)
from trio_socketio.runtime.fence import boottime

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis

log = logging.getLogger(__name__)

_PAGE: Final = 1000
_SNAPSHOTS: Final = 5  # how often a snapshot is begun anew
_REBUILT: Final = 0  # as the sequence of an awaited token: the end of the rebuild


class RedisStore:
    """Keeps presence in Redis, for all nodes that use the same one with the same prefix.

    It owns no task: it works for those who call it. A node calls `renew` and `expired` again and
    again as long as it lives.

    It has 33 methods, nearly all of which are those of the interface or a part of one.

    Args:
        redis: the connection.
        prefix: begins the names of its keys and channels.
        lease_s: how long the lease of a node lasts. All nodes have to have the same.
        max_events: how many entries the log of each namespace keeps at least.
        clock: seconds on a clock that neither jumps nor stands still.

    Raises:
        OptionError: a number is not above zero.

    Attributes:
        fenced: how many boots of other nodes it has fenced.
        reaped: how many claims of lost nodes it has ended.
    """

    at_once: ClassVar[None] = None  # Redis has to be waited for

    def __init__(
        self,
        redis: "Redis",
        *,
        prefix: str = "tsio",
        lease_s: float = 10.0,
        max_events: int = 100_000,
        clock: Callable[[], float] = boottime,
    ) -> None:
        for name, value in (("lease_s", lease_s), ("max_events", max_events)):
            if not value > 0:
                raise OptionError(name, f"must be above zero, not {value}")
        self.fenced = 0
        self.reaped = 0
        self._lease_s = lease_s
        self._clock = clock
        channels = f"{prefix}:presence:"
        self._wakings = Wakings(redis, channels)
        self._scripts = PresenceScripts(redis, prefix, channels, max_events, self._wakings.wake_all)
        self._watch = LeaseWatch(lease_s)
        self._time_ms = 0  # of the server, as it was last told
        self._time_at = 0.0  # when that was
        self._written: Counter[EntryType] = Counter()
        self._names: dict[str, str] = {}  # of the nodes, by boot
        self._epochs: dict[str, int] = {}  # in which boots were enrolled or have rebuilt

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def lease_s(self) -> float:
        return self._lease_s

    @property
    def written(self) -> Mapping[EntryType, int]:
        return self._written

    @property
    def epoch(self) -> int:
        """The epoch of the store, as it was seen last; 0 before."""
        return self._scripts.epoch

    @property
    def generation_changes(self) -> int:
        """How many times it was seen that the store has lost claims."""
        return self._scripts.epochs

    @property
    def fault(self) -> str:
        """Why the store cannot be used although there is a connection; empty if it can."""
        return self._scripts.fault

    # -- the leases of nodes

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        self._wakings.subscribe(f"boot:{boot}", boot)
        self._wakings.subscribe("confirmed")
        self._wakings.subscribe("epoch", "epoch")
        answer = await self._scripts.run("enroll", node, boot, round(self._lease_s * 1000))
        if answer.status == "FENCED":
            return Fenced()
        if answer.status == "LEASE":
            await self.expired()  # they may all be dead
            raise StoreUnavailable(
                f"the other nodes have lease_s = {int(answer.values[0]) / 1000:g}, and this one "
                f"{self._lease_s:g}: give all the same"
            )
        self._names[boot], self._epochs[boot] = node, answer.epoch
        return tuple(before.decode() for before in answer.values[0])

    async def renew(self, boot: str) -> Renewal:
        name, epoch = self._names.get(boot, "?"), self._epochs.get(boot, 0)
        answer = await self._scripts.run("renew", boot, name, epoch)
        if answer.status == "REBUILD":
            self._epochs[boot] = answer.epoch
        return Renewal[answer.status]

    async def wait_lost(self, boot: str) -> None:
        with self._wakings.watching("epoch") as watch:
            while self._epochs.get(boot, self._scripts.epoch) == self._scripts.epoch:
                await watch.wait()
                watch.begin()
                await self._scripts.run("inbox", boot)  # any answer tells the epoch

    async def end_rebuild(self, boot: str) -> None:
        await self._scripts.run("rebuilt", boot, self._epochs.get(boot, 0))

    async def retire(self, boot: str) -> None:
        await self._scripts.run("fence", boot, "")
        self._forget(boot)

    async def expired(self) -> list[str]:
        asked_at = self._clock()
        answer = await self._scripts.run("watch")
        now = self._clock()
        found, dead, self._time_ms = answer.values
        self._time_at = now
        leases = {
            boot.decode(errors="replace"): value.decode(errors="replace")
            for boot, value in zip(found[::2], found[1::2], strict=True)
        }
        ended = [boot.decode(errors="replace") for boot in dead]
        for boot, value in self._watch.note(leases, answer.epoch, asked_at, now):
            outcome = await self._scripts.run("fence", boot, value)
            if outcome.status == "FENCED":
                self.fenced += 1
                ended.append(boot)
                name = value.split(" ", 2)[2]
                log.warning(
                    "presence: node %s is lost: its lease, of boot %s, was not renewed for %g s",
                    name,
                    boot,
                    self._lease_s,
                )
        if answer.is_rebuilding and self._watch.has_settled(now):
            await self._scripts.run("settle", answer.epoch)
        return ended

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        ended, behind, unusable = 0, "", None
        while ended < limit:
            answer = await self._scripts.run("owned", boot, behind)
            if answer.status == "ALIVE":
                return None
            (members,) = answer.values
            if not members and unusable is not None:
                self.reaped += ended
                raise unusable
            if not members:
                await self._scripts.run("forget", boot)
                break
            namespace = read_owned(members[0])
            try:
                answer = await self._scripts.run_for(namespace, "reap", boot, limit - ended)
            except NamespaceUnusable as error:  # RSTORE-24: the others first
                unusable, behind = error, f"{len(namespace.encode())}:{namespace} "
                continue
            if answer.status == "ALIVE":
                return None
            ended += answer.values[0]
            self._note_written(answer)
        self.reaped += ended
        return ended

    # -- claims

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        answer = await self._scripts.run_for(
            request.namespace,
            "claim",
            request.user,
            request.boot,
            request.node,
            request.id,
            request.attempt,
            request.policy,
            request.maximum,
            request.takeover,
            int(request.recovers),
            self._server_time_ms(CLAIM_S),
        )
        if answer.status == "FENCED":
            return Fenced()
        if answer.status == "TAKEN":
            generation, sequence, reason = answer.values
            return Taken(reason.decode(), Cursor(generation, sequence))
        return self._claimed(request, answer)

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        answer = await self._scripts.run_for(
            request.namespace,
            "reassert",
            request.user,
            request.boot,
            request.node,
            request.id,
            request.attempt,
            request.policy,
            request.maximum,
            token.generation,
            token.sequence,
        )
        if answer.status == "FENCED":
            return Fenced()
        if answer.status == "STALE":
            return Stale(self._note_written(answer))
        return self._claimed(request, answer)

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        answer = await self._scripts.run_for(
            ref.namespace,
            "release",
            ref.user,
            ref.boot,
            ref.attempt,
            *((0, 0) if ref.token is None else ref.token),
            reason,
        )
        if answer.status == "FENCED":
            return Fenced()
        kind = Released if answer.status == "RELEASED" else Stale
        return kind(self._note_written(answer))

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        answer = await self._scripts.run_for(namespace, "kick", user)
        if answer.status == "ABSENT":
            return Absent(Cursor(*answer.values))
        generation, _, ended, nodes, _ = answer.values
        tokens = tuple(Cursor(generation, sequence) for sequence in ended)
        return Kicked(tokens, self._note_written(answer), tuple(node.decode() for node in nodes))

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        parts = [part for token in tokens for part in token]
        name = f"{len(namespace.encode())}:{namespace} {user}"
        with self._wakings.watching(name) as watch:
            while True:
                watch.begin()
                epoch = self._scripts.epoch
                # What was awaited in an epoch that is over may be out or not: nothing here knows.
                awaits_rebuild = any(
                    token.sequence == _REBUILT or token.generation < epoch for token in tokens
                )
                answer = await self._scripts.run_for(
                    namespace, "awaited", user, int(awaits_rebuild), *parts
                )
                if self._scripts.epoch != epoch:
                    continue
                is_held = awaits_rebuild and answer.is_rebuilding
                if not (is_held or answer.values[0]):
                    return
                await watch.wait_to_look()

    # -- what a node is told

    async def receive_orders(self, boot: str) -> list[Order]:
        with self._wakings.watching(boot) as watch:
            while True:
                watch.begin()
                answer = await self._scripts.run("inbox", boot)
                if answer.values[0]:
                    return [read_order(member) for member in answer.values[0]]
                await watch.wait_to_look()

    async def confirm(self, order: Order) -> None:
        await self._scripts.run_for(order.namespace, "confirm", order.user, *order.token)

    # -- reading

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        answer = await self._scripts.run_for(namespace, "get", *users)
        found, cursor = read_present(answer.values)
        return Present(found, cursor, answer.is_rebuilding)

    async def count(self, namespace: str) -> Count:
        answer = await self._scripts.run_for(namespace, "count")
        generation, sequence, users = answer.values
        return Count(users, Cursor(generation, sequence), answer.is_rebuilding)

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        begin = "-" if after is None else f"({after}"
        answer = await self._scripts.run_for(namespace, "page", begin, limit + 1)
        found, cursor = read_present(answer.values)
        names = list(found)[:limit]
        following = names[-1] if len(found) > limit else None
        shown = {user: found[user] for user in names}
        return Page(shown, following, cursor, answer.is_rebuilding)

    async def snapshot(self, namespace: str) -> Present:
        for _ in range(_SNAPSHOTS):
            found = await self._read_snapshot(namespace)
            if found is not None:
                return found
        raise StoreUnavailable(
            f"the log of {namespace} was trimmed {_SNAPSHOTS} times while its users were read: "
            "raise [presence] max_events"
        )

    async def _read_snapshot(self, namespace: str) -> Present | None:
        """Read page by page, so that Redis is never busy for long, then what changed meanwhile.

        Returns:
            None if that is not known any more.
        """
        page = await self.list_users(namespace, None, _PAGE)
        begin, end, users = page.cursor, page.cursor, page.users
        while page.next is not None:
            page = await self.list_users(namespace, page.next, _PAGE)
            if page.cursor.generation != begin.generation:
                return None
            end = page.cursor
            users |= page.users
        while begin < end:
            limit = min(_PAGE, end.sequence - begin.sequence)
            found, _ = await self._read(namespace, begin, limit)
            if not isinstance(found, list):
                return None
            for entry, seat in found:
                fold(users, entry, seat)
            begin = Cursor(begin.generation, begin.sequence + len(found))
        return Present(users, end, self._scripts.is_rebuilding)

    async def read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> Entries | CursorExpired | GenerationChanged:
        found, head = await self._read(namespace, cursor, limit)
        if not isinstance(found, list):
            return found
        last = Cursor(cursor.generation, cursor.sequence + len(found))
        return Entries(tuple(entry for entry, _ in found), last, head)

    async def _read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> tuple[list[tuple[Entry, Seat]] | CursorExpired | GenerationChanged, Cursor]:
        answer = await self._scripts.run_for(namespace, "read", *cursor, limit)
        generation, sequence, *rest = answer.values
        head = Cursor(generation, sequence)
        if answer.status == "CHANGED":
            return GenerationChanged(head), head
        if answer.status == "EXPIRED":
            return CursorExpired(Cursor(generation, rest[0]), head), head
        entries = [
            read_entry(namespace, Cursor(generation, number), value)
            for number, value in enumerate(rest[0], cursor.sequence + 1)
        ]
        return entries, head

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        name = f"log:{namespace}"
        self._wakings.follow(name)
        with self._wakings.watching(name) as watch:
            while True:
                watch.begin()
                head = (await self.count(namespace)).cursor
                if head != cursor:
                    return
                await watch.wait_to_look()

    # -- parts

    def _claimed(self, request: ClaimRequest, answer: Answer) -> Claimed:
        self._note_written(answer)
        return read_claimed(request, answer.values)

    def _server_time_ms(self, from_now_s: float) -> int:
        """Return what the clock of the server will show, or a little less; 0 if that is not known.

        A clock that jumps makes claims fail, or late ones succeed, until it is told anew.
        """
        if not self._time_ms:
            return 0
        return self._time_ms + int((self._clock() - self._time_at + from_now_s) * 1000)

    def _note_written(self, answer: Answer) -> Cursor:
        """Count the entries that a script has written; return the cursor of the last one."""
        generation, sequence, *_, written = answer.values
        self._written.update(kind.decode() for kind in written)
        return Cursor(generation, sequence)

    def _forget(self, boot: str) -> None:
        self._names.pop(boot, None)
        self._epochs.pop(boot, None)
        self._wakings.unsubscribe(f"boot:{boot}")
