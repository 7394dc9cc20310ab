"""A delivery as stores keep it."""

from typing import Final, Literal, NamedTuple

import msgspec

Outcome = Literal["open", "confirmed", "expired"]
"""What has become of a delivery: it goes on, all users have confirmed, or its time is over."""

_ENTRY_BYTES: Final = 128
"""About what a target takes in a store besides its names, and a delivery besides its texts."""


class Key(NamedTuple):
    """What names a delivery.

    Args:
        namespace: its namespace.
        id: the id of the message, by which clients tell a copy from a new message.
    """

    namespace: str
    id: str


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a delivery for as long as it is known. All times: seconds since 1970.

    Args:
        namespace: its namespace.
        id: of the message.
        event: the name of the event.
        sender: the user who has sent it; None means the backend.
        rooms: the rooms that it was sent to.
        accepted_at: when it was accepted.
        expires_at: when it ends.
        schedule_s: how long after it was accepted the retries follow.
        digest: of what was asked for, which tells a repeated call from another message.
        targets: how many users have to confirm.
        durable: whether it outlives the program.
    """

    namespace: str
    id: str
    event: str
    sender: str | None = None
    rooms: tuple[str, ...] = ()
    accepted_at: float
    expires_at: float
    schedule_s: tuple[float, ...]
    digest: str
    targets: int
    durable: bool = False

    @property
    def key(self) -> Key:
        """Its name."""
        return Key(self.namespace, self.id)


class Record(NamedTuple):
    """A delivery.

    Args:
        head: what is kept for as long as it is known.
        users: those who have to confirm.
        args: the arguments of the event, as a JSON array; empty when it has ended.
        confirmed: when each user has confirmed, for those who have.
        ended_at: when it has ended; None if it goes on.
    """

    head: Head
    users: tuple[str, ...]
    args: bytes
    confirmed: dict[str, float]
    ended_at: float | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes in a store, apart from its arguments."""
        names = sum(map(len, self.head.rooms)) + len(self.head.event)
        key = len(self.head.namespace) + len(self.head.id)
        users = sum(2 * len(user.encode()) + key + _ENTRY_BYTES for user in self.users)
        return names + key + users + _ENTRY_BYTES

    @property
    def outcome(self) -> Outcome:
        """What has become of it."""
        return outcome(self.head.targets - len(self.confirmed), self.ended_at)


class Line(NamedTuple):
    """A delivery in a list.

    Args:
        head: what is kept for as long as it is known.
        confirmed: how many users have confirmed.
        ended_at: when it has ended; None if it goes on.
    """

    head: Head
    confirmed: int
    ended_at: float | None

    @property
    def outcome(self) -> Outcome:
        """What has become of it."""
        return outcome(self.head.targets - self.confirmed, self.ended_at)


class Answer(NamedTuple):
    """A confirmation.

    Args:
        key: of the delivery.
        user: who has acknowledged it.
        at: when, seconds since 1970.
    """

    key: Key
    user: str
    at: float


def outcome(left: int, ended_at: float | None) -> Outcome:
    """Return what has become of a delivery that so many users have not confirmed."""
    if ended_at is None:
        return "open"
    return "expired" if left else "confirmed"
