"""The part of a group of backends that is connected to this node."""

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from trio_socketio.control.failures import store_unavailable
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.store import StoreUnavailable

if TYPE_CHECKING:
    from trio_socketio.im.presence.turns import Turns
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.protocol.presence_turns import Held, Place

Member = TypeVar("Member")


class Position:
    """Where a group is, and how much of that is stored.

    Attributes:
        acked: the last cursor that an active member has acknowledged. None if it is not known; then
            the next member says where to begin.
        is_lost: whether acked was given up, and the store does not know this yet.
        losses: how often the position was given up, as far as this node knows; None if it does not.
        stored: the last value of acked that is known to be stored.
    """

    __slots__ = ("_reached", "acked", "is_lost", "losses", "stored")

    def __init__(self) -> None:
        self.acked: Cursor | None = None
        self.stored: Cursor | None = None
        self.is_lost = False
        self.losses: int | None = None
        self._reached: Cursor | None = None

    @property
    def news(self) -> "Cursor | None":
        """The position that is still to be stored, if there is one."""
        return None if self.acked == self.stored else self.acked

    def note_stored(self, cursor: "Cursor | None") -> None:
        """Note the position that is stored."""
        self.stored = cursor
        if cursor is not None:
            self._reached = cursor

    def has_reached(self, cursor: "Cursor") -> bool:
        """Whether an acknowledgement was stored, even if the position was given up since then."""
        reached = self._reached
        return reached is not None and reached.generation == cursor.generation and reached >= cursor


class Answers:
    """Wakes members that wait until something about their group is known, or stored.

    Attributes:
        failures: how often the store has not answered.
        is_known: whether it is known who has the turn, and where the group is.
    """

    __slots__ = ("_come", "_fault", "_refusal", "_refusals", "failures", "is_known")

    def __init__(self) -> None:
        self.failures = 0
        self.is_known = False
        self._fault = ""
        self._refusal: ControlError | None = None  # the last one
        self._refusals = 0
        self._come = trio.Event()

    def tell(self) -> None:
        """Wake all who wait, to look again."""
        self._come.set()
        self._come = trio.Event()

    def refuse(self, error: ControlError) -> None:
        """Refuse all who wait in `wait_known`."""
        self._refusal = error
        self._refusals += 1
        self.tell()

    def fail(self, error: StoreUnavailable) -> None:
        """Note that the store has not answered."""
        self._fault = str(error)
        self.failures += 1
        self.refuse(store_unavailable(f"the presence store is not available: {error}"))

    async def wait_known(self) -> None:
        """Wait until it is known who has the turn, and where the group is.

        Raises:
            ControlError: this cannot be found out.
        """
        refusals = self._refusals
        while not self.is_known:
            await self._come.wait()
            error = self._refusal
            if error is not None and self._refusals != refusals:  # each raises its own exception
                raise ControlError(error.code, error.message, error.data)

    async def wait(self, failures: int) -> None:
        """Wait until anything has changed.

        Args:
            failures: their number when the caller began to wait.
        Raises:
            StoreUnavailable: the store has failed since then.
        """
        if self.failures != failures:
            raise StoreUnavailable(self._fault)
        await self._come.wait()


class Group(Generic[Member]):
    """The members of a group that are connected to this node, and its turn.

    Args:
        place: the name of the namespace, and that of the group.

    Attributes:
        answers: wakes members that wait.
        members: the active member first, and then those that wait, the oldest first.
        others: whether members on other nodes wait.
        place: see above.
        position: where the group is.
        turn: the turn of this node; None while another node has it, or it is not known which.
        waits: whether the store may believe that this node waits for the turn, or has it.
        yields: whether the turn goes to another node before the next member here is active.
    """

    __slots__ = (
        "_is_poked",
        "_scope",
        "answers",
        "members",
        "others",
        "place",
        "position",
        "turn",
        "waits",
        "yields",
    )

    def __init__(self, place: "Place") -> None:
        self.place = place
        self.members: dict[Member, None] = {}
        self.position = Position()
        self.answers = Answers()
        self.turn: Held | None = None
        self.others = False
        self.waits = False
        self.yields = False
        self._scope: trio.CancelScope | None = None
        self._is_poked = False

    @property
    def acked(self) -> "Cursor | None":
        """The position of the group; None if the next member has to say where to begin."""
        return self.position.acked

    @property
    def active(self) -> Member | None:
        """The member that is sent entries, or will be once this node has the turn."""
        return next(iter(self.members), None)

    @property
    def has_others(self) -> bool:
        """Whether anybody waits to take over."""
        return self.others or len(self.members) > 1

    # -- the task of the group

    def poke(self) -> None:
        """Have the task look at what has changed on this node."""
        self._is_poked = True
        if self._scope is not None:
            self._scope.cancel()

    def look(self) -> None:
        """Note that the task is looking."""
        self._is_poked = False

    async def pause(self, turns: "Turns") -> None:
        """Have the task wait until something has changed, here or on another node."""
        with trio.CancelScope() as self._scope:
            if not self._is_poked:
                await turns.wait_changed(self.place)
        self._scope = None

    # -- what members do

    def move(self, cursor: "Cursor | None") -> None:
        """Note a new position of the group; None gives the position up."""
        if cursor != self.position.acked:
            self.position.acked = cursor
            self.position.is_lost = self.position.is_lost or cursor is None
            self.poke()

    async def wait_known(self) -> None:
        """Wait until it is known who has the turn, and where the group is.

        Raises:
            ControlError: this cannot be found out.
        """
        if self.turn is None or self.yields:  # what was known may be out of date
            self.answers.is_known = False
            self.poke()
        await self.answers.wait_known()

    async def begin_at(self, cursor: "Cursor") -> None:
        """Have a group without a position begin at a cursor, and wait until that is stored.

        Raises:
            StoreUnavailable: the store has not answered.
        """
        if self.turn is not None:
            self.move(cursor)
            await self.wait_stored(cursor)

    async def wait_stored(self, cursor: "Cursor") -> bool:
        """Wait until an acknowledgement is stored; return False if the turn was lost.

        Raises:
            StoreUnavailable: the store has not answered. It will be asked again.
        """
        turn, failures = self.turn, self.answers.failures
        while not self.position.has_reached(cursor):
            if self.turn is not turn:
                return False
            await self.answers.wait(failures)
        return True
