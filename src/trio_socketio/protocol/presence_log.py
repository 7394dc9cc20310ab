"""The presence log of one namespace: who came and went, in the order in which it was so."""

from typing import Final, Literal

import msgspec

from trio_socketio.protocol.presence_cursor import Cursor

EntryType = Literal["online", "moved", "offline", "seat_added", "seat_removed"]

_ENTRY_BYTES: Final = 600
"""What an entry takes besides its texts of free length."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of the log (PRES-01).

    Args:
        cursor: its position in the log of the namespace.
        type: "online" is a user's first seat, "offline" the end of the last one; "seat_added" and
            "seat_removed" are seats between those. "moved" is a seat that another client has got.
        namespace: its name.
        user: the user.
        id: the public id of the client whose seat it is, or was.
        node: the name of the client's node.
        boot: the incarnation of that node.
        token: of the claim that was made; on "offline" and "seat_removed", of the one that ended.
        prev: the token that a "moved" replaces; otherwise None.
        reason: why a seat has ended or moved; None on "online" and "seat_added".
        unconfirmed: of a claim with a fast takeover: it was made before another node had confirmed
            that an older client of the user is out, and does not depend on that.
        at: when it was written, in seconds since 1970.
    """

    cursor: str
    type: EntryType
    namespace: str
    user: str
    id: str
    node: str
    boot: str
    token: str
    prev: str | None = None
    reason: str | None = None
    unconfirmed: bool = False
    at: float


class Entries(msgspec.Struct, frozen=True, gc=False):
    """A part of the log.

    Args:
        entries: in order; none if the cursor was at the end.
        cursor: of the last of them, or the one that was asked with: read on from there.
        head: of the last entry of the log.
    """

    entries: tuple[Entry, ...]
    cursor: Cursor
    head: Cursor


class CursorExpired(msgspec.Struct, frozen=True, gc=False):
    """Entries behind the cursor are no longer kept: go on from a snapshot.

    Args:
        oldest: the oldest cursor that can be read from.
        head: of the last entry of the log.
    """

    oldest: Cursor
    head: Cursor


class GenerationChanged(msgspec.Struct, frozen=True, gc=False):
    """The cursor belongs to another log: go on from a snapshot.

    Args:
        head: of the last entry of the present log.
    """

    head: Cursor


class Log:
    """The entries of one namespace and one generation.

    Args:
        generation: of all its entries.

    Attributes:
        head: the cursor of the last entry.
        weight: about how many bytes the entries take that are kept.
    """

    __slots__ = ("_entries", "_oldest", "head", "weight")

    def __init__(self, generation: int) -> None:
        self.head = Cursor(generation, 0)
        self.weight = 0
        self._entries: dict[int, Entry] = {}  # by sequence, without a gap
        self._oldest = 1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> Cursor:
        """The oldest cursor that can be read from."""
        return Cursor(self.head.generation, self._oldest - 1)

    def next_cursor(self) -> Cursor:
        """Return the cursor of the entry that will be written next."""
        return Cursor(self.head.generation, self.head.sequence + 1)

    def append(self, cursor: Cursor, entry: Entry) -> None:
        """Write an entry.

        Args:
            cursor: of the entry, as next_cursor has returned it.
            entry: the entry.
        """
        self.head = cursor
        self._entries[cursor.sequence] = entry
        self.weight += weigh(entry)

    def drop_oldest(self) -> None:
        """Keep the oldest entry no longer."""
        self.weight -= weigh(self._entries.pop(self._oldest))
        self._oldest += 1

    def types_behind(self, sequence: int) -> list[EntryType]:
        """Return the types of the entries behind a sequence, all of which are still kept."""
        numbers = range(sequence + 1, self.head.sequence + 1)
        return [self._entries[number].type for number in numbers]

    def read(self, cursor: Cursor, limit: int) -> Entries | CursorExpired | GenerationChanged:
        """Return the entries behind a cursor, at most limit of them (PRES-30, PRES-31, PRES-32).

        A cursor of the same generation that is ahead of the log is not one of this log either: the
        store has lost what came before it.
        """
        head = self.head
        if cursor.generation != head.generation or cursor > head:
            return GenerationChanged(head)
        if cursor < self.oldest:
            return CursorExpired(self.oldest, head)
        last = min(cursor.sequence + limit, head.sequence)
        found = tuple(self._entries[number] for number in range(cursor.sequence + 1, last + 1))
        return Entries(found, Cursor(head.generation, last), head)


def weigh(entry: Entry) -> int:
    """Return about how many bytes an entry takes."""
    texts = len(entry.user) + len(entry.reason or "")
    return _ENTRY_BYTES + 4 * texts
