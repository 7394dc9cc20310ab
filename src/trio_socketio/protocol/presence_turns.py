"""Which node serves a group of readers of the presence log, and how far the group is.

A group has one turn. The node that holds it serves its members, and alone can move the position of
the group, which outlives every holder::

        take                  acknowledge, forget
    FREE ----> HELD by a boot --------+
      ^          |     ^              |
      +----------+     +--------------+
       give_back, or the boot is gone

A turn that was lost, because its boot was taken for gone, can move nothing any more: each turn has
a boot and a number, and what the holder of another one asks for is refused (FEED-62).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from trio_socketio.protocol.presence_cursor import Cursor

Place = tuple[str, str]
"""The name of a namespace, and that of a group in it."""

Alive = Callable[[str], bool]

MAX_GROUPS: Final = 1000
"""How many groups are known at a time, those without members included."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """The caller has the turn.

    Args:
        place: of the group.
        boot: of the caller.
        number: tells this turn from others of the boot.
        position: the last entry that the group has acknowledged; None if it has none yet.
        losses: how often the group had to give its position up.
        has_others: whether other boots wait.
    """

    place: Place
    boot: str
    number: int
    position: Cursor | None
    losses: int
    has_others: bool


class Busy(msgspec.Struct, frozen=True, gc=False):
    """Another boot has the turn, and the caller is among those that wait.

    Args:
        position: see Held.
        losses: see Held.
    """

    position: Cursor | None
    losses: int


class Crowded(msgspec.Struct, frozen=True, gc=False):
    """The group is not known, and all groups that are known have members."""


class Gone(msgspec.Struct, frozen=True, gc=False):
    """The boot of the caller has no lease, so it can have no turn."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """The turn is the caller's.

    Args:
        has_others: whether other boots wait.
        losses: see Held.
    """

    has_others: bool
    losses: int


class Lost(msgspec.Struct, frozen=True, gc=False):
    """The turn is not the caller's any more, so nothing was changed."""


@dataclass(slots=True, eq=False)
class _Group:
    position: Cursor | None = None
    holder: str = ""
    number: int = 0
    losses: int = 0
    touched: int = 0
    waiting: dict[str, None] = field(default_factory=dict)  # boots


