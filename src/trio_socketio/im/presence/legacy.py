"""The on/off records of the original contract, made from the presence log.

A record is ``{meta, evtTyp, evtTimestamp, socketId, clientIp}``, as business servers of that
contract read it; it never holds a token. The log says who came and went, and in which order. A seat
that has moved is the disconnect of the old client, and then the connect of the new one.

The log knows no addresses of clients. So a step of joining notes the address of each client of this
server before it can have a seat; clients of other servers have none.

Otherwise, nodes that share a store make the same records from the log. A node may lack some that
another one has, because it began to read the log later, or has had a gap.
"""

import logging
from bisect import bisect_right
from collections import deque
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import trio

from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.joining import State
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, Entry
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.im.presence.service import Presence
    from trio_socketio.protocol.presence_claims import Count
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

MAX_NAMESPACES: Final = 1000
"""How many namespaces have records; clients may make names up."""
MAX_ADDRESSES: Final = 100_000
"""How many clients' addresses are remembered, those with a seat included."""

READ_S: Final = 5.0
"""How long a page waits until the log was read, which takes time after a start."""

_PAGE: Final = 500


class LegacyMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What the record says of the client besides its socket.

    Args:
        userId: the id of the user.
    """

    userId: str


class LegacyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An on/off record of the original contract.

    Args:
        meta: who the client is.
        evtTyp: connect or disconnect.
        evtTimestamp: when that was, in milliseconds since 1970.
        socketId: the public id of the client's socket.
        clientIp: the address of the client; null if it is a client of another server.
    """

    meta: LegacyMeta
    evtTyp: Literal["connect", "disconnect"]
    evtTimestamp: int
    socketId: str
    clientIp: str | None


class Records:
    """The records of one namespace, the latest of them.

    Each record has a position, which is the same on every node that shares the log: the generation,
    and twice the sequence of the entry that it was made from, plus one for a connect (HOOK-25).

    Args:
        most: how many are kept.

    Attributes:
        newest: the position up to which the log was read; None if it was not read yet.
        oldest: the first position behind which a page may begin; None if the log was not read yet.
    """

    def __init__(self, most: int) -> None:
        self.newest: Cursor | None = None
        self.oldest: Cursor | None = None
        self._kept: deque[tuple[Cursor, LegacyRecord]] = deque()
        self._most = most
        self._moved = trio.Event()

    def begin_at(self, cursor: Cursor) -> None:
        """Note that the log is read from a cursor onwards."""
        self.newest = position_behind(cursor)
        if self.oldest is None:
            self.oldest = self.newest

    def add(self, at: Cursor, record: LegacyRecord) -> None:
        """Keep another one; the oldest goes if there are too many (HOOK-21)."""
        self._kept.append((at, record))
        if len(self._kept) > self._most:
            self.oldest, _ = self._kept.popleft()

    def note_read(self, cursor: Cursor) -> None:
        """Note how far the log was read."""
        self.newest = position_behind(cursor)
        self._moved.set()
        self._moved = trio.Event()

    async def wait_read(self, head: Cursor) -> None:
        """Wait until the log was read up to a cursor, or has another generation."""
        while self.newest is None or (
            self.newest.generation <= head.generation and self.newest < position_behind(head)
        ):
            await self._moved.wait()

    def page(self, after: Cursor, limit: int) -> tuple[list[LegacyRecord], Cursor]:
        """Return records behind a position, at least `oldest`, and where the next page begins."""
        begin = bisect_right(self._kept, after, key=itemgetter(0))
        found = list(islice(self._kept, begin, begin + limit))
        if begin + limit < len(self._kept):
            return [record for _, record in found], found[-1][0]
        end = after if self.newest is None else max(after, self.newest)
        return [record for _, record in found], end


def position_behind(cursor: Cursor) -> Cursor:
    """Return the position of the last record that can be made from an entry."""
    return Cursor(cursor.generation, 2 * cursor.sequence + 1)


