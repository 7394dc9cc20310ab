"""Groups of backends that share the work of a subscription: one works, the others stand by."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_cursor import Cursor

MAX_GROUPS: Final = 1000
"""How many groups are known at a time, those without members included."""
GROUP_AGE_S: Final = 86_400.0
"""How long the position of a group is kept after its last member has left."""

Member = TypeVar("Member")


class Group(Generic[Member]):
    """Members that take turns in reading the log of one namespace.

    Args:
        place: the name of the namespace, and that of the group.

    Attributes:
        acked: where the group is: what its active members have acknowledged. None if it is not
            known, so that the next member says where to begin.
        members: the active one stands first, and then those that wait, the oldest first.
        place: see above.
    """

    __slots__ = ("acked", "members", "place")

    def __init__(self, place: tuple[str, str]) -> None:
        self.place = place
        self.acked: Cursor | None = None
        self.members: dict[Member, None] = {}

    @property
    def active(self) -> Member | None:
        """The member that is sent entries."""
        return next(iter(self.members), None)

    @property
    def has_others(self) -> bool:
        """Whether anybody waits to take over."""
        return len(self.members) > 1


class Groups(Generic[Member]):
    """The groups by namespace and name.

    The position of a group outlives its members for GROUP_AGE_S. If a further group would be too
    many, the one that has had no members for the longest time is forgotten.

    Args:
        clock: seconds.
        max_groups: how many are known at a time.
        age_s: how long a group without members is known.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_groups: int = MAX_GROUPS,
        age_s: float = GROUP_AGE_S,
    ) -> None:
        self._clock = clock
        self._max_groups = max_groups
        self._age_s = age_s
        self._by_place: dict[tuple[str, str], Group[Member]] = {}
        self._left: OrderedDict[Group[Member], float] = OrderedDict()  # since when without members

    def __len__(self) -> int:
        self._forget_old()
        return len(self._by_place)

    def join(self, place: tuple[str, str], member: Member) -> Group[Member] | None:
        """Add a member to a group, behind the others.

        Args:
            place: the name of the namespace, and that of the group.
            member: comes once.
        Returns:
            The group; None if it would be a new one, and all that are known have members (FEED-27).
        """
        self._forget_old()
        group = self._by_place.get(place)
        if group is None:
            if len(self._by_place) >= self._max_groups:
                if not self._left:
                    return None
                self._forget(next(iter(self._left)))
            group = self._by_place[place] = Group(place)
        self._left.pop(group, None)
        group.members[member] = None
        return group

    def leave(self, group: Group[Member], member: Member) -> None:
        """Remove a member."""
        group.members.pop(member, None)
        if group.members:
            return
        if group.acked is None:  # there is nothing to remember
            self._forget(group)
        else:
            self._left[group] = self._clock()

    def _forget_old(self) -> None:
        before = self._clock() - self._age_s
        while self._left:
            group, since = next(iter(self._left.items()))
            if since > before:
                return
            self._forget(group)

    def _forget(self, group: Group[Member]) -> None:
        del self._by_place[group.place]
        self._left.pop(group, None)
