"""Deliveries in the memory of one node, which are lost with it."""

from bisect import bisect_right, insort
from collections.abc import Sequence

import trio

from trio_socketio.im.deliveries.record import Answer, Key, Line, Record
from trio_socketio.im.deliveries.store import Bounds, Full, Taken


class MemoryDeliveries:
    """A store in memory.

    Args:
        bounds: how much it keeps.
    """

    is_shared = False
    is_durable = False

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._open: dict[Key, Record] = {}
        self._ended: dict[Key, Record] = {}  # in the order in which they have ended
        self._ids: dict[str, list[str]] = {}  # of each namespace, sorted
        self._size = 0

    async def add(self, record: Record, now: float) -> Record | Full | None:
        await trio.lowlevel.checkpoint()
        key, bounds = record.head.key, self._bounds.of_sender(record.head.sender)
        known = self._find(key)
        if known is not None:
            return known
        if len(self._open) >= bounds.open:
            return Full(f"{bounds.open} deliveries go on already (max_open)")
        size = record.size + len(record.args)
        while self._ended and self._size + size > bounds.size:
            self._forget(next(iter(self._ended)))
        if self._size + size > bounds.size:
            return Full(f"the deliveries that go on take {self._size} bytes already (max_bytes)")
        self._open[key] = record
        self._size += size
        insort(self._ids.setdefault(key.namespace, []), key.id)
        return None

    async def confirm(self, answers: Sequence[Answer]) -> None:
        await trio.lowlevel.checkpoint()
        for key, user, at in answers:
            record = self._open.get(key)
            if record is not None and user not in record.confirmed:
                record.confirmed[user] = at
                if len(record.confirmed) == record.head.targets:
                    self._end(key, at)

    async def end(self, keys: Sequence[Key], now: float) -> None:
        await trio.lowlevel.checkpoint()
        for key in keys:
            if key in self._open:
                self._end(key, now)

    async def get(self, key: Key) -> Record | None:
        await trio.lowlevel.checkpoint()
        record = self._find(key)
        return None if record is None else record._replace(confirmed=dict(record.confirmed))

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        await trio.lowlevel.checkpoint()
        ids = self._ids.get(namespace, [])
        first = bisect_right(ids, after)
        found = (self._find(Key(namespace, one)) for one in ids[first : first + limit])
        return [Line(one.head, len(one.confirmed), one.ended_at) for one in found if one]

    async def take(self, now: float) -> Taken:
        await trio.lowlevel.checkpoint()
        for key, record in tuple(self._ended.items()):
            is_old = (record.ended_at or 0.0) <= now - self._bounds.keep_s
            if not is_old and len(self._ended) <= self._bounds.reports:
                break
            self._forget(key)
        # Whoever has added a delivery attends to it for as long as it lives.
        return Taken([], False, len(self._open), len(self._ended), self._size)

    async def release(self) -> None:
        await trio.lowlevel.checkpoint()

    def _find(self, key: Key) -> Record | None:
        return self._open.get(key) or self._ended.get(key)

    def _end(self, key: Key, at: float) -> None:
        record = self._open.pop(key)
        self._size -= len(record.args)
        self._ended[key] = record._replace(args=b"", ended_at=at)

    def _forget(self, key: Key) -> None:
        record = self._ended.pop(key)
        self._size -= record.size
        ids = self._ids[key.namespace]
        del ids[bisect_right(ids, key.id) - 1]
        if not ids:
            del self._ids[key.namespace]
