"""Groups of backends that share the work of a subscription: one works, the others stand by.

Members may be connected to several nodes. Each node has a queue of its own members, and one task
for each group. The task takes the turn of the group, keeps the position of the group while it has
the turn, and gives the turn back (see turns.py).
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, Protocol

import trio

from trio_socketio.control.failures import overloaded, store_unavailable, unavailable
from trio_socketio.im.presence.group import Group, Member
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.im.presence.turns import Turns
from trio_socketio.protocol.presence_turns import Busy, Crowded, Held, Kept, Lost, Place

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_cursor import Cursor

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""The time between two attempts to reach a store that is not available."""
END_S: Final = 1.0
"""How long a feed that ends tries to give its turns back."""


class Feed(Protocol[Member]):
    """What groups need of the feed that has their members."""

    def run_next(self, group: Group[Member]) -> None:
        """Start the next member, because this node has the turn."""

    async def check_lost(self, group: Group[Member], position: "Cursor") -> bool:
        """End the waiting members if the log can no longer be read from a position.

        Returns:
            Whether it cannot.
        Raises:
            StoreUnavailable: that cannot be found out now.
        """


class Deliveries(Protocol[Member]):
    """What groups need of the part that sends entries to active members."""

    def suspend(self, group: Group[Member]) -> None:
        """Send the active member nothing more, because the turn is lost: the member waits again."""

    def watch_others(self, group: Group[Member]) -> None:
        """Decide again whether the active member has to acknowledge in time."""


class Groups(Generic[Member]):
    """The groups that have members on this node, by namespace and name.

    Args:
        turns: the turns of the groups.
        feed: the feed that has the members.
        deliveries: sends entries to active members.

    Attributes:
        turns: see above.
    """

    def __init__(self, turns: Turns, feed: Feed[Member], deliveries: Deliveries[Member]) -> None:
        self.turns = turns
        self._feed = feed
        self._deliveries = deliveries
        self._by_place: dict[Place, Group[Member]] = {}
        self._is_away = False

    def __len__(self) -> int:
        return self.turns.known

    def join(self, place: Place, member: Member, start: Callable[..., None]) -> Group[Member]:
        """Add a member to a group, behind the others.

        Args:
            place: the name of the namespace, and that of the group.
            member: has not joined before.
            start: starts a task.
        """
        group = self._by_place.get(place)
        if group is None:
            group = self._by_place[place] = Group(place)
            start(self._serve, group)
        group.members[member] = None
        return group

    def leave(self, group: Group[Member], member: Member) -> None:
        """Remove a member."""
        group.members.pop(member, None)
        group.poke()

    # -- the task of a group

    async def _serve(self, group: Group[Member]) -> None:
        try:
            while group.members or group.turn is not None or group.waits:
                group.look()
                try:
                    if group.turn is not None:
                        await self._keep(group, group.turn)
                    elif group.members:
                        await self._take(group)
                    else:
                        await self.turns.withdraw(group.place)
                        group.waits = False
                    self._note_answer()
                except StoreUnavailable as error:
                    await self._wait_for_store(group, error)
        finally:
            del self._by_place[group.place]
            group.answers.refuse(unavailable("the presence feed has ended"))
            if group.turn is not None or group.waits:
                await self._end(group)

    async def _take(self, group: Group[Member]) -> None:
        group.waits = True  # or it has the turn: the answer may be lost
        found = await self.turns.take(group.place)
        if isinstance(found, Held):
            await self._note_position(group, found)
            group.turn, group.others, group.waits = found, found.has_others, False
            group.position.is_lost = group.yields = False
            self._make_known(group)
            self._feed.run_next(group)
        elif isinstance(found, Busy):
            await self._note_position(group, found)
            self._make_known(group)
            await group.pause(self.turns)
        else:
            if isinstance(found, Crowded):  # FEED-27
                error = overloaded("too many groups of subscriptions have members", 60_000)
            else:
                error = store_unavailable("this node has no lease at the moment, so no turns")
            group.waits = False
            group.answers.refuse(error)
            await group.pause(self.turns)

    async def _note_position(self, group: Group[Member], found: Held | Busy) -> None:
        """Note where the group is, and whether it had to give up where it was (FEED-31)."""
        position, before = group.position, group.acked
        if before is not None and position.losses not in (None, found.losses):
            before = None if await self._feed.check_lost(group, before) else before
        position.losses = found.losses
        position.note_stored(found.position)
        # If the store has lost the position of the group, it is given the last one known here.
        position.acked = before if found.position is None else found.position

    def _make_known(self, group: Group[Member]) -> None:
        group.answers.is_known = True
        group.answers.tell()

    async def _keep(self, group: Group[Member], turn: Held) -> None:
        """Store the position of the group, and give the turn back if it is to go to others."""
        position = group.position
        if self.turns.boot not in ("", turn.boot):  # FEED-65: the old boot is dead
            self._lose(group)
            return
        if position.is_lost:
            forgotten = await self.turns.forget(turn)
            if isinstance(forgotten, Lost):
                self._lose(group)
                return
            position.is_lost, position.losses = False, forgotten.losses
            position.note_stored(None)
        acked, news = position.acked, position.news
        leaves = group.yields or not group.members
        if news is not None or not leaves:  # stored before leaving, so that a loss is noticed
            found = await self.turns.acknowledge(turn, news)
            if isinstance(found, Lost):
                self._lose(group)
                return
            position.note_stored(acked)
            self._note_others(group, found)
            group.answers.tell()
        if leaves:
            await self._give_back(group, turn)
        else:
            await group.pause(self.turns)

    def _note_others(self, group: Group[Member], found: Kept) -> None:
        if found.has_others != group.others:
            group.others = found.has_others
            self._deliveries.watch_others(group)

    async def _give_back(self, group: Group[Member], turn: Held) -> None:
        group.yields = True  # members that join now wait for the next turn
        waits = bool(group.members)
        others = await self.turns.give_back(turn, None, waits=waits)
        group.turn, group.waits, group.yields = None, waits, False
        group.answers.tell()
        if others and waits:
            await group.pause(self.turns)  # the others come first (FEED-63)

    def _lose(self, group: Group[Member]) -> None:
        """Note that the turn is lost, so that members wait again (FEED-62)."""
        log.warning(
            "presence: the group %r of %s has lost its turn on this node; its member waits again",
            group.place[1],
            group.place[0],
        )
        group.turn = None
        group.others = group.yields = group.position.is_lost = False
        group.position.acked = group.position.stored
        group.answers.tell()
        self._deliveries.suspend(group)

    async def _wait_for_store(self, group: Group[Member], error: StoreUnavailable) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("presence: groups of subscriptions wait for the store: %s", error)
        group.answers.fail(error)
        await trio.sleep(RETRY_S)

    def _note_answer(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("presence: groups of subscriptions go on")

    async def _end(self, group: Group[Member]) -> None:
        """Let other nodes go on at once when the feed ends; otherwise they notice only later."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + END_S):
            try:
                if group.turn is None:
                    await self.turns.withdraw(group.place)
                else:
                    await self.turns.give_back(group.turn, group.position.news, waits=False)
            except StoreUnavailable as error:
                log.warning("presence: the group %r keeps its turn: %s", group.place[1], error)
