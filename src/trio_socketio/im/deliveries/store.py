"""Where deliveries are kept: what every store does."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from trio_socketio.errors import TrioSocketIOError
from trio_socketio.im.deliveries.record import Answer, Key, Line, Record


class DeliveriesUnavailable(TrioSocketIOError):
    """The store cannot be used now, or it is not known whether it has done what it was asked.

    Args:
        message: says why.
        is_forbidden: whether this node lacks the rights that it needs there.
        is_unsure: whether it may have done it; otherwise nothing was changed.
    """

    def __init__(self, message: str, *, is_forbidden: bool = False, is_unsure: bool = True) -> None:
        super().__init__(message)
        self.is_forbidden = is_forbidden
        self.is_unsure = is_unsure


class Full(NamedTuple):
    """There is no room for a delivery.

    Args:
        what: says which bound was met.
    """

    what: str


class Taken(NamedTuple):
    """What a node has to attend to.

    Args:
        records: deliveries that go on, and that nobody attends to, which this node takes over. It
            may attend to some of them already.
        was_lost: whether others may attend to those that were this node's before.
        was_emptied: whether that is so because the store has lost everything.
        open: how many deliveries go on, those of other nodes included.
        ended: how many reports are kept.
        size: about how many bytes all of them take.
    """

    records: list[Record]
    was_lost: bool
    open: int
    ended: int
    size: int
    was_emptied: bool = False


class Bounds(NamedTuple):
    """How much a store keeps.

    Args:
        open: how many deliveries may go on at a time.
        size: about how many bytes all of them may take, reports included.
        reports: how many deliveries that have ended are kept.
        keep_s: for how long they are.
    """

    open: int
    size: int
    reports: int
    keep_s: float

    def of_sender(self, sender: str | None) -> "Bounds":
        """Return what is kept for a sender: a quarter is for the backend alone (DELIV-29).

        Args:
            sender: the user; None means the backend.
        """
        if sender is None:
            return self
        return self._replace(open=self.open - self.open // 4, size=self.size - self.size // 4)


class DeliveryStore(Protocol):
    """Keeps deliveries until they have ended, and reports of them for a while after that.

    Each method takes effect as a whole or not at all. All of them raise DeliveriesUnavailable when
    the store cannot be used.
    """

    @property
    def is_shared(self) -> bool:
        """Whether all nodes use it."""

    @property
    def is_durable(self) -> bool:
        """Whether what it keeps outlives the program."""

    async def add(self, record: Record, now: float) -> Record | Full | None:
        """Keep a new delivery, to which this node attends.

        Reports are dropped for it, the oldest first, if there is too little room (DELIV-12).

        Returns:
            None if it is kept; the one that is known by its key; or why there is no room.
        """

    async def confirm(self, answers: Sequence[Answer]) -> None:
        """Note who has confirmed; a delivery that all users have confirmed has ended.

        Those who have confirmed before are not noted again, nor what comes after the end.
        """

    async def end(self, keys: Sequence[Key], now: float) -> None:
        """End deliveries, whoever has confirmed."""

    async def get(self, key: Key) -> Record | None:
        """Return a delivery; None if it is not known."""

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        """Return the deliveries of a namespace that follow an id, in the order of their ids."""

    async def take(self, now: float) -> Taken:
        """Take over deliveries that nobody attends to, and forget reports that are too old.

        Among them are those that this node has added without getting an answer; it may be long
        after they have expired that they are found (DELIV-48).

        It is called every second, which tells other nodes that this one is there.
        """

    async def release(self) -> None:
        """Leave the deliveries of this node to others: it ends."""
