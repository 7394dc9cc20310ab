"""Deliveries in the SQLite file of one node, which goes on with them after a restart."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from trio_socketio.codec.json_text import encode_json
from trio_socketio.errors import StorageUnavailable
from trio_socketio.im.deliveries.record import Answer, Head, Key, Line, Record
from trio_socketio.im.deliveries.store import Bounds, DeliveriesUnavailable, Full, Taken
from trio_socketio.storage.database import Database

log = logging.getLogger(__name__)

T = TypeVar("T")

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS deliveries ("
    " namespace TEXT NOT NULL, id TEXT NOT NULL, head BLOB NOT NULL, users BLOB NOT NULL,"
    " args BLOB NOT NULL, size INTEGER NOT NULL, unconfirmed INTEGER NOT NULL, ended_at REAL,"
    " PRIMARY KEY (namespace, id))",
    "CREATE INDEX IF NOT EXISTS deliveries_ended ON deliveries (ended_at)",
    # The totals are kept by triggers, because each new delivery asks for them.
    "CREATE TABLE IF NOT EXISTS delivery_totals ("
    " one INTEGER PRIMARY KEY CHECK (one = 1), going INTEGER NOT NULL, ended INTEGER NOT NULL,"
    " size INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO delivery_totals VALUES (1, 0, 0, 0)",
    "CREATE TRIGGER IF NOT EXISTS delivery_added AFTER INSERT ON deliveries BEGIN"
    " UPDATE delivery_totals SET going = going + 1,"
    " size = size + new.size + length(new.args); END",
    "CREATE TRIGGER IF NOT EXISTS delivery_over AFTER UPDATE OF ended_at ON deliveries BEGIN"
    " UPDATE delivery_totals SET going = going - 1, ended = ended + 1,"
    " size = size - length(old.args); END",
    "CREATE TRIGGER IF NOT EXISTS delivery_forgotten AFTER DELETE ON deliveries BEGIN"
    " UPDATE delivery_totals SET ended = ended - 1, size = size - old.size; END",
    "CREATE TABLE IF NOT EXISTS delivery_answers ("
    " namespace TEXT NOT NULL, id TEXT NOT NULL, user TEXT NOT NULL, at REAL NOT NULL,"
    " PRIMARY KEY (namespace, id, user)) WITHOUT ROWID",
)
COUNT: Final = "SELECT going FROM delivery_totals"
"""Counts the deliveries that go on."""

_SELECT: Final = "SELECT head, users, args, ended_at FROM deliveries"
_AT_ONCE: Final = 500
"""How many deliveries are read, or forgotten, in one turn of the thread."""


class SqliteDeliveries:
    """A store in a SQLite file.

    Args:
        database: the file; it is not open yet.
        bounds: how much it keeps.
    """

    is_shared = False
    is_durable = True

    def __init__(self, database: Database, bounds: Bounds) -> None:
        self._database = database
        self._bounds = bounds
        # What an earlier process has left, and what was perhaps written without an answer.
        self._has_read_all = False
        self._added: set[Key] = set()  # before that
        database.add_schema(*_SCHEMA)

    async def add(self, record: Record, now: float) -> Record | Full | None:
        head, bounds = record.head, self._bounds.of_sender(record.head.sender)
        key = head.key
        row = (*key, encode_json(head), encode_json(record.users), record.args, record.size)

        def insert(file: sqlite3.Connection) -> Record | Full | None:
            known = _find(file, key)
            if known is not None:
                return known
            going, _, size = _measure(file)
            if going >= bounds.open:
                return Full(f"{bounds.open} deliveries go on already (max_open)")
            needed = record.size + len(record.args)
            while size + needed > bounds.size and _forget_oldest(file, 1):
                size = _measure(file)[2]
            if size + needed > bounds.size:
                return Full(f"the deliveries that go on take {size} bytes already (max_bytes)")
            file.execute(
                "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", (*row, head.targets)
            )
            return None

        if not self._has_read_all:
            self._added.add(key)
        try:
            return await self._write(insert)
        except DeliveriesUnavailable as error:
            if error.is_unsure:  # DELIV-48
                self._has_read_all = False
            self._added.discard(key)
            raise

    async def confirm(self, answers: Sequence[Answer]) -> None:
        def note(file: sqlite3.Connection) -> None:
            for key, user, at in answers:
                added = file.execute(
                    "INSERT OR IGNORE INTO delivery_answers SELECT namespace, id, ?, ?"
                    " FROM deliveries WHERE namespace = ? AND id = ? AND ended_at IS NULL",
                    (user, at, *key),
                )
                if not added.rowcount:
                    continue
                ((left,),) = file.execute(
                    "UPDATE deliveries SET unconfirmed = unconfirmed - 1"
                    " WHERE namespace = ? AND id = ? RETURNING unconfirmed",
                    key,
                ).fetchall()
                if left == 0:
                    _end(file, key, at)

        await self._write(note)

    async def end(self, keys: Sequence[Key], now: float) -> None:
        def note(file: sqlite3.Connection) -> None:
            for key in keys:
                _end(file, key, now)

        await self._write(note)

    async def get(self, key: Key) -> Record | None:
        return await self._read(lambda file: _find(file, key))

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        def select(file: sqlite3.Connection) -> list[Line]:
            rows = file.execute(
                "SELECT head, unconfirmed, ended_at FROM deliveries"
                " WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?",
                (namespace, after, limit),
            )
            heads = ((_head(head), left, ended_at) for head, left, ended_at in rows)
            return [Line(head, head.targets - left, ended_at) for head, left, ended_at in heads]

        return await self._read(select)

    async def take(self, now: float) -> Taken:
        if not self._has_read_all:
            return await self._take_up(now)
        going, ended, size = await self._read(_measure)
        if ended:  # a disk that has nothing to do is left alone
            going, ended, size = await self._sweep(now)
        return Taken([], False, going, ended, size)

    async def _sweep(self, now: float) -> tuple[int, int, int]:
        """Forget reports that are too old or too many."""
        bounds = self._bounds

        def select(file: sqlite3.Connection) -> list[tuple[str, str]]:
            over = max(_measure(file)[1] - bounds.reports, 0)
            rows = file.execute(
                "SELECT namespace, id, ended_at FROM deliveries WHERE ended_at IS NOT NULL"
                " ORDER BY ended_at LIMIT ?",
                (_AT_ONCE,),
            ).fetchall()
            return [
                (namespace, name)
                for number, (namespace, name, ended_at) in enumerate(rows)
                if number < over or ended_at <= now - bounds.keep_s
            ]

        old = await self._read(select)
        if old:
            await self._write(lambda file: _forget(file, old))
        return await self._read(_measure)

    async def _take_up(self, now: float) -> Taken:
        """Read what an earlier process has left, or this one has added without an answer."""

        def select(file: sqlite3.Connection) -> tuple[list[Record], tuple[int, int, int]]:
            records = []
            for row in file.execute(f"{_SELECT} WHERE ended_at IS NULL").fetchall():
                try:
                    records.append(_record(file, *row))
                except msgspec.MsgspecError as error:
                    log.error("a delivery on the disk cannot be read, and is left there: %s", error)
            return records, _measure(file)

        self._has_read_all = True
        added, self._added = self._added, set()
        try:
            records, counts = await self._read(select)
        except BaseException:
            self._has_read_all = False
            self._added |= added
            raise
        left = [one for one in records if one.head.key not in added]
        return Taken(sorted(left, key=lambda one: one.head.accepted_at), False, *counts)

    async def release(self) -> None:
        """Do nothing: the next process reads the file."""

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._database.write(function)
        except StorageUnavailable as error:
            raise DeliveriesUnavailable(str(error), is_unsure=error.is_unsure) from None

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._database.read(function)
        except StorageUnavailable as error:
            raise DeliveriesUnavailable(str(error)) from None
        except msgspec.MsgspecError as error:  # a later version has written it
            raise DeliveriesUnavailable(f"a delivery on the disk cannot be read: {error}") from None


def _head(text: bytes) -> Head:
    return msgspec.json.decode(text, type=Head)


def _record(
    file: sqlite3.Connection, head: bytes, users: bytes, args: bytes, ended_at: float | None
) -> Record:
    found = _head(head)
    answers = file.execute(
        "SELECT user, at FROM delivery_answers WHERE namespace = ? AND id = ?", found.key
    )
    several = msgspec.json.decode(users, type=tuple[str, ...])
    return Record(found, several, args, dict(answers.fetchall()), ended_at)


def _find(file: sqlite3.Connection, key: Key) -> Record | None:
    row = file.execute(f"{_SELECT} WHERE namespace = ? AND id = ?", key).fetchone()
    return None if row is None else _record(file, *row)


def _measure(file: sqlite3.Connection) -> tuple[int, int, int]:
    """Return how many deliveries go on, how many have ended, and how many bytes all take."""
    going, ended, size = file.execute("SELECT going, ended, size FROM delivery_totals").fetchone()
    return going, ended, size


def _end(file: sqlite3.Connection, key: Key, at: float) -> None:
    file.execute(
        "UPDATE deliveries SET ended_at = ?, args = x''"
        " WHERE namespace = ? AND id = ? AND ended_at IS NULL",
        (at, *key),
    )


def _forget_oldest(file: sqlite3.Connection, count: int) -> int:
    oldest = file.execute(
        "SELECT namespace, id FROM deliveries WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?",
        (count,),
    ).fetchall()
    _forget(file, oldest)
    return len(oldest)


def _forget(file: sqlite3.Connection, keys: Iterable[tuple[str, str]]) -> None:
    several = list(keys)
    for table in ("deliveries", "delivery_answers"):
        file.executemany(f"DELETE FROM {table} WHERE namespace = ? AND id = ?", several)
