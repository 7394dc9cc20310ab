"""The definitions of namespaces on the disk of a single node."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import trio

from trio_socketio.errors import ConfigurationError, StorageUnavailable
from trio_socketio.im.namespaces.definition import NamespaceDefinition, decode_definition
from trio_socketio.im.namespaces.store import (
    MAX_NAMESPACES,
    MAX_TOTAL_BYTES,
    Change,
    DefinitionRefused,
    DefinitionsUnavailable,
    Listener,
    Stamp,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING: Final = 256
"""How many changes may wait for those before them."""

AGAIN_S: Final = 1.0
"""The wait before a disk is read again that may have made a change late."""

_UNSURE: Final = "the disk did not answer, and may have made a change that is not known here"

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS namespaces ("
    "name TEXT PRIMARY KEY, definition BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS namespace_revision ("
    "one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO namespace_revision VALUES (1, 0)",
)

COUNT: Final = "SELECT count(*) FROM namespaces"
"""Counts the definitions."""


class Disk(Protocol):
    """What is needed of a database; see storage.database."""

    def add_schema(self, *statements: str) -> None:
        """Add tables."""

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change."""

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Read."""


@dataclass(slots=True, eq=False)
class _Order:
    """A change that waits, and what becomes of it."""

    change: Change
    revision: int = 0
    error: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)


class DiskStore:
    """Keeps the definitions in SQLite.

    Its own task makes the changes, one after the other, so that one whose caller is cancelled has
    its effect, and none overtakes another.

    Args:
        database: has the tables.
    """

    where = "on this node"
    epoch = ""

    def __init__(self, database: Disk) -> None:
        database.add_schema(*SCHEMA)
        self.fault = "the namespaces have not been read yet"
        self._is_unsure = False  # the disk may have what this node was not told of
        self._database = database
        self._orders, self._waiting = trio.open_memory_channel[_Order](MAX_WAITING)

    async def change(self, change: Change) -> Stamp:
        if self.fault and not self._is_unsure:
            raise DefinitionsUnavailable(self.fault)
        order = _Order(change)
        try:
            self._orders.send_nowait(order)
        except trio.WouldBlock:
            raise DefinitionsUnavailable(f"{MAX_WAITING} changes wait for the disk") from None
        await order.done.wait()
        if order.error is not None:
            raise order.error
        return Stamp(self.epoch, order.revision)

    async def run(
        self,
        listener: Listener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Tell a listener of all definitions, and then of every change, until cancelled.

        Raises:
            ConfigurationError: they cannot be read when it starts.
        """
        try:
            listener.replace(*await self._read())
        except StorageUnavailable as error:
            raise ConfigurationError(f"the namespaces cannot be read from disk: {error}") from None
        self.fault = ""
        task_status.started()
        try:
            while True:
                order = await self._receive(listener)
                try:
                    if self._is_unsure:
                        await self._read_again(listener)
                    order.revision = await self._database.write(partial(_change, order.change))
                except StorageUnavailable as error:
                    if error.is_unsure:
                        self._is_unsure, self.fault = True, _UNSURE
                    order.error = DefinitionsUnavailable(str(error), is_unsure=error.is_unsure)
                except DefinitionRefused as error:
                    order.error = error
                else:
                    _tell(listener, order)
                finally:
                    if not order.revision and order.error is None:  # cancelled
                        order.error = DefinitionsUnavailable("the program ends", is_unsure=True)
                    order.done.set()
        finally:
            self._is_unsure, self.fault = False, "the program ends"
            self._end()

    async def _receive(self, listener: Listener) -> _Order:
        """Wait for the next change. Meanwhile, take what was written late (NSP-27)."""
        while self._is_unsure:
            with trio.move_on_after(AGAIN_S):
                return await self._waiting.receive()
            with suppress(StorageUnavailable):  # the fault says that already
                await self._read_again(listener)
        return await self._waiting.receive()

    async def _read_again(self, listener: Listener) -> None:
        # The thread of the database writes and reads in order, so nothing is written late any more.
        listener.replace(*await self._read())
        self._is_unsure, self.fault = False, ""

    def _end(self) -> None:
        """Refuse the changes that still wait."""
        while True:
            try:
                order = self._waiting.receive_nowait()
            except trio.WouldBlock:
                return
            order.error = DefinitionsUnavailable(self.fault)
            order.done.set()

    async def _read(self) -> tuple[dict[str, NamespaceDefinition], int]:
        rows, last = await self._database.read(_select)
        found = {}
        for name, data, revision in rows:
            try:
                found[name] = decode_definition(data, revision)
            except ValueError as error:
                log.error("the definition of the namespace %s cannot be read: %s", name, error)
        return found, last


def _tell(listener: Listener, order: _Order) -> None:
    change, revision = order.change, order.revision
    definition = decode_definition(change.definition, revision) if change.definition else None
    listener.change_one(change.name, definition, revision, change.reason)


def _select(connection: sqlite3.Connection) -> tuple[list[Any], int]:
    rows = connection.execute("SELECT name, definition, revision FROM namespaces").fetchall()
    (last,) = connection.execute("SELECT revision FROM namespace_revision").fetchone()
    return rows, last


def _change(change: Change, connection: sqlite3.Connection) -> int:
    """Make a change; return its revision. It runs in the thread of the database.

    Raises:
        DefinitionRefused: it cannot be made.
    """
    execute = connection.execute
    found = execute("SELECT revision FROM namespaces WHERE name = ?", (change.name,)).fetchone()
    if change.kind == "create" and found is not None:
        raise DefinitionRefused("exists")
    if change.kind != "create" and found is None:
        raise DefinitionRefused("missing")
    if change.expected is not None and found[0] != change.expected:
        raise DefinitionRefused("changed")
    execute("UPDATE namespace_revision SET revision = revision + 1")
    (revision,) = execute("SELECT revision FROM namespace_revision").fetchone()
    execute("DELETE FROM namespaces WHERE name = ?", (change.name,))
    if change.kind != "remove":
        row = (change.name, change.definition, revision)
        execute("INSERT INTO namespaces VALUES (?, ?, ?)", row)
        count, size = execute(
            "SELECT count(*), coalesce(sum(length(definition)), 0) FROM namespaces"
        ).fetchone()
        if count > MAX_NAMESPACES or size > MAX_TOTAL_BYTES:
            raise DefinitionRefused("full")
    assert isinstance(revision, int)
    return revision
