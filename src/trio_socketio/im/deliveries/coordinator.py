"""The deliveries that this node attends to: to whom a copy has to be sent, and when."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import NamedTuple

from trio_socketio.im.deliveries.record import Answer, Key, Record
from trio_socketio.im.deliveries.store import DeliveryStore
from trio_socketio.protocol.delivery_life import DeliveryLife, State


class Attended(NamedTuple):
    """A delivery that this node attends to.

    Args:
        record: as it was accepted or taken over.
        life: who has yet to confirm.
        store: keeps it.
        number: in the order in which this node began to attend to them.
    """

    record: Record
    life: DeliveryLife
    store: DeliveryStore
    number: int


class Due(NamedTuple):
    """What has to be done now.

    Args:
        one: the delivery.
        users: who has to get a copy; nobody if the delivery is over.
        is_retry: whether they were sent one before.
    """

    one: Attended
    users: tuple[str, ...]
    is_retry: bool


class Load(NamedTuple):
    """What waits of the messages of a user.

    Args:
        messages: how many there are.
        size: about how many bytes they take.
    """

    messages: int
    size: int


class Coordinator:
    """Knows the deliveries of this node. It sends nothing, and waits for nothing."""

    def __init__(self) -> None:
        self._open: dict[Key, Attended] = {}
        self._of_user: dict[tuple[str, str], dict[Key, None]] = {}
        self._of_sender: dict[tuple[str, str], Load] = {}
        self._agenda: list[tuple[float, int, Key]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def count(self, store: DeliveryStore) -> int:
        """Return to how many deliveries of a store it attends."""
        return sum(one.store is store for one in self._open.values())

    def attend(self, record: Record, store: DeliveryStore, now: float) -> None:
        """Attend to a delivery, which is due at once."""
        head = record.head
        key = head.key
        if key in self._open:
            return
        users = [user for user in record.users if user not in record.confirmed]
        life = DeliveryLife(users, head.accepted_at, head.schedule_s, head.expires_at)
        number = next(self._numbers)
        self._open[key] = Attended(record, life, store, number)
        for user in users:
            self._of_user.setdefault((key.namespace, user), {})[key] = None
        self._load(record, 1)
        heappush(self._agenda, (now, number, key))

    def load(self, namespace: str, sender: str) -> Load:
        """Return what waits here of the messages that a user has sent."""
        return self._of_sender.get((namespace, sender), Load(0, 0))

    def next_at(self) -> float:
        """Return when something is due."""
        return self._agenda[0][0] if self._agenda else inf

    def take_due(self, now: float) -> Iterator[Due]:
        """Yield what is due, in the order in which this node began to attend to it."""
        while self._agenda and self._agenda[0][0] <= now:
            _, number, key = heappop(self._agenda)
            one = self._open.get(key)
            if one is None or one.number != number:  # it was confirmed by all, or given up
                continue
            is_retry = one.life.state is State.WAITING
            users = one.life.look(now)
            if one.life.is_over:
                self._remove(key)
            else:
                heappush(self._agenda, (one.life.next_at, number, key))
            yield Due(one, users, is_retry)

    def confirm(self, key: Key, user: str, at: float) -> tuple[Answer, DeliveryStore] | None:
        """Note that a user has confirmed; return what the store is to note if that is new."""
        one = self._open.get(key)
        if one is None or not one.life.confirm(user):
            return None
        self._forget_user(key, user)
        if one.life.is_over:
            self._remove(key)
        return Answer(key, user, at), one.store

    def waiting_for(self, namespace: str, user: str, now: float) -> list[Attended]:
        """Return the deliveries that a user has to confirm, in order.

        Those that are due, or over, are not among them: `take_due` yields them in a moment.
        """
        several = (self._open[key] for key in self._of_user.get((namespace, user), ()))
        return [
            one for one in several if one.life.state is State.WAITING and now < one.life.expires_at
        ]

    def give_up(self, store: DeliveryStore) -> list[Attended]:
        """Attend to nothing any more that a store keeps, as others may; return what it was."""
        return self._remove_all([one for one in self._open.values() if one.store is store])

    def end(self, namespace: str) -> list[Attended]:
        """Attend to nothing any more of a namespace; return what it was."""
        several = self._open.values()
        return self._remove_all([one for one in several if one.record.head.namespace == namespace])

    def _remove_all(self, several: list[Attended]) -> list[Attended]:
        for one in several:
            self._remove(one.record.head.key)
        self._clear_agenda()
        return several

    def _remove(self, key: Key) -> None:
        one = self._open.pop(key)
        self._load(one.record, -1)
        for user in one.life.pending:
            self._forget_user(key, user)
        if len(self._agenda) > 2 * len(self._open) + 1000:  # most are of those that are over
            self._clear_agenda()

    def _load(self, record: Record, sign: int) -> None:
        """Count a delivery for its sender, or count it no longer."""
        sender = record.head.sender
        if sender is None:
            return
        place = (record.head.namespace, sender)
        count, size = self.load(*place)
        if count + sign:
            size += sign * (record.size + len(record.args))
            self._of_sender[place] = Load(count + sign, size)
        else:
            del self._of_sender[place]

    def _clear_agenda(self) -> None:
        self._agenda = [entry for entry in self._agenda if entry[2] in self._open]
        heapify(self._agenda)

    def _forget_user(self, key: Key, user: str) -> None:
        place = (key.namespace, user)
        keys = self._of_user.get(place)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._of_user[place]
