"""The requests to a presence store, and its answers."""

from enum import auto
from typing import Final, Literal

import msgspec

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.tables import Name

Policy = Literal["newest", "reject", "many"]
"""The winner when a user logs in again: the new client, the old one, or both."""

Takeover = Literal["strict", "fast"]
"""Whether a new client may enter before the node of the old one has put that out."""

ALREADY_CONNECTED: Final = "already connected"
TOO_MANY_SEATS: Final = "too many sessions"
SEAT_TAKEN: Final = "seat taken"

KICKED: Final = "kicked"
NODE_LOST: Final = "node_lost"
RECOVERED: Final = "recovered"
REPLACED: Final = "replaced"


class Renewal(Name):
    """The result of asking for a longer lease."""

    RENEWED = auto()
    REBUILD = auto()  # the store has lost claims, and the node has to reassert all that it has
    ENDED = auto()  # for good: the node has to enroll under another boot


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A client asks for a seat.

    Args:
        namespace: its name.
        user: who the client is.
        id: the public id of the client's socket.
        node: the name of the client's node.
        boot: the incarnation of that node; it holds a lease.
        attempt: names this claim; the boot never uses it for another one. A store that is asked
            again, because an answer was lost, gives the same answer.
        policy: of the namespace.
        maximum: how many seats a user may have, with the policy "many".
        takeover: see Takeover.
        recovers: whether the client goes on with a socket of the same id that it has lost.
    """

    namespace: str
    user: str
    id: str
    node: str
    boot: str
    attempt: int
    policy: Policy = "newest"
    maximum: int = 1
    takeover: Takeover = "strict"
    recovers: bool = False


class ClaimRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Names a claim that its node wants to end.

    Args:
        namespace: its name.
        user: the user.
        boot: that made the claim.
        attempt: of the request.
        token: of the claim; None if the answer was lost, and with it whether there is one.
    """

    namespace: str
    user: str
    boot: str
    attempt: int
    token: Cursor | None


class Seat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A client that is online.

    Args:
        token: of its claim.
        id: the public id of its socket.
        node: the name of its node.
        boot: the incarnation of that node.
        attempt: of the request.
        at: when it was claimed, in seconds since 1970.
    """

    token: Cursor
    id: str
    node: str
    boot: str
    attempt: int
    at: float


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node has to put a client out whose claim was ended by others, and to confirm that.

    Args:
        namespace: its name.
        user: the user.
        boot: the node that this is for.
        attempt: of the claim.
        token: of the claim.
        reason: "replaced", "recovered" or "kicked".
    """

    namespace: str
    user: str
    boot: str
    attempt: int
    token: Cursor
    reason: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The client has the seat.

    Args:
        token: of the claim.
        orders: for the node of the claim itself: it puts these clients out before the new one may
            enter.
        awaits: the tokens of claims that other nodes have yet to confirm as put out.
    """

    token: Cursor
    orders: tuple[Order, ...]
    awaits: tuple[Cursor, ...]


class Taken(msgspec.Struct, frozen=True, gc=False):
    """The client does not get a seat, and nothing was changed.

    Args:
        reason: ALREADY_CONNECTED, TOO_MANY_SEATS or SEAT_TAKEN.
        cursor: where in the log this was so.
    """

    reason: str
    cursor: Cursor


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """The lease of the boot has ended, so nothing was changed."""


class Released(msgspec.Struct, frozen=True, gc=False):
    """The claim has ended.

    Args:
        cursor: of the entry that says so.
    """

    cursor: Cursor


class Stale(msgspec.Struct, frozen=True, gc=False):
    """The claim had ended already, so nothing was changed.

    Args:
        cursor: where in the log this was so.
    """

    cursor: Cursor


class Kicked(msgspec.Struct, frozen=True, gc=False):
    """The user is offline. The nodes of its clients have been told, and will confirm.

    Args:
        tokens: of the claims that were ended.
        cursor: of the last entry that says so.
        nodes: the names of the nodes that had made these claims, in the same order.
    """

    tokens: tuple[Cursor, ...]
    cursor: Cursor
    nodes: tuple[str, ...] = ()


class Absent(msgspec.Struct, frozen=True, gc=False):
    """The user had no seat.

    Args:
        cursor: where in the log this was so.
    """

    cursor: Cursor


class Present(msgspec.Struct, frozen=True, gc=False):
    """Who is online.

    Args:
        users: the seats of each user, oldest first; users without a seat are left out.
        cursor: where in the log this was so.
        is_rebuilding: whether the store has lost claims, and some may not have been reasserted yet.
    """

    users: dict[str, tuple[Seat, ...]]
    cursor: Cursor
    is_rebuilding: bool = False


class Count(msgspec.Struct, frozen=True, gc=False):
    """How many are online.

    Args:
        users: the number of users, each counted once.
        cursor: where in the log this was so.
        is_rebuilding: see Present.
    """

    users: int
    cursor: Cursor
    is_rebuilding: bool = False


class Page(msgspec.Struct, frozen=True, gc=False):
    """Some of those who are online, in the order of their ids.

    Args:
        users: the seats of each.
        next: what to give as after for the next page; None if this is the last one.
        cursor: where in the log this was so; each page has its own.
        is_rebuilding: see Present.
    """

    users: dict[str, tuple[Seat, ...]]
    next: str | None
    cursor: Cursor
    is_rebuilding: bool = False
