"""Says in plain words why SQLite could not do something."""

import sqlite3
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """Why SQLite has failed.

    Args:
        text: for whoever asked.
        is_by_size: whether a smaller change might have been made.
        is_of_caller: whether the statement is to blame, and neither the disk nor the file.
    """

    text: str
    is_by_size: bool = False
    is_of_caller: bool = False


_REASONS: Final = {
    sqlite3.SQLITE_FULL: Reason("the disk is full", is_by_size=True),
    sqlite3.SQLITE_BUSY: Reason("the file is locked by another program"),
    sqlite3.SQLITE_LOCKED: Reason("the file is locked by another program"),
    sqlite3.SQLITE_READONLY: Reason("the file cannot be written, only read"),
    sqlite3.SQLITE_CANTOPEN: Reason("the file cannot be opened"),
    sqlite3.SQLITE_CORRUPT: Reason("the file is damaged"),
    sqlite3.SQLITE_NOTADB: Reason("the file is not a database of SQLite"),
    sqlite3.SQLITE_IOERR: Reason("the disk has failed to read or write"),
    sqlite3.SQLITE_NOMEM: Reason("there is not enough memory"),
    sqlite3.SQLITE_PERM: Reason("the file may not be opened"),
}


def explain(error: sqlite3.Error) -> Reason:
    """Return the reason of an error, in words; the code of SQLite follows if there is one."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module sqlite3 itself: a closed connection, a wrong argument
        return Reason(f"{type(error).__name__}: {error}", is_of_caller=True)
    known = _REASONS.get(code & 0xFF)  # the other bits of a code say more than is told here
    if known is None:
        return Reason(str(error), is_of_caller=True)
    return known._replace(text=f"{known.text} ({error.sqlite_errorname})")
