"""Opens the file of a database: the folder, its lock, and the settings of SQLite."""

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.storage.reasons import explain

FILE: Final = "state.sqlite3"
"""The name of the file in its folder."""

BUSY_S: Final = 1.0
"""How long SQLite waits for a file that another program has locked."""

_LOCK: Final = "state.lock"
_VERSION: Final = 1
"""Of the tables; a file of a later one is not opened."""


def default_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder that systemd has made for the state of the service; None without one."""
    folder = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else None


class Opened:
    """A database that this program alone has open.

    Args:
        connection: of SQLite, in autocommit mode: its owner writes BEGIN and COMMIT.
        lock: the descriptor of the file that keeps other programs out.
    """

    def __init__(self, connection: sqlite3.Connection, lock: int) -> None:
        self.connection = connection
        self._lock = lock

    def close(self) -> None:
        """Close the file, and let another program have the folder."""
        try:
            self.connection.close()
        finally:
            os.close(self._lock)  # after the file, so that the next owner finds it closed


def open_file(folder: Path, schema: Sequence[str]) -> Opened:
    """Open the file in a folder, which is made if it does not exist.

    Args:
        folder: of the state.
        schema: statements that make the tables that are missing.
    Raises:
        ConfigurationError: it cannot be opened, or another program has it open.
    """
    lock = _take_lock(folder)
    try:
        return Opened(_connect(folder / FILE, schema), lock)
    except BaseException:
        os.close(lock)
        raise


def _take_lock(folder: Path) -> int:
    """Keep other programs out of a folder: two of them would not see each other's changes."""
    path = folder / _LOCK
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(
            f"[state] folder: {str(folder)!r} cannot be used: {reason}; name a folder that this "
            "user may write to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigurationError(
            f"[state] folder: another program keeps its state in {str(folder)!r}: end it, or give "
            "each program a folder of its own"
        ) from None
    return lock


def _connect(path: Path, schema: Sequence[str]) -> sqlite3.Connection:
    try:
        # SQLite gives the files beside it the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # The thread that opens it has ended when another one begins to work with it.
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{path}: cannot be opened: {reason}") from None
    try:
        _prepare(connection, path, schema)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigurationError(
            f"{path}: cannot be opened: {explain(error).text}; to begin without what was kept "
            "there, move it away"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, schema: Sequence[str]) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > _VERSION:
        raise ConfigurationError(
            f"{path}: a later version of trio-socketio has written it: use that one, or move the "
            "file away"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was answered survives a power cut
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")
