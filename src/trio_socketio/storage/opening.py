"""Opens the file of a database: the folder, its lock, and the settings of SQLite."""

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
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


def check_usable(folder: Path) -> None:
    """Refuse a folder in which no file could be opened; nothing is made or changed there.

    Raises:
        ConfigurationError: it is one.
    """
    try:
        place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        is_folder = place.is_dir()
    except OSError as error:
        raise ConfigurationError(f"{str(folder)!r} cannot be used: {error.strerror}") from None
    if not is_folder:
        raise ConfigurationError(f"{str(place)!r} is not a folder")
    file = folder / FILE
    for path, rights in ((place, os.W_OK | os.X_OK), (file, os.W_OK)):
        # Not even root may write to a disk that is mounted for reading only.
        if path.exists() and not os.access(path, rights):
            raise ConfigurationError(f"this user may not write to {str(path)!r}")


class Opened:
    """A database that this program alone has open.

    Args:
        connection: of SQLite, in autocommit mode: its owner writes BEGIN and COMMIT.
        lock: the descriptor of the file that keeps other programs out.
        path: of the file.
    """

    def __init__(self, connection: sqlite3.Connection, lock: int, path: Path) -> None:
        self.connection = connection
        self._lock = lock
        # SQLite keeps what was committed last in a file beside it.
        self._files = {one: _identify(one) for one in (path, path.with_name(f"{path.name}-wal"))}

    def find_loss(self) -> str:
        """Return why what is written now would be lost; empty text if it is not (STATE-14).

        SQLite goes on to write to files that were moved away or deleted, and nobody reads them.
        """
        for path, identity in self._files.items():
            if identity is not None and _identify(path) != identity:
                return (
                    f"{path} was moved or deleted while it was in use: put it back, or restart the "
                    "server, which then begins with whatever is there"
                )
        return ""

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
        return Opened(_connect(folder / FILE, schema), lock, folder / FILE)
    except BaseException:
        os.close(lock)
        raise


def _identify(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def count_rows(folder: Path, statement: str) -> int | None:
    """Count what an earlier program has kept in a folder that is not used now.

    Args:
        folder: of the state.
        statement: returns the number.
    Returns:
        None if there is no file, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            found = connection.execute(statement).fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else int(found[0])


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
        why = explain(error)
        raise ConfigurationError(f"{path}: cannot be opened: {why.text}; {why.advice}") from None
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
