"""The SQLite file of a node: what is answered is there, and whoever fails fails alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio.errors import ConfigurationError, StorageUnavailable
from trio_socketio.storage import database as database_module
from trio_socketio.storage import opening
from trio_socketio.storage.database import Database
from trio_socketio.storage.opening import FILE, default_folder

TABLE: Final = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, value BLOB)"

WRITER: Final = """
import sys, trio
from pathlib import Path
from trio_socketio.storage.database import Database

async def main():
    database = Database(Path(sys.argv[1]))
    database.add_schema("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, value BLOB)")
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run)
        async def write(first):
            for number in range(first, 10**9, 8):
                await database.write(
                    lambda c: c.execute("INSERT INTO things VALUES (?, '')", (str(number),))
                )
                print(number, flush=True)
        for first in range(8):
            nursery.start_soon(write, first)

trio.run(main)
"""


@asynccontextmanager
async def open_database(folder: Path, **limits: int) -> AsyncIterator[Database]:
    database = Database(folder, **limits)
    database.add_schema(TABLE)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run)
        yield database
        nursery.cancel_scope.cancel()


def put(name: str, value: bytes = b"") -> Callable[[sqlite3.Connection], None]:
    def function(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things VALUES (?, ?)", (name, value))

    return function


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM things ORDER BY name")]


def kept(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / FILE)
    try:
        return names(connection)
    finally:
        connection.close()


class Held:
    """Holds the thread of a database in a call, until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.let_go.wait(10)


async def hold(nursery: trio.Nursery, database: Database) -> Held:
    held = Held()
    nursery.start_soon(database.read, held)
    await trio.to_thread.run_sync(held.entered.wait, 10)
    return held


@pytest.mark.req("STATE-01", "STATE-02")
@trio_test
async def test_what_was_answered_is_in_the_file(tmp_path: Path) -> None:
    async with open_database(tmp_path / "made" / "now") as database:
        await database.write(put("a"))
        assert kept(tmp_path / "made" / "now") == ["a"]
        assert await database.read(names) == ["a"]
        mode = await database.read(lambda c: c.execute("PRAGMA journal_mode").fetchone())
        full = await database.read(lambda c: c.execute("PRAGMA synchronous").fetchone())
        assert (mode, full) == (("wal",), (2,))
    async with open_database(tmp_path / "made" / "now") as database:
        assert await database.read(names) == ["a"]


