"""The answers of the methods presence.*, as the control socket describes them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from trio_socketio.protocol.presence_log import Entry

Rebuilding = Annotated[
    bool,
    Meta(
        description="whether the store has lost claims and users may be missing whose nodes have "
        "yet to say that they are online; left out if not."
    ),
]


class ShownSeat(msgspec.Struct, frozen=True, kw_only=True):
    """A client of a user.

    Args:
        token: of the claim; the entry of the log that tells of its end has the same.
        id: the public id of the client's socket.
        node: the name of the client's node.
        boot: the incarnation of that node.
        at: when the seat was taken, in seconds since 1970.
    """

    token: str
    id: str
    node: str
    boot: str
    at: float


class OnlineUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user that is online.

    Args:
        user: the id of the user.
        seats: of the user's clients, oldest first.
    """

    user: str
    seats: list[ShownSeat]


class MissingOnline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; an empty list is left out.

    Args:
        users: these are not online.
    """

    users: list[str] = []


class Online(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The users of a call that are online.

    Args:
        users: in the order of the call.
        missing: the names in the call that do not exist.
        cursor: where in the log this was so.
    """

    users: list[OnlineUser]
    missing: MissingOnline
    cursor: str
    rebuilding: Rebuilding = False


class OnlineCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many are online.

    Args:
        users: the number of users, each counted once.
        cursor: where in the log this was so: subscribe with it, and each entry of the type online
            adds one, each offline takes one away.
    """

    users: int
    cursor: str
    rebuilding: Rebuilding = False


class OnlinePage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the users that are online.

    Args:
        users: in the order of their ids.
        next: the value of after for the next page; null if this is the last one.
        cursor: where in the log this page was so.
    """

    users: list[OnlineUser]
    next: str | None
    cursor: str
    rebuilding: Rebuilding = False


class SnapshotPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a snapshot, which is exact once the log was followed up to a cursor.

    Args:
        users: in the order of their ids.
        next: the value of after for the next page; null if this is the last one.
        cursor: of the first page, on every page: go on from here. Of the entries that follow, some
            are in later pages already. To fold them again changes nothing: online, moved and
            seat_added add the seat token, moved removes the seat prev, offline and seat_removed
            remove the seat token.
        exact_at: where in the log this page was so. When the entry with the exact_at of the last
            page was folded, those online are exactly those that were.
    """

    users: list[OnlineUser]
    next: str | None
    cursor: str
    exact_at: str
    rebuilding: Rebuilding = False


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the presence log.

    Args:
        entries: in order, as backend.presence sends them.
        cursor: of the last of them, or the one that was asked with: read on from there.
        head: of the last entry of the log.
    """

    entries: list[Entry]
    cursor: str
    head: str


class Subscribed(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription.

    Args:
        subscription: its number, unique while the server runs.
        cursor: where it begins: entries behind this one will be sent.
        active: whether entries are sent to it; false while another member of its group is active.
    """

    subscription: int
    cursor: str
    active: bool


class Acked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an acknowledgement.

    Args:
        cursor: the last entry that is acknowledged.
        in_flight: how many entries were sent and are not.
    """

    cursor: str
    in_flight: int


class Unsubscribed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ending a subscription.

    Args:
        done: whether there was one of this number.
    """

    done: bool
