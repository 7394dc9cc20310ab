"""The books of a store in memory: one for each namespace, all together bounded."""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.protocol.presence_book import Book

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_log import EntryType

MAX_IDLE: Final = 1000
"""The number of namespaces without users that are remembered. Clients may make names up."""


class Shelf:
    """The book of one namespace, and those who wait for it to change.

    Attributes:
        book: the book.
        noted: the last sequence that note_changes has seen.
        readers: wait for more entries.
        waiting: wait for confirmations, by user.
        weight: of the log, as note_changes has seen it.
    """

    __slots__ = ("book", "noted", "readers", "waiting", "weight")

    def __init__(self, book: Book) -> None:
        self.book = book
        self.noted = 0
        self.weight = 0
        self.readers = trio.lowlevel.ParkingLot()
        self.waiting: dict[str, trio.lowlevel.ParkingLot] = {}

    @property
    def is_watched(self) -> bool:
        """Whether any task waits."""
        return bool(self.readers or self.waiting)


class Books:
    """The books by namespace.

    Args:
        generation: those of the books are greater.
        max_events: how many entries all logs together keep.
        max_bytes: about how many bytes they may take.

    Attributes:
        written: how many entries there have been, by type.
    """

    def __init__(self, generation: int, max_events: int, max_bytes: int) -> None:
        self._generation = generation
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._shelves: dict[str, Shelf] = {}
        self._idle: dict[str, None] = {}  # without users; the longest unused first
        self._written: deque[Shelf] = deque()  # that of every entry which is kept, oldest first
        self._weight = 0
        self.written: Counter[EntryType] = Counter()

    def __iter__(self) -> Iterator[Shelf]:
        return iter(self._shelves.values())

    def open(self, namespace: str) -> Shelf:
        """Return the shelf of a namespace, and make it if need be."""
        shelf = self._shelves.get(namespace)
        if shelf is None:
            # Each log has a generation of its own: none is taken for one that was forgotten.
            self._generation += 1
            shelf = self._shelves[namespace] = Shelf(Book(namespace, self._generation))
            self._rest(namespace)
        return shelf

    def note_changes(self, shelf: Shelf) -> None:
        """Keep the bounds, and wake those who wait for entries, after every change of a book."""
        namespace, book = shelf.book.namespace, shelf.book
        if written := book.log.head.sequence - shelf.noted:
            self.written.update(book.log.types_behind(shelf.noted))
            shelf.noted += written
            self._written.extend([shelf] * written)
            self._weigh(shelf)
            while len(self._written) > self._max_events or self._weight > self._max_bytes:
                self._drop_oldest()
            shelf.readers.unpark_all()
        self._idle.pop(namespace, None)
        if book.is_idle:
            self._rest(namespace)

    def end_waits(self) -> None:
        """Have those who wait for confirmations look again: a lease has ended."""
        for shelf in self._shelves.values():
            for lot in shelf.waiting.values():
                lot.unpark_all()

    def _drop_oldest(self) -> None:  # PRES-33
        shelf = self._written.popleft()
        shelf.book.log.drop_oldest()
        self._weigh(shelf)

    def _weigh(self, shelf: Shelf) -> None:
        self._weight += shelf.book.log.weight - shelf.weight
        shelf.weight = shelf.book.log.weight

    def _rest(self, namespace: str) -> None:
        """Note that a namespace has no users; forget others that have had none for long."""
        self._idle[namespace] = None
        excess = len(self._idle) - MAX_IDLE
        for name in tuple(islice(self._idle, excess)) if excess > 0 else ():
            del self._idle[name]
            if self._shelves[name].is_watched:
                self._idle[name] = None
            else:
                del self._shelves[name]