class TurnBook:
    """The groups of all namespaces, and their turns.

    Args:
        max_groups: how many are known at a time.
    """

    def __init__(self, max_groups: int = MAX_GROUPS) -> None:
        self._max_groups = max_groups
        self._groups: dict[Place, _Group] = {}
        self._touched = 0

    def __len__(self) -> int:
        return len(self._groups)

    def take(
        self, place: Place, boot: str, number: int, alive: Alive, *, is_bounded: bool = True
    ) -> Held | Busy | Crowded | Gone:
        """Take the turn of a group, or wait for it.

        Args:
            place: of the group.
            boot: of the caller. What it holds already, it takes anew.
            number: another one each time.
            alive: whether a boot has a lease.
            is_bounded: whether max_groups holds.
        """
        if not alive(boot):
            return Gone()
        group = self._groups.get(place)
        if group is None:
            if is_bounded and len(self._groups) >= self._max_groups:
                # FEED-27
                idle = [one for one, of_place in self._groups.items() if _is_idle(of_place, alive)]
                if not idle:
                    return Crowded()
                del self._groups[min(idle, key=lambda one: self._groups[one].touched)]
            group = self._groups[place] = _Group()
        _prune(group, alive)
        if group.holder not in ("", boot) and alive(group.holder):  # FEED-61
            group.waiting[boot] = None
            return Busy(group.position, group.losses)
        group.waiting.pop(boot, None)
        group.holder, group.number = boot, number
        self._touch(group)
        return Held(place, boot, number, group.position, group.losses, bool(group.waiting))

    def acknowledge(self, turn: Held, position: Cursor | None, alive: Alive) -> Kept | Lost:
        """Move the position of a group.

        A boot that has no lease any more keeps its turn until another one takes it, so that a node
        that stops can still store how far it has come.

        Args:
            turn: of the caller.
            position: the last entry that is acknowledged; None leaves it as it is.
            alive: whether a boot has a lease.
        """
        group = self._held(turn)
        if group is None:
            return Lost()
        _prune(group, alive)
        if position is not None:
            group.position = position
        return Kept(bool(group.waiting), group.losses)

    def forget(self, turn: Held, alive: Alive) -> Kept | Lost:
        """Give the position of a group up, because the log cannot be read from it any more."""
        group = self._held(turn)
        if group is None:
            return Lost()
        _prune(group, alive)
        group.position = None
        group.losses += 1
        return Kept(bool(group.waiting), group.losses)

    def give_back(self, turn: Held, position: Cursor | None, alive: Alive, *, waits: bool) -> bool:
        """Have another boot take the turn; return whether one waits.

        Args:
            turn: of the caller. If it is lost, only its waiting is changed.
            position: the last entry that is acknowledged; None leaves it as it is.
            alive: whether a boot has a lease.
            waits: whether the caller is among those that wait from now on.
        """
        group = self._held(turn)
        if group is not None and position is not None:
            group.position = position
        return self._leave(turn.place, turn.boot, alive, frees=group is not None, waits=waits)

    def withdraw(self, place: Place, boot: str, alive: Alive) -> None:
        """Have no turn and wait for none, whatever the caller had been told."""
        group = self._groups.get(place)
        frees = group is not None and group.holder == boot
        self._leave(place, boot, alive, frees=frees, waits=False)

    def _leave(self, place: Place, boot: str, alive: Alive, *, frees: bool, waits: bool) -> bool:
        group = self._groups.get(place)
        if group is None:
            return False
        if frees:
            group.holder, group.number = "", 0
            self._touch(group)
        group.waiting.pop(boot, None)
        _prune(group, alive)
        others = bool(group.waiting)
        if waits and alive(boot):
            group.waiting[boot] = None
        if not group.waiting and not group.holder and group.position is None:
            del self._groups[place]  # there is nothing to remember
        return others

    def idle(self, alive: Alive) -> dict[Place, int]:
        """Return the groups without members, and when each was touched last, as a rising number."""
        return {
            place: group.touched for place, group in self._groups.items() if _is_idle(group, alive)
        }

    def discard(self, place: Place, touched: int, alive: Alive) -> None:
        """Drop a group that is without members, and was not touched meanwhile."""
        group = self._groups.get(place)
        if group is not None and group.touched == touched and _is_idle(group, alive):
            del self._groups[place]

    def _held(self, turn: Held) -> _Group | None:
        group = self._groups.get(turn.place)
        is_held = group is not None and (group.holder, group.number) == (turn.boot, turn.number)
        return group if is_held else None

    def _touch(self, group: _Group) -> None:
        self._touched += 1
        group.touched = self._touched


def _is_idle(group: _Group, alive: Alive) -> bool:
    """Whether no boot that is alive has members of a group."""
    return not any(alive(boot) for boot in (group.holder, *group.waiting) if boot)


def _prune(group: _Group, alive: Alive) -> None:
    for boot in [one for one in group.waiting if not alive(one)]:
        del group.waiting[boot]


class Idle:
    """Finds groups without members that may be dropped, because they are old enough (FEED-30).

    Each node goes by its own clock, and by what it has seen itself: how often a group was touched.

    Args:
        age_s: how long a group without members is kept.
    """

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._seen: dict[Place, tuple[int, float]] = {}

    def note(self, idle: dict[Place, int], now: float) -> dict[Place, int]:
        """Note which groups are without members now; return those that have been for age_s."""
        self._seen = {
            place: seen
            if (seen := self._seen.get(place, (touched, now)))[0] == touched
            else (touched, now)
            for place, touched in idle.items()
        }
        return {
            place: touched
            for place, (touched, since) in self._seen.items()
            if now - since >= self._age_s
        }
