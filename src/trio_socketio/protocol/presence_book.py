"""Who has a seat in one namespace, and the log of it: each transition changes both in one step.

A user is online while it has a seat. A claim gives a seat to a client, and ends in one of four
ways: its node releases it, another client takes it over, somebody kicks the user, or its node is
lost. In the second and the third case the client may be on another node, which does not know yet.
Until that node has confirmed that it has put the client out, or its lease has ended, an Order
stands in the book, and later claims of the user wait for it before their clients may enter. So two
clients of one user are never in the namespace at the same time.

What must always hold, for this and for every other implementation, are PRES-41 to PRES-48 (I1 to I8
of the design): one owner (PRES-41), the folded log is the state (PRES-42), online and offline
alternate (PRES-43), tokens rise (PRES-44), what is stale changes nothing (PRES-45), at rest those
online have a live socket (PRES-46), one client of a user is in at a time (PRES-47), and the count
is that of the log (PRES-48).

Nothing here knows a clock: callers say what time it is, and which boots are alive.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from trio_socketio.protocol.presence_claims import (
    ALREADY_CONNECTED,
    KICKED,
    NODE_LOST,
    RECOVERED,
    REPLACED,
    SEAT_TAKEN,
    TOO_MANY_SEATS,
    Absent,
    Claimed,
    ClaimRef,
    ClaimRequest,
    Count,
    Fenced,
    Kicked,
    Order,
    Page,
    Present,
    Released,
    Seat,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import Entry, EntryType, Log
from trio_socketio.protocol.presence_orders import Alive, Orders
from trio_socketio.protocol.sorted_names import SortedNames

_NONE: Final[tuple[Seat, ...]] = ()


class Book:
    """The seats of one namespace, and its log.

    Args:
        namespace: its name.
        generation: of the log.

    Attributes:
        log: what has happened.
        namespace: its name.
        orders: whom nodes have yet to put out.
        users: the seats of every user that is online, oldest first.
    """

    __slots__ = ("_names", "_owned", "log", "namespace", "orders", "users")

    def __init__(self, namespace: str, generation: int) -> None:
        self.log = Log(generation)
        self.users: dict[str, tuple[Seat, ...]] = {}
        self.namespace = namespace
        self._names = SortedNames()  # of the users, for pages
        self._owned: dict[str, dict[Cursor, str]] = {}  # the users by boot and token
        self.orders = Orders()

    # -- transitions

    def claim(self, request: ClaimRequest, alive: Alive, at: float) -> Claimed | Taken | Fenced:
        """Give a client a seat, if the policy lets it.

        Args:
            request: of the client.
            alive: whether a boot holds a lease now.
            at: seconds since 1970.
        """
        if not alive(request.boot):  # PRES-21
            return Fenced()
        user = request.user
        seats = self.users.get(user, _NONE)
        made = self._find_attempt(request, seats)
        if made is not None:  # PRES-16
            return self._claimed(made, request, alive)
        own = tuple(seat for seat in seats if request.recovers and seat.id == request.id)
        refusal = _refusal(request, seats, own)
        if refusal is not None:
            return Taken(refusal, self.log.head)
        ended = seats if request.policy == "newest" else own  # PRES-10
        reason = RECOVERED if own else REPLACED
        last = ended[-1] if ended else None
        for seat in ended:
            if seat is not last:  # left over from a time when the policy was another one
                self._end(user, seat, reason, at)
            self._order(user, seat, reason, alive)
        if last is not None:
            self._take_out(user, last)
        seat = Seat(
            token=self.log.next_cursor(),  # PRES-02
            id=request.id,
            node=request.node,
            boot=request.boot,
            attempt=request.attempt,
            at=at,
        )
        # PRES-13
        kind: EntryType = "moved" if last is not None else "seat_added" if seats else "online"
        self.users[user] = (*self.users.get(user, _NONE), seat)
        if kind == "online":
            self._names.add(user)
        self._owned.setdefault(seat.boot, {})[seat.token] = user
        claimed = self._claimed(seat.token, request, alive)
        self._write(
            kind,
            user,
            seat,
            at,
            reason=reason if last is not None else None,
            prev=None if last is None else last.token,
            unconfirmed=request.takeover == "fast" and bool(claimed.awaits),  # PRES-15
        )
        return claimed

    def reassert(
        self, request: ClaimRequest, token: Cursor, alive: Alive
    ) -> Claimed | Stale | Fenced:
        """Confirm a seat that a client has, as this store loses none.

        Args:
            request: of the client.
            token: of its claim.
            alive: whether a boot holds a lease now.
        """
        if not alive(request.boot):
            return Fenced()
        for seat in self.users.get(request.user, _NONE):
            if seat.token == token and seat.boot == request.boot:
                return self._claimed(token, request, alive)
        return Stale(self.log.head)

    def release(
        self, ref: ClaimRef, reason: str, alive: Alive, at: float
    ) -> Released | Stale | Fenced:
        """End a claim for its own node, if it has not ended (PRES-18, PRES-19).

        Args:
            ref: names the claim.
            reason: for the log.
            alive: whether a boot holds a lease now.
            at: seconds since 1970.
        """
        if not alive(ref.boot):  # PRES-21
            return Fenced()
        for seat in self.users.get(ref.user, _NONE):
            if seat.boot == ref.boot and _is_meant(ref, seat):
                self._end(ref.user, seat, reason, at)
                return Released(self.log.head)
        return Stale(self.log.head)

    def kick(self, user: str, alive: Alive, at: float) -> Kicked | Absent:
        """End all claims of a user, and have their nodes put its clients out (PRES-20).

        Args:
            user: the user.
            alive: whether a boot holds a lease now.
            at: seconds since 1970.
        """
        seats = self.users.get(user, _NONE)
        if not seats:
            return Absent(self.log.head)
        for seat in seats:
            self._end(user, seat, KICKED, at)
            self._order(user, seat, KICKED, alive)
        return Kicked(
            tuple(seat.token for seat in seats),
            self.log.head,
            tuple(seat.node for seat in seats),
        )

    def reap(self, boot: str, limit: int, at: float) -> int:
        """End claims of a boot whose lease has ended for good (PRES-24).

        Args:
            boot: the boot.
            limit: how many claims to end.
            at: seconds since 1970.
        Returns:
            How many were ended.
        """
        self.orders.forget(boot)
        owned = tuple(islice(self._owned.get(boot, {}).items(), limit))
        for token, user in owned:
            (seat,) = (one for one in self.users[user] if one.token == token)
            self._end(user, seat, NODE_LOST, at)
        return len(owned)

    # -- what is so now

    @property
    def is_idle(self) -> bool:
        """Whether no user is online, and no node has anything to do."""
        return not self.users and not self.orders

    def boots(self) -> Iterable[str]:
        """Return the boots that have claims here."""
        return self._owned.keys()

    def find(self, users: Iterable[str]) -> Present:
        """Return the seats of some users."""
        found = {user: self.users[user] for user in users if user in self.users}
        return Present(found, self.log.head)

    def count(self) -> Count:
        """Count the users that are online (PRES-48)."""
        return Count(len(self.users), self.log.head)

    def page(self, after: str | None, limit: int) -> Page:
        """Return a part of all users, in the order of their ids."""
        names = self._names.page(after, limit + 1)
        shown = names[:limit]
        following = shown[-1] if len(names) > limit else None
        return Page({user: self.users[user] for user in shown}, following, self.log.head)

    def snapshot(self) -> Present:
        """Return all users that are online, at one cursor, as all answers do (PRES-29)."""
        return Present(self.users.copy(), self.log.head)

    # -- parts of transitions

    def _find_attempt(self, request: ClaimRequest, seats: tuple[Seat, ...]) -> Cursor | None:
        """Return the token of a claim that was made before, and may have been ended by others."""
        for seat in seats:
            if seat.attempt == request.attempt and seat.boot == request.boot:
                return seat.token
        for order in self.orders.of_user(request.user):
            if order.attempt == request.attempt and order.boot == request.boot:
                return order.token
        return None

    def _claimed(self, token: Cursor, request: ClaimRequest, alive: Alive) -> Claimed:
        own, others = [], []  # PRES-14
        for order in self.orders.of_user(request.user):
            if order.boot == request.boot:
                own.append(order)
            elif alive(order.boot):
                others.append(order.token)
        return Claimed(token=token, orders=tuple(own), awaits=tuple(others))

    def _order(self, user: str, seat: Seat, reason: str, alive: Alive) -> None:
        """Have a node put a client out. One that is not alive does nothing more anyway."""
        if alive(seat.boot):
            order = Order(
                namespace=self.namespace,
                user=user,
                boot=seat.boot,
                attempt=seat.attempt,
                token=seat.token,
                reason=reason,
            )
            self.orders.give(order)

    def _end(self, user: str, seat: Seat, reason: str, at: float) -> None:
        self._take_out(user, seat)
        kind: EntryType = "seat_removed" if user in self.users else "offline"
        if kind == "offline":
            self._names.remove(user)
        self._write(kind, user, seat, at, reason)

    def _take_out(self, user: str, seat: Seat) -> None:
        rest = tuple(one for one in self.users[user] if one is not seat)
        if rest:
            self.users[user] = rest
        else:
            del self.users[user]
        owned = self._owned[seat.boot]
        del owned[seat.token]
        if not owned:
            del self._owned[seat.boot]

    def _write(
        self,
        kind: EntryType,
        user: str,
        seat: Seat,
        at: float,
        reason: str | None = None,
        prev: Cursor | None = None,
        *,
        unconfirmed: bool = False,
    ) -> None:
        cursor, token = self.log.next_cursor(), str(seat.token)
        entry = Entry(
            cursor=token if cursor == seat.token else str(cursor),
            type=kind,
            namespace=self.namespace,
            user=user,
            id=seat.id,
            node=seat.node,
            boot=seat.boot,
            token=token,
            prev=None if prev is None else str(prev),
            reason=reason,
            unconfirmed=unconfirmed,
            at=at,
        )
        self.log.append(cursor, entry)


def _is_meant(ref: ClaimRef, seat: Seat) -> bool:
    return seat.attempt == ref.attempt if ref.token is None else seat.token == ref.token


def _refusal(request: ClaimRequest, seats: tuple[Seat, ...], own: tuple[Seat, ...]) -> str | None:
    """Return why a client gets no seat; None if it gets one."""
    if not seats or own:
        return None
    if request.policy == "many":
        return TOO_MANY_SEATS if len(seats) >= request.maximum else None  # PRES-12
    if request.recovers:  # PRES-17
        return SEAT_TAKEN
    return ALREADY_CONNECTED if request.policy == "reject" else None  # PRES-11
