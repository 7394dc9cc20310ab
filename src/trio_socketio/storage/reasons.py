"""Says in plain words why SQLite could not do something."""

import sqlite3
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """Why SQLite has failed.

    Args:
        text: for whoever asked.
        advice: what to do if a file cannot be opened for this reason.
        is_by_size: whether a smaller change might have been made.
        is_of_caller: whether the statement is to blame, and neither the disk nor the file.
    """

    text: str
    advice: str = "look at the disk, and at what this user may do there"
    is_by_size: bool = False
    is_of_caller: bool = False


_LOCKED: Final = Reason(
    "the file is locked by another program", "end that program, or wait until it has finished"
)
_MOVE: Final = "to begin without what was kept there, move it away"
_REASONS: Final = {
    sqlite3.SQLITE_FULL: Reason("the disk is full", "free some of it", is_by_size=True),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: Reason("the file cannot be written, only read"),
    sqlite3.SQLITE_CANTOPEN: Reason("the file cannot be opened"),
    sqlite3.SQLITE_CORRUPT: Reason("the file is damaged", _MOVE),
    sqlite3.SQLITE_NOTADB: Reason("the file is not a database of SQLite", _MOVE),
    sqlite3.SQLITE_IOERR: Reason("the disk has failed to read or write"),
    sqlite3.SQLITE_NOMEM: Reason("there is not enough memory", "free some of it"),
    sqlite3.SQLITE_PERM: Reason("the file may not be opened"),
}


def explain(error: sqlite3.Error) -> Reason:
    """Return the reason of an error, in words; the code of SQLite follows if there is one."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module sqlite3 itself: a closed connection, a wrong argument
        return Reason(f"{type(error).__name__}: {error}", is_of_caller=True)
    known = _REASONS.get(code & 0xFF)  # the other bits of a code say more than is told here
    if known is None:
        return Reason(str(error), _MOVE, is_of_caller=True)  # as of tables of other programs
    return known._replace(text=f"{known.text} ({error.sqlite_errorname})")
