"""The log of one namespace, as all subscriptions to it read it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import trio

from trio_socketio.im.presence.store import PresenceStore, StoreUnavailable
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    GenerationChanged,
)

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_log import Entry

log = logging.getLogger(__name__)

BATCH_ENTRIES: Final = 200
"""The most entries in a notification. To encode them takes about 0.1 ms."""
BATCH_BYTES: Final = 131_072
"""About how long a notification may be; a single entry is sent however long it is."""
RETRY_S: Final = 1.0
"""The time between two attempts to read from a store that is not available."""

_KEPT_BYTES: Final = 65_536  # of batches; subscriptions that are up to date want the last one
_SLICE: Final = 50  # subscriptions that go on at a time: 1.5 ms
_encode: Final = msgspec.json.Encoder().encode


class Batch(NamedTuple):
    """Entries that follow one another, encoded.

    Args:
        entries: how many they are; none at the end of the log.
        cursor: of the last one, or the one that was read from.
        text: a JSON array.
    """

    entries: int
    cursor: Cursor
    text: bytes


class LogReader:
    """Reads the log of one namespace for many subscriptions.

    One task follows the end of the log, and keeps the last batches as it has encoded them. So an
    entry is read and encoded once, however many are subscribed. Those that lag read by themselves.

    Args:
        store: has the log.
        namespace: its name.
        max_bytes: about how long the text of a batch may be.
        turn: held while a batch is encoded; all readers share one, so that other tasks run between
            two batches, however many subscriptions lag.

    Attributes:
        subscriptions: how many use it.
        tail: of the last entry that it has seen; None before it has seen the log at all.
    """

    __slots__ = (
        "_away_since",
        "_delay_s",
        "_kept",
        "_kept_bytes",
        "_max_bytes",
        "_more",
        "_namespace",
        "_store",
        "_turn",
        "subscriptions",
        "tail",
    )

    def __init__(
        self,
        store: PresenceStore,
        namespace: str,
        max_bytes: int = BATCH_BYTES,
        turn: trio.Lock | None = None,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Cursor, Batch] = OrderedDict()  # by where it begins
        self._kept_bytes = 0
        self._turn = trio.Lock() if turn is None else turn
        self._more = trio.lowlevel.ParkingLot()
        self._delay_s = 0.0  # how old the entry was that was read last, when it was read
        self._away_since = inf  # when the store ceased to answer, on trio's clock
        self.subscriptions = 0
        self.tail: Cursor | None = None

    @property
    def lag_s(self) -> float:
        """How long it takes until an entry is read, in seconds, or has taken if it is not.

        The time of an entry is that of the node or store that has written it, whose clock may
        differ from the one here.
        """
        return max(self._delay_s, trio.current_time() - self._away_since)

    async def follow(self) -> None:
        """Wake those who wait whenever there are new entries, until cancelled."""
        while True:
            try:
                if self.tail is None:
                    self.tail = (await self._store.count(self._namespace)).cursor
                    await self._wake()
                await self._store.wait_for_more(self._namespace, self.tail)
                found = await self.read(self.tail, BATCH_ENTRIES)
            except StoreUnavailable as error:
                if self._away_since == inf:
                    self._away_since = trio.current_time()
                    log.warning(
                        "subscriptions to %s wait for the store: %s", self._namespace, error
                    )
                await trio.sleep(RETRY_S)
                continue
            if self._away_since < inf:
                self._away_since = inf
                log.info("subscriptions to %s go on", self._namespace)
            if isinstance(found, Batch):
                self.tail = found.cursor
            else:  # whoever waits for entries of a log that is no more has to look, too
                self.tail = found.head
                self._kept.clear()
                self._kept_bytes = 0
            await self._wake()

    async def _wake(self) -> None:
        """Wake those who wait, in slices, so that connections are driven in between."""
        for _ in range(0, len(self._more), _SLICE):
            self._more.unpark(count=_SLICE)
            await trio.lowlevel.checkpoint()

    async def read(self, cursor: Cursor, limit: int) -> Batch | CursorExpired | GenerationChanged:
        """Return the entries behind a cursor, at most limit of them.

        Raises:
            StoreUnavailable: they could not be read.
        """
        kept = self._find_kept(cursor, limit)
        if kept is not None:  # FEED-12
            await trio.lowlevel.checkpoint()
            return kept
        found = await self._store.read(self._namespace, cursor, min(limit, BATCH_ENTRIES))
        if not isinstance(found, Entries):
            return found
        if found.entries and cursor == self.tail:
            self._delay_s = max(0.0, time.time() - found.entries[-1].at)
        async with self._turn:  # FEED-36
            # Another one may have encoded the same meanwhile.
            batch = self._find_kept(cursor, limit) or self._encode(found)
        is_whole = limit >= BATCH_ENTRIES or batch.entries < limit  # not cut for its reader
        if batch.entries and is_whole:
            self._keep(cursor, batch)
        return batch

    async def wait(self, cursor: Cursor) -> None:
        """Wait until there may be entries behind a cursor that was at the end of the log."""
        if self.tail is None or self.tail <= cursor:
            await self._more.park()

    def _find_kept(self, cursor: Cursor, limit: int) -> Batch | None:
        kept = self._kept.get(cursor)
        return kept if kept is not None and kept.entries <= limit else None

    def _keep(self, cursor: Cursor, batch: Batch) -> None:
        """Keep a batch for others, instead of older ones."""
        if cursor not in self._kept:
            self._kept[cursor] = batch
            self._kept_bytes += len(batch.text)
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped.text)

    def _encode(self, found: Entries) -> Batch:
        texts = list(_cut(found.entries, self._max_bytes))
        whole = len(texts) == len(found.entries)
        cursor = found.cursor if whole else parse_cursor(found.entries[len(texts) - 1].cursor)
        return Batch(len(texts), cursor, b"[%b]" % b",".join(texts))


def fit_entries(entries: "tuple[Entry, ...]", max_bytes: int) -> "tuple[Entry, ...]":
    """Return as many of the first entries as fit into a line, at least one if there are any."""
    return entries[: len(list(_cut(entries, max_bytes)))]


def _cut(entries: "tuple[Entry, ...]", max_bytes: int) -> Iterator[bytes]:
    """Yield the texts of entries, at least one, until they are too long for a line."""
    texts = [_encode(entry) for entry in entries]
    for number, length in enumerate(accumulate(len(text) + 1 for text in texts)):
        if number and length > max_bytes:
            return
        yield texts[number]
