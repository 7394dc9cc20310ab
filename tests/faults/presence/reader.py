"""Reads the log from the store and from each node, and asks the nodes who is online."""

from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from tests.faults.presence.checker import Fold
from tests.faults.presence.history import History, Seen, boottime
from tests.faults.presence.nodes import Node
from trio_socketio.control import follow_presence
from trio_socketio.im.presence import StoreUnavailable
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import Entries, Entry, GenerationChanged

NAMESPACE: Final = "/chat"
LOOKS_S: Final = 0.03
PAGE: Final = 500


class Reader:
    """Reads from the store itself, on a connection of its own.

    Attributes:
        fold: of what was read.
        changed: is set, and replaced, when something was read.
        complaints: what it could not read.
        resets: how many generations have begun.
    """

    def __init__(self, history: History, store: RedisStore) -> None:
        self.fold = Fold()
        self.changed = trio.Event()
        self.complaints: list[str] = []
        self.resets = 0
        self._history = history
        self._store = store
        self._cursor = Cursor(0, 0)

    async def begin(self) -> Cursor:
        """Go to the beginning of the log, and return that."""
        head = (await self._store.count(NAMESPACE)).cursor
        self._cursor = Cursor(head.generation, 0)
        return self._cursor

    async def run(self) -> None:
        """Read, until cancelled."""
        while True:
            with suppress(StoreUnavailable):  # that is what it is about
                await self._read()
            await trio.sleep(LOOKS_S)

    async def look(self, every_s: float) -> None:
        """Ask again and again who is online."""
        while True:
            await trio.sleep(every_s)
            try:
                await self.see()
                count = await self._store.count(NAMESPACE)
            except StoreUnavailable:
                continue
            self._history.seen.append(
                Seen(boottime(), count.cursor, None, count.users, count.is_rebuilding)
            )

    async def see(self) -> Seen:
        """Ask who is online."""
        present = await self._store.snapshot(NAMESPACE)
        users = {
            user: [(str(seat.token), seat.id, seat.node, seat.boot) for seat in seats]
            for user, seats in present.users.items()
        }
        seen = Seen(boottime(), present.cursor, users, len(users), present.is_rebuilding)
        self._history.seen.append(seen)
        return seen

    async def _read(self) -> None:
        found = await self._store.read(NAMESPACE, self._cursor, PAGE)
        if isinstance(found, GenerationChanged):
            self.resets += 1
            self._cursor = Cursor(found.head.generation, 0)
            self.fold.cursor, self.fold.owners = self._cursor, {}
        elif isinstance(found, Entries):
            self._cursor = found.cursor
            now = boottime()
            for entry in found.entries:
                list(self.fold.take(entry))  # complaints come when all is checked
            self._history.read_at += [now] * len(found.entries)
            self._history.log += found.entries
        else:
            self.complaints.append(f"the log was trimmed at {found.oldest} before it was read")
            self._cursor = found.oldest
        self.changed.set()
        self.changed = trio.Event()


async def follow(node: Node, history: History, cursor: str) -> None:
    """Follow the log as a backend of a node, through all its restarts, until cancelled."""
    entries = history.logs.setdefault(node.name, [])
    address = f"unix:{node.setup.control}"
    async with follow_presence(NAMESPACE, address, cursor=cursor) as batches:
        async for batch in batches:
            if batch.online is not None:  # it begins anew, after a gap of which it was told
                name = f"{node.name}, from {batch.cursor}"
                entries = history.logs.setdefault(name, [])
            entries += [_decode(entry) for entry in batch.entries]


def _decode(entry: dict[str, Any]) -> Entry:
    return msgspec.convert(entry, Entry)
