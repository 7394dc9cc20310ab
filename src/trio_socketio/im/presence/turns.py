"""Turns: the interface by which nodes serve a group in turn, and the turns of one process."""

from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

import trio

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_turns import (
    MAX_GROUPS,
    Busy,
    Crowded,
    Gone,
    Held,
    Idle,
    Kept,
    Lost,
    Place,
    TurnBook,
)

GROUP_AGE_S: Final = 86_400.0
"""How long the position of a group is kept after its last member has left."""
POLL_S: Final = 1.0
"""The time after which a turn is looked at again, even if no change was reported."""


def _here() -> str:
    return "here"


class Turns(Protocol):
    """The turns of groups, for one node. TurnBook says what each call does.

    Several tasks of a node may ask about a group. The node may be told late, or never, that it has
    lost a turn; but then it can move the position of the group no more (FEED-62).

    Every async method may raise StoreUnavailable. It is then unknown whether the call has changed
    anything, and calling it again does no harm.
    """

    @property
    def boot(self) -> str:
        """The boot of the node, which holds its turns; empty while the node has none."""

    @property
    def known(self) -> int:
        """How many groups there are, as far as this node knows."""

    async def take(self, place: Place, *, is_bounded: bool = True) -> Held | Busy | Crowded | Gone:
        """Take the turn of a group, or wait for it."""

    async def acknowledge(self, turn: Held, position: Cursor | None = None) -> Kept | Lost:
        """Move the position of a group, or only ask whether the turn is still held."""

    async def forget(self, turn: Held) -> Kept | Lost:
        """Give up the position of a group."""

    async def give_back(self, turn: Held, position: Cursor | None, *, waits: bool) -> bool:
        """Give the turn back; return whether another boot waits for it."""

    async def withdraw(self, place: Place) -> None:
        """Neither have the turn nor wait for it, whatever was answered before."""

    async def wait_changed(self, place: Place) -> None:
        """Wait until something may have changed since the last call about a group, of any task.

        It returns after POLL_S if no change was reported.
        """


class TurnTable:
    """The turns within one process. Several servers of it may share them, as they share a store.

    Args:
        max_groups: how many groups are kept at most.
        age_s: how long a group without members is kept.
        alive: returns whether a boot still exists.
    """

    def __init__(
        self,
        max_groups: int = MAX_GROUPS,
        age_s: float = GROUP_AGE_S,
        alive: Callable[[str], bool] = bool,
    ) -> None:
        self.book = TurnBook(max_groups)
        self.alive = alive
        self._idle = Idle(age_s)
        self._news: dict[Place, set[trio.Event]] = {}

    def drop_old(self) -> None:
        """Drop the groups that have had no members for too long (FEED-30)."""
        idle = self.book.idle(self.alive)
        for place, touched in self._idle.note(idle, trio.current_time()).items():
            self.book.discard(place, touched, self.alive)

    def watch(self, place: Place) -> trio.Event:
        """Return an event that is set with the next change of a group."""
        event = trio.Event()
        self._news.setdefault(place, set()).add(event)
        return event

    def ignore(self, place: Place, event: trio.Event) -> None:
        """Stop watching."""
        events = self._news.get(place, set())
        events.discard(event)
        if not events:
            self._news.pop(place, None)

    def tell(self, place: Place) -> None:
        """Tell all who watch a group that it has changed."""
        for event in self._news.pop(place, ()):
            event.set()


class LocalTurns:
    """The turns of a server within its process.

    Each method changes things only after its one checkpoint: a cancelled call has changed nothing.

    Args:
        table: keeps the turns; by default no other server shares it.
        boot: returns the name of this server in the table.
    """

    def __init__(self, table: TurnTable | None = None, boot: Callable[[], str] = _here) -> None:
        self._table = TurnTable() if table is None else table
        self._boot = boot
        self._numbers = count(1)
        self._news: dict[Place, trio.Event] = {}

    @property
    def boot(self) -> str:
        return self._boot()

    @property
    def known(self) -> int:
        self._table.drop_old()
        return len(self._table.book)

    async def take(self, place: Place, *, is_bounded: bool = True) -> Held | Busy | Crowded | Gone:
        await trio.lowlevel.checkpoint()
        table = self._table
        table.drop_old()
        number = next(self._numbers)
        found = table.book.take(place, self.boot, number, table.alive, is_bounded=is_bounded)
        if isinstance(found, Busy):
            table.tell(place)  # so that the holder learns that somebody waits
        self._watch(place)
        return found

    async def acknowledge(self, turn: Held, position: Cursor | None = None) -> Kept | Lost:
        await trio.lowlevel.checkpoint()
        self._watch(turn.place)
        return self._table.book.acknowledge(turn, position, self._table.alive)

    async def forget(self, turn: Held) -> Kept | Lost:
        await trio.lowlevel.checkpoint()
        found = self._table.book.forget(turn, self._table.alive)
        self._table.tell(turn.place)
        self._watch(turn.place)
        return found

    async def give_back(self, turn: Held, position: Cursor | None, *, waits: bool) -> bool:
        await trio.lowlevel.checkpoint()
        table, place = self._table, turn.place
        others = table.book.give_back(turn, position, table.alive, waits=waits)
        table.drop_old()
        table.tell(place)
        if waits:
            self._watch(place)
        else:
            self._ignore(place)
        return others

    async def withdraw(self, place: Place) -> None:
        await trio.lowlevel.checkpoint()
        self._table.book.withdraw(place, self.boot, self._table.alive)
        self._table.drop_old()
        self._table.tell(place)
        self._ignore(place)

    async def wait_changed(self, place: Place) -> None:
        with trio.move_on_after(POLL_S):
            await self._watch(place, anew=False).wait()

    def _watch(self, place: Place, *, anew: bool = True) -> trio.Event:
        found = self._news.get(place)
        if found is None or (anew and found.is_set()):
            found = self._news[place] = self._table.watch(place)
        return found

    def _ignore(self, place: Place) -> None:
        found = self._news.pop(place, None)
        if found is not None:
            self._table.ignore(place, found)