class LegacyRecords:
    """Keeps on/off records while `run` is at work; nothing is started before.

    Args:
        server: the server. Its clients are identified by steps that were added before.
        presence: of the server.
        most: how many records each namespace keeps.
    """

    def __init__(self, server: "Server", presence: "Presence", most: int) -> None:
        self._presence = presence
        self._most = most
        self._records: dict[str, Records] = {}
        self._addresses: dict[str, str] = {}  # by the public id of the socket, oldest first
        self._nursery: trio.Nursery | None = None
        self._has_told = False  # that there are too many namespaces
        server.add_steps([Step(State.AUTHENTICATING, self._note)])

    def covers(self, namespace: str) -> bool:
        """Whether the clients of a namespace have records, if there are any clients."""
        return self._presence.has_seats(namespace)

    async def open(self, namespace: str) -> "tuple[Records, Count]":
        """Return the records of a namespace up to now, and how many users are online now.

        Raises:
            StoreUnavailable: the store does not answer, or the log could not be read yet.
        """
        found = await self._presence.store.count(namespace)
        is_used = namespace in self._records or found.cursor.sequence > 0
        records = self._use(namespace) if is_used else None
        if records is None:
            records = Records(self._most)
            records.begin_at(found.cursor)
        with trio.move_on_after(READ_S):
            await records.wait_read(found.cursor)
        if records.newest is None:
            raise StoreUnavailable("the log was not read yet")
        return records, found

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the logs until cancelled: a service."""
        try:
            async with alone(trio.open_nursery()) as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def _note(self, joining: "Joining") -> None:
        """Note the address of a client, and follow the log of its namespace: a step of joining."""
        socket = joining.socket
        if socket is None or socket.user is None or not self._presence.has_seats(joining.name):
            return
        if len(self._addresses) >= MAX_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[socket.public_id] = socket.session.handshake.address
        self._use(joining.name)

    def _use(self, namespace: str) -> Records | None:
        """Follow a namespace, unless that is done already; return its records if it has some."""
        if namespace not in self._records and self._nursery is not None:
            if len(self._records) < MAX_NAMESPACES:
                self._records[namespace] = Records(self._most)
                self._nursery.start_soon(self._follow, namespace)
            elif not self._has_told:
                self._has_told = True
                log.warning(
                    "presence: %d namespaces have on/off records, and %s gets none; others that "
                    "get none are not named",
                    MAX_NAMESPACES,
                    namespace,
                )
        return self._records.get(namespace)

    async def _follow(self, namespace: str) -> None:
        """Turn the log into records, from the oldest entry that it has."""
        store, records = self._presence.store, self._records[namespace]
        begin = (await insist(partial(store.count, namespace))).cursor
        cursor = Cursor(begin.generation, 0)
        seats: dict[str, str] = {}  # the id of the socket, by the token of its claim
        while True:
            found = await insist(partial(store.read, namespace, cursor, _PAGE))
            if isinstance(found, Entries):
                if records.newest is None:
                    records.begin_at(cursor)
                for entry in found.entries:
                    self._record(records, seats, entry)
                records.note_read(found.cursor)
                cursor = found.cursor
                if not found.entries:
                    await insist(partial(store.wait_for_more, namespace, cursor))
                continue
            if records.newest is not None:
                log.warning(
                    "presence: the on/off records of %s have a gap behind %s: the log was not kept "
                    "for long enough, or is another one",
                    namespace,
                    cursor,
                )
            if isinstance(found, CursorExpired):
                cursor = found.oldest
                present = await insist(partial(store.snapshot, namespace))
                seats = {
                    str(seat.token): seat.id for found in present.users.values() for seat in found
                }
            else:
                cursor = Cursor(found.head.generation, 0)
                seats = {}

    def _record(self, records: Records, seats: dict[str, str], entry: Entry) -> None:
        """Add what an entry of the log says (HOOK-20)."""
        at = parse_cursor(entry.cursor)
        at = Cursor(at.generation, 2 * at.sequence)
        has_come = entry.type in ("online", "moved", "seat_added")
        if entry.type == "moved" or not has_come:
            known = seats.pop(entry.prev or entry.token, None)
            gone = known if has_come else entry.id
            if gone is not None:  # otherwise its seat is from before the log
                records.add(at, _make(entry, "disconnect", gone, self._addresses.get(gone)))
                if not has_come or gone != entry.id:  # a recovered client keeps its id
                    self._addresses.pop(gone, None)
        if has_come:
            seats[entry.token] = entry.id
            came = Cursor(at.generation, at.sequence + 1)
            records.add(came, _make(entry, "connect", entry.id, self._addresses.get(entry.id)))


def _make(
    entry: Entry, kind: Literal["connect", "disconnect"], socket_id: str, address: str | None
) -> LegacyRecord:
    return LegacyRecord(
        meta=LegacyMeta(userId=entry.user),
        evtTyp=kind,
        evtTimestamp=round(entry.at * 1000),
        socketId=socket_id,
        clientIp=address or None,
    )