@pytest.mark.req("STATE-10")
@trio_test
async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    async with open_database(tmp_path / "made") as database:
        await database.write(put("a"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()}
        assert set(modes.values()) == {0o600}
        assert {FILE, f"{FILE}-wal"} <= set(modes)
        assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


@pytest.mark.req("STATE-03")
@trio_test
async def test_writes_that_wait_share_a_commit(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database, trio.open_nursery() as nursery:
        held = await hold(nursery, database)
        for number in range(100):
            nursery.start_soon(database.write, put(str(number)))
        await wait_all_tasks_blocked()
        held.let_go.set()
        assert len(await database.read(names)) == 100
        found = database.statistics()
        assert (found.writes, found.commits, found.reads) == (100, 1, 2)
    assert len(kept(tmp_path)) == 100


@pytest.mark.req("STATE-04")
@trio_test
async def test_the_write_of_a_cancelled_caller_is_made(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database, trio.open_nursery() as nursery:
        held = await hold(nursery, database)
        with trio.move_on_after(0.05) as scope:
            await database.write(put("a"))
        assert scope.cancelled_caught
        held.let_go.set()
        assert await database.read(names) == ["a"]
        assert database.statistics().unattended == 1


@pytest.mark.req("STATE-05")
@trio_test
async def test_a_function_that_fails_is_undone_alone(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        put("half")(connection)
        raise KeyError("mine")

    errors: list[BaseException] = []

    async def expect(database: Database, function: Callable[[sqlite3.Connection], Any]) -> None:
        with pytest.raises((KeyError, sqlite3.Error)) as caught:
            await database.write(function)
        errors.append(caught.value)

    async with open_database(tmp_path) as database:
        async with trio.open_nursery() as nursery:
            held = await hold(nursery, database)
            nursery.start_soon(database.write, put("before"))
            await wait_all_tasks_blocked()
            nursery.start_soon(expect, database, fail)
            nursery.start_soon(expect, database, lambda c: c.execute("no such statement"))
            await wait_all_tasks_blocked()
            nursery.start_soon(database.write, put("then"))
            await wait_all_tasks_blocked()
            held.let_go.set()
        assert await database.read(names) == ["before", "then"]
        assert database.statistics().commits == 1
    assert {type(error) for error in errors} == {KeyError, sqlite3.OperationalError}


@trio_test
async def test_a_read_cannot_write_and_sees_one_moment(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        with pytest.raises(StorageUnavailable, match="cannot be written"):
            await database.read(put("a"))
        await database.write(put("b"))
        assert await database.read(names) == ["b"]


@pytest.mark.req("STATE-06")
@trio_test
async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async with open_database(tmp_path, max_waiting=3) as database, trio.open_nursery() as nursery:
        held = await hold(nursery, database)
        for name in "ab":
            nursery.start_soon(database.write, put(name))
        await wait_all_tasks_blocked()
        with pytest.raises(StorageUnavailable, match="3 calls wait for the disk already"):
            await database.write(put("c"))
        held.let_go.set()
    assert kept(tmp_path) == ["a", "b"]
    assert database.statistics().refused == 1


@pytest.mark.req("STATE-07")
@trio_test
async def test_a_full_disk_fails_only_what_does_not_fit(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        pages = await database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
        await database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").close())
        refused: list[str] = []

        async def write_much() -> None:
            with pytest.raises(StorageUnavailable) as caught:
                await database.write(put("much", bytes(1 << 20)))
            refused.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            held = await hold(nursery, database)
            nursery.start_soon(database.write, put("a"))
            nursery.start_soon(write_much)
            nursery.start_soon(database.write, put("b"))
            await wait_all_tasks_blocked()
            held.let_go.set()
        assert refused == ["the disk is full (SQLITE_FULL)"]
        assert await database.read(names) == ["a", "b"]
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 100000").close())
        await database.write(put("much", bytes(1 << 20)))
        assert database.statistics().failures == 1


@pytest.mark.req("STATE-08")
@trio_test
async def test_a_file_that_another_program_locks_fails_writes_and_not_reads(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        await database.write(put("a"))
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            start = trio.current_time()
            with pytest.raises(StorageUnavailable, match="locked by another program"):
                await database.write(put("b"))
            assert 0.9 < trio.current_time() - start < 3
            assert await database.read(names) == ["a"]
            other.execute("ROLLBACK")
            await database.write(put("b"))
        finally:
            other.close()
        assert await database.read(names) == ["a", "b"]


@pytest.mark.req("STATE-09")
@trio_test
async def test_a_disk_that_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "ANSWER_S", 0.1)
    async with open_database(tmp_path) as database, trio.open_nursery() as nursery:
        with pytest.raises(StorageUnavailable, match="did not answer within") as caught:
            await database.read(held := Held())
        assert not caught.value.is_unsure
        with pytest.raises(StorageUnavailable, match="it may be written later") as caught:
            await database.write(put("a"))
        assert caught.value.is_unsure
        held.let_go.set()
        nursery.start_soon(trio.sleep, 0)
    assert kept(tmp_path) == ["a"]


@pytest.mark.req("STATE-11")
@trio_test
async def test_the_end_waits_for_what_was_taken(tmp_path: Path) -> None:
    async with trio.open_nursery() as callers:
        async with open_database(tmp_path) as database:
            held = await hold(callers, database)
            for number in range(10):
                callers.start_soon(database.write, put(str(number)))
            await wait_all_tasks_blocked()
            threading.Timer(0.1, held.let_go.set).start()
        with pytest.raises(StorageUnavailable, match="is not open"):
            await database.write(put("late"))
    assert len(kept(tmp_path)) == 10


@pytest.mark.req("STATE-11")
@trio_test
async def test_the_end_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "END_S", 0.1)
    held = Held()
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as callers:
                async with open_database(tmp_path) as database:
                    callers.start_soon(database.read, held)
                    await trio.to_thread.run_sync(held.entered.wait, 10)
                callers.cancel_scope.cancel()
        assert "did not take what was to be written" in caplog.text
    finally:
        held.let_go.set()


@pytest.mark.req("STATE-14")
@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal"])
@trio_test
async def test_a_file_that_is_moved_away_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(database_module, "CALM_S", 0.0)
    async with open_database(tmp_path) as database:
        await database.write(put("a"))
        (tmp_path / name).rename(tmp_path / "elsewhere")
        with pytest.raises(StorageUnavailable, match="was moved or deleted while it was in use"):
            await database.write(put("b"))
        assert "was moved or deleted" in database.fault
        assert await database.read(names) == ["a"]
        (tmp_path / "elsewhere").rename(tmp_path / name)
        await database.write(put("c"))
        assert database.fault == ""
    assert kept(tmp_path) == ["a", "c"]


@pytest.mark.req("STATE-15")
@trio_test
async def test_it_is_told_when_the_file_cannot_be_written_and_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "BUSY_S", 0.1)
    async with open_database(tmp_path) as database:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await database.write(put("a"))
        assert "locked by another program" in database.fault
        assert caplog.text.count("cannot be written: the file is locked by another program") == 1
        other.close()
        await database.write(put("a"))
        assert database.fault, "a disk that is full has room for a little now and then"
        monkeypatch.setattr(database_module, "CALM_S", 0.0)
        await database.read(names)  # nobody writes, as nothing could be written
        assert database.fault == ""
        assert "can be written again" in caplog.text


@pytest.mark.req("STATE-13")
@trio_test
async def test_a_start_while_the_file_is_locked_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_S", 0.1)
    async with open_database(tmp_path):
        pass
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConfigurationError, match="end that program, or wait until it has fini"):
        opening.open_file(tmp_path, [TABLE])
    other.close()


@trio_test
async def test_what_is_in_a_folder_that_is_not_used_is_counted(tmp_path: Path) -> None:
    count = "SELECT count(*) FROM things"
    assert opening.count_rows(tmp_path, count) is None
    async with open_database(tmp_path) as database:
        await database.write(put("a"))
    assert opening.count_rows(tmp_path, count) == 1
    assert opening.count_rows(tmp_path, "SELECT 1 WHERE 0") is None
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    assert opening.count_rows(tmp_path, count) is None


def test_a_folder_is_checked_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    opening.check_usable(tmp_path / "a" / "b")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    for place in ("file", "file/folder"):
        with pytest.raises(ConfigurationError, match="file' is not a folder"):
            opening.check_usable(tmp_path / place)
    monkeypatch.setattr(os, "access", lambda path, rights: path != tmp_path)
    with pytest.raises(ConfigurationError, match="this user may not write to"):
        opening.check_usable(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="cannot be used: File name too long"):
        opening.check_usable(tmp_path / ("x" * 300))


@pytest.mark.req("STATE-12")
@trio_test
async def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        with pytest.raises(ExceptionGroup) as caught:
            async with open_database(tmp_path):
                pass
        (error,) = caught.value.exceptions
        assert isinstance(error, ConfigurationError)
        assert "another program keeps its state in" in str(error)
        await database.write(put("a"))


@pytest.mark.req("STATE-13")
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / FILE).write_bytes(b"no database" * 1000), "not a database"),
        (lambda folder: (folder / FILE).mkdir(), "Is a directory"),
        (lambda folder: sqlite_version(folder, 99), "a later version of trio-socketio"),
        (lambda folder: (folder / "state.lock").mkdir(), "cannot be used: Is a directory"),
    ],
)
@trio_test
async def test_a_file_that_cannot_be_used_ends_the_start(
    tmp_path: Path, spoil: Callable[[Path], Any], told: str
) -> None:
    spoil(tmp_path)
    with pytest.raises(ExceptionGroup) as caught:
        async with open_database(tmp_path):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, ConfigurationError)
    assert told in str(error)


def sqlite_version(folder: Path, version: int) -> None:
    connection = sqlite3.connect(folder / FILE)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.mark.req("STATE-13")
@trio_test
async def test_a_folder_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_database(tmp_path / "file" / "folder"):
            pass
    assert "cannot be used: Not a directory" in str(caught.value.exceptions[0])


def test_systemd_names_the_folder() -> None:
    assert default_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert default_folder({}) is None


@pytest.mark.req("STATE-02")
def test_a_killed_program_has_lost_nothing_that_was_answered(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline().strip() for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        answered += [line for line in process.stdout.read().split("\n")[:-1] if line]
    assert set(answered) <= set(kept(tmp_path))
