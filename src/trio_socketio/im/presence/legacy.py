"""The on/off records of the original contract, made from the presence log.

A record is ``{meta, evtTyp, evtTimestamp, socketId, clientIp}``, as business servers of that
contract read it; it never holds a token. The log says who came and went, and in which order. A seat
that has moved is the disconnect of the old client, and then the connect of the new one.

The log knows no addresses of clients. So a step of joining notes the address of each client of this
server before it can have a seat; clients of other servers have none.
"""

import logging
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import trio

from trio_socketio.im.presence.insisting import insist
from trio_socketio.protocol.joining import State
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import Entries, Entry
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.im.presence.service import Presence
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

MAX_NAMESPACES: Final = 1000
"""How many namespaces have records; clients may make names up."""
MAX_ADDRESSES: Final = 100_000
"""How many clients' addresses are remembered, those with a seat included."""

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

    Args:
        most: how many are kept.

    Attributes:
        oldest: the number of the oldest one that is kept; the first of all is 1.
    """

    def __init__(self, most: int) -> None:
        self.oldest = 1
        self._kept: deque[LegacyRecord] = deque()
        self._most = most

    @property
    def newest(self) -> int:
        """The number of the newest one."""
        return self.oldest + len(self._kept) - 1

    def add(self, record: LegacyRecord) -> None:
        """Keep another one; the oldest goes if there are too many (HOOK-21)."""
        self._kept.append(record)
        if len(self._kept) > self._most:
            self._kept.popleft()
            self.oldest += 1

    def page(self, after: int, limit: int) -> list[LegacyRecord]:
        """Return those behind a number, which is oldest - 1 at least."""
        begin = after + 1 - self.oldest
        return list(islice(self._kept, begin, begin + limit))


class LegacyRecords:
    """Keeps on/off records while `run` is at work; nothing is started before.

    Args:
        server: the server. Its clients are identified by steps that were added before.
        presence: of the server.
        most: how many records each namespace keeps.
        began: see below.

    Attributes:
        began: names these records; others begin with each start of the program.
    """

    def __init__(self, server: "Server", presence: "Presence", most: int, began: int) -> None:
        self.began = began
        self._presence = presence
        self._most = most
        self._records: dict[str, Records] = {}
        self._addresses: dict[str, str] = {}  # by the public id of the socket, oldest first
        self._nursery: trio.Nursery | None = None
        server.add_steps([Step(State.AUTHENTICATING, self._note)])

    def covers(self, namespace: str) -> bool:
        """Whether the clients of a namespace have records, if there are any clients."""
        return self._presence.has_seats(namespace)

    def find(self, namespace: str) -> Records | None:
        """Return the records of a namespace; None if nobody has ever had a seat there."""
        return self._records.get(namespace)

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
        if joining.name not in self._records and self._nursery is not None:
            if len(self._records) < MAX_NAMESPACES:
                self._records[joining.name] = Records(self._most)
                self._nursery.start_soon(self._follow, joining.name)
            elif len(self._records) == MAX_NAMESPACES:
                log.warning(
                    "presence: %d namespaces have on/off records, and %s gets none",
                    MAX_NAMESPACES,
                    joining.name,
                )

    async def _follow(self, namespace: str) -> None:
        """Turn the log into records, from its first entry on."""
        store, records = self._presence.store, self._records[namespace]
        begin = (await insist(partial(store.count, namespace))).cursor
        cursor: Cursor | None = Cursor(begin.generation, 0)
        seats: dict[str, str] = {}  # the id of the socket, by the token of its claim
        while True:
            if cursor is None:
                present = await insist(partial(store.snapshot, namespace))
                cursor = present.cursor
                seats = {
                    str(seat.token): seat.id for found in present.users.values() for seat in found
                }
            found = await insist(partial(store.read, namespace, cursor, _PAGE))
            if not isinstance(found, Entries):
                log.warning(
                    "presence: the on/off records of %s have a gap behind %s: the log was not kept "
                    "for long enough, or is another one",
                    namespace,
                    cursor,
                )
                cursor = None
                continue
            for entry in found.entries:
                self._record(records, seats, entry)
            cursor = found.cursor
            if not found.entries:
                await insist(partial(store.wait_for_more, namespace, cursor))

    def _record(self, records: Records, seats: dict[str, str], entry: Entry) -> None:
        """Add what an entry of the log says (HOOK-20)."""
        has_come = entry.type in ("online", "moved", "seat_added")
        if entry.type == "moved" or not has_come:
            gone = seats.pop(entry.prev or entry.token, None)
            if gone is not None:  # otherwise it was in a gap
                records.add(_make(entry, "disconnect", gone, self._addresses.get(gone)))
                if not has_come or gone != entry.id:  # a recovered client keeps its id
                    self._addresses.pop(gone, None)
        if has_come:
            seats[entry.token] = entry.id
            records.add(_make(entry, "connect", entry.id, self._addresses.get(entry.id)))


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
