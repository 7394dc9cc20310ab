"""Positions in the presence log, which are the tokens of claims as well."""

import re
from typing import Final, NamedTuple

from trio_socketio.errors import RemoteProtocolError

MAX_PART: Final = 2**64 - 1
"""The largest generation or sequence, as in the id of an entry of a stream of Redis."""

_TEXT: Final = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})", re.ASCII).fullmatch


class Cursor(NamedTuple):
    """A position in the log of one namespace, in the order of the log; as text ``12-345``.

    The token of a claim is the cursor of the entry that the claim has written (PRES-02).

    Args:
        generation: tells one log from the next. A log that has lost its state begins another one.
        sequence: of the entry, from 1 in each generation; 0 stands before the first entry.
    """

    generation: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.sequence}"


def parse_cursor(text: str) -> Cursor:
    """Read a cursor from the only text that stands for it (PRES-03).

    Raises:
        RemoteProtocolError: it is not the text of a cursor.
    """
    found = _TEXT(text)
    if found is not None:
        cursor = Cursor(int(found[1]), int(found[2]))
        if cursor.generation <= MAX_PART and cursor.sequence <= MAX_PART:
            return cursor
    shown = text if len(text) <= 50 else f"{text[:50]}..."
    raise RemoteProtocolError(f"{shown!r} is not a cursor: it is GENERATION-SEQUENCE, two numbers")
