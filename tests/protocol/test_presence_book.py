"""The transitions of a namespace's presence, one after the other."""

from typing import Any

import pytest

from trio_socketio.protocol.presence_book import Book
from trio_socketio.protocol.presence_claims import (
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
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor


class Desk:
    """A book whose nodes "a" and "b" are alive."""

    def __init__(self, policy: Any = "newest", maximum: int = 1) -> None:
        self.book = Book("/chat", 7)
        self.policy = policy
        self.maximum = maximum
        self.alive = {"a1", "b1"}
        self.attempts = 0

    def is_alive(self, boot: str) -> bool:
        return boot in self.alive

    def request(self, user: str, node: str = "a", **fields: Any) -> ClaimRequest:
        self.attempts += 1
        given = {
            "namespace": "/chat",
            "user": user,
            "id": f"id{self.attempts}",
            "node": node,
            "boot": f"{node}1",
            "attempt": self.attempts,
            "policy": self.policy,
            "maximum": self.maximum,
        }
        return ClaimRequest(**given | fields)

    def ask(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        return self.book.claim(request, self.is_alive, 10.0)

    def claim(self, user: str, node: str = "a", **fields: Any) -> Claimed:
        outcome = self.ask(self.request(user, node, **fields))
        assert isinstance(outcome, Claimed)
        return outcome

    def release(
        self, user: str, token: Cursor | None, boot: str = "a1", attempt: int = 0
    ) -> Released | Stale | Fenced:
        ref = ClaimRef(namespace="/chat", user=user, boot=boot, attempt=attempt, token=token)
        return self.book.release(ref, "left", self.is_alive, 11.0)

    def kick(self, user: str) -> Kicked | Absent:
        return self.book.kick(user, self.is_alive, 12.0)

    def types(self) -> list[str]:
        return [entry.type for entry in self.book.log._entries.values()]

    def last(self) -> tuple[Any, ...]:
        entry = list(self.book.log._entries.values())[-1]
        return entry.type, entry.token, entry.prev, entry.reason, entry.unconfirmed


def order(user: str, node: str, attempt: int, token: Cursor, reason: str) -> Order:
    return Order(
        namespace="/chat",
        user=user,
        boot=f"{node}1",
        attempt=attempt,
        token=token,
        reason=reason,
    )


@pytest.mark.req("PRES-02", "PRES-13")
def test_the_first_claim_of_a_user_is_online_and_its_end_offline() -> None:
    desk = Desk()
    claimed = desk.claim("ann")
    assert claimed == Claimed(token=Cursor(7, 1), orders=(), awaits=())
    (entry,) = desk.book.log._entries.values()
    assert (entry.cursor, entry.token, entry.type) == ("7-1", "7-1", "online")
    assert (entry.namespace, entry.user, entry.id) == ("/chat", "ann", "id1")
    assert (entry.node, entry.boot, entry.at) == ("a", "a1", 10.0)
    assert (entry.prev, entry.reason, entry.unconfirmed) == (None, None, False)
    (seat,) = desk.book.users["ann"]
    assert (seat.token, seat.id, seat.node, seat.boot) == (Cursor(7, 1), "id1", "a", "a1")
    assert (seat.attempt, seat.at) == (1, 10.0)
    assert desk.release("ann", claimed.token) == Released(Cursor(7, 2))
    entry = desk.book.log._entries[2]
    assert (entry.cursor, entry.token, entry.type) == ("7-2", "7-1", "offline")
    assert (entry.id, entry.boot, entry.reason, entry.at) == ("id1", "a1", "left", 11.0)
    assert desk.book.users == {}
    assert desk.book.is_idle
    assert list(desk.book.boots()) == []


@pytest.mark.req("PRES-10")
def test_a_takeover_is_one_entry() -> None:
    desk = Desk()
    old = desk.claim("ann", "a")
    new = desk.claim("ann", "b")
    assert desk.last() == ("moved", "7-2", "7-1", "replaced", False)
    assert new.awaits == (old.token,)
    assert new.orders == ()
    put_out = order("ann", "a", 1, old.token, "replaced")
    assert list(desk.book.orders.of_boot("a1")) == [put_out]
    assert list(desk.book.boots()) == ["b1"]
    assert desk.release("ann", old.token) == Stale(Cursor(7, 2))
    assert desk.types() == ["online", "moved"]


@pytest.mark.req("PRES-14")
def test_a_node_puts_its_own_old_client_out_without_waiting_for_itself() -> None:
    desk = Desk()
    old = desk.claim("ann")
    new = desk.claim("ann")
    assert new.awaits == ()
    assert new.orders == (order("ann", "a", 1, old.token, "replaced"),)
    assert list(desk.book.orders.take_given()) == ["a1"]
    assert list(desk.book.orders.take_given()) == []


@pytest.mark.req("PRES-14")
def test_a_claim_waits_for_everybody_who_was_put_out_and_has_not_confirmed() -> None:
    desk = Desk()
    first = desk.claim("ann", "a")
    second = desk.claim("ann", "b")
    assert isinstance(desk.kick("ann"), Kicked)
    desk.alive.add("c1")
    third = desk.claim("ann", "c")
    assert desk.last()[0] == "online"
    assert third.awaits == (first.token, second.token)
    waiting = desk.book.orders.awaited("ann", third.awaits, desk.is_alive)
    assert [one.token for one in waiting] == [first.token, second.token]
    desk.book.orders.confirm(waiting[0])
    desk.book.orders.confirm(waiting[0])
    assert desk.book.orders.awaited("ann", third.awaits, desk.is_alive) == waiting[1:]
    desk.alive.discard("b1")
    assert desk.book.orders.awaited("ann", third.awaits, desk.is_alive) == []
    assert desk.book.orders.awaited("bob", third.awaits, desk.is_alive) == []
    assert desk.claim("ann", "a").awaits == (third.token,)


def test_a_node_that_is_not_alive_gets_no_order() -> None:
    desk = Desk()
    desk.claim("ann", "a")
    desk.alive.discard("a1")
    assert desk.claim("ann", "b") == Claimed(token=Cursor(7, 2), orders=(), awaits=())
    assert list(desk.book.orders.of_boot("a1")) == []


@pytest.mark.req("PRES-15")
@pytest.mark.parametrize(("takeover", "unconfirmed"), [("strict", False), ("fast", True)])
def test_a_fast_takeover_is_marked(takeover: str, unconfirmed: bool) -> None:
    desk = Desk()
    desk.claim("ann", "a", takeover=takeover)
    assert desk.last()[-1] is False
    desk.claim("ann", "a", takeover=takeover)
    assert desk.last()[-1] is False
    desk.claim("ann", "b", takeover=takeover)
    assert desk.last()[-1] is unconfirmed
    desk.kick("ann")
    desk.claim("ann", "a", takeover=takeover)
    assert desk.last() == ("online", "7-5", None, None, unconfirmed)


@pytest.mark.req("PRES-11")
def test_who_is_connected_may_keep_others_out() -> None:
    desk = Desk("reject")
    first = desk.claim("ann", "a")
    assert desk.ask(desk.request("ann", "b")) == Taken("already connected", first.token)
    desk.claim("bob", "b")
    desk.release("ann", first.token)
    assert desk.claim("ann", "b").awaits == ()
    assert desk.types() == ["online", "online", "offline", "online"]


@pytest.mark.req("PRES-12", "PRES-13")
def test_a_user_may_have_several_seats() -> None:
    desk = Desk("many", 2)
    first, second = desk.claim("ann", "a"), desk.claim("ann", "b")
    assert desk.last() == ("seat_added", "7-2", None, None, False)
    assert desk.ask(desk.request("ann")) == Taken("too many sessions", second.token)
    assert desk.book.count() == Count(1, Cursor(7, 2))
    desk.release("ann", first.token)
    assert desk.last() == ("seat_removed", "7-1", None, "left", False)
    third = desk.claim("ann")
    assert [seat.token for seat in desk.book.users["ann"]] == [second.token, third.token]
    desk.release("ann", third.token)
    desk.release("ann", second.token, "b1")
    assert desk.last() == ("offline", "7-2", None, "left", False)
    assert desk.types() == [
        "online", "seat_added", "seat_removed", "seat_added", "seat_removed", "offline",
    ]  # fmt: skip


@pytest.mark.req("PRES-10")
def test_a_policy_that_was_another_one_leaves_nobody_behind() -> None:
    desk = Desk("many", 3)
    tokens = [desk.claim("ann").token for _ in range(3)]
    new = desk.claim("ann", policy="newest")
    assert desk.types()[3:] == ["seat_removed", "seat_removed", "moved"]
    assert desk.last() == ("moved", "7-6", str(tokens[2]), "replaced", False)
    assert [one.token for one in new.orders] == tokens
    assert [seat.token for seat in desk.book.users["ann"]] == [new.token]


@pytest.mark.req("PRES-16")
def test_a_claim_that_is_asked_for_again_is_the_same() -> None:
    desk = Desk()
    request = desk.request("ann")
    first = desk.ask(request)
    assert desk.ask(request) == first
    assert desk.types() == ["online"]
    other = desk.request("ann", "b", attempt=request.attempt)
    assert isinstance(desk.ask(other), Claimed)
    assert desk.types() == ["online", "moved"]


@pytest.mark.req("PRES-16")
def test_a_claim_that_was_ended_meanwhile_is_not_made_again() -> None:
    desk = Desk()
    request = desk.request("ann")
    first = desk.ask(request)
    assert isinstance(first, Claimed)
    desk.kick("ann")
    again = desk.ask(request)
    assert isinstance(again, Claimed)
    assert again.token == first.token
    assert [one.attempt for one in again.orders] == [request.attempt]
    assert desk.types() == ["online", "offline"]
    other = desk.request("ann", "b", attempt=request.attempt)
    assert isinstance(desk.ask(other), Claimed)
    assert desk.types() == ["online", "offline", "online"]


@pytest.mark.req("PRES-17")
@pytest.mark.parametrize("policy", ["newest", "reject", "many"])
def test_a_recovered_client_moves_to_itself(policy: str) -> None:
    desk = Desk(policy, 2)
    old = desk.claim("ann", "a", id="x")
    new = desk.claim("ann", "b", id="x", recovers=True)
    assert desk.last() == ("moved", "7-2", "7-1", "recovered", False)
    assert new.awaits == (old.token,)
    assert list(desk.book.orders.of_boot("a1")) == [order("ann", "a", 1, old.token, "recovered")]
    assert len(desk.book.users["ann"]) == 1


@pytest.mark.req("PRES-17")
def test_a_recovered_client_among_others_moves_alone() -> None:
    desk = Desk("many", 2)
    first = desk.claim("ann", id="x")
    second = desk.claim("ann", id="y")
    third = desk.claim("ann", id="x", recovers=True)
    assert desk.last() == ("moved", "7-3", str(first.token), "recovered", False)
    assert [seat.token for seat in desk.book.users["ann"]] == [second.token, third.token]


@pytest.mark.req("PRES-17")
@pytest.mark.parametrize("policy", ["newest", "reject"])
def test_a_recovery_takes_no_seat_of_another_client(policy: str) -> None:
    desk = Desk(policy)
    desk.claim("ann", id="y")
    assert desk.ask(desk.request("ann", id="x", recovers=True)) == Taken("seat taken", Cursor(7, 1))
    assert desk.types() == ["online"]


@pytest.mark.req("PRES-17")
def test_a_recovery_may_take_what_is_free() -> None:
    desk = Desk()
    desk.claim("ann", id="x", recovers=True)
    assert desk.last() == ("online", "7-1", None, None, False)
    many = Desk("many", 2)
    many.claim("ann", id="y")
    many.claim("ann", id="x", recovers=True)
    assert many.last() == ("seat_added", "7-2", None, None, False)


def test_the_same_id_is_no_recovery_by_itself() -> None:
    desk = Desk("reject")
    desk.claim("ann", id="x")
    assert desk.ask(desk.request("ann", id="x")) == Taken("already connected", Cursor(7, 1))


@pytest.mark.req("PRES-18", "PRES-19")
def test_only_the_claim_that_is_named_is_released() -> None:
    desk = Desk("many", 2)
    first, second = desk.claim("ann", "a"), desk.claim("ann", "b")
    stale = Stale(second.token)
    assert desk.release("ann", Cursor(7, 9)) == stale
    assert desk.release("ann", first.token, "b1") == stale
    assert desk.release("bob", first.token) == stale
    assert desk.release("ann", None, "b1", attempt=1) == stale
    assert len(desk.book.users["ann"]) == 2
    assert desk.release("ann", None, "b1", attempt=2) == Released(Cursor(7, 3))
    assert desk.last()[:2] == ("seat_removed", "7-2")
    assert desk.release("ann", first.token, "a1", attempt=99) == Released(Cursor(7, 4))


@pytest.mark.req("PRES-20")
def test_a_kick_ends_all_claims_of_the_user() -> None:
    desk = Desk("many", 2)
    tokens = (desk.claim("ann", "a").token, desk.claim("ann", "b").token)
    desk.claim("bob")
    assert desk.kick("ann") == Kicked(tokens, Cursor(7, 5), ("a", "b"))
    assert desk.types()[3:] == ["seat_removed", "offline"]
    assert [entry.reason for entry in desk.book.log._entries.values()][3:] == ["kicked"] * 2
    assert desk.book.log._entries[5].at == 12.0
    assert list(desk.book.orders.of_boot("b1")) == [order("ann", "b", 2, tokens[1], "kicked")]
    assert desk.kick("ann") == Absent(Cursor(7, 5))
    assert list(desk.book.users) == ["bob"]
    assert not desk.book.is_idle


@pytest.mark.req("PRES-20")
def test_a_kick_leaves_later_claims_alone() -> None:
    desk = Desk()
    old = desk.claim("ann")
    desk.kick("ann")
    new = desk.claim("ann")
    assert [one.token for one in new.orders] == [old.token]
    for one in new.orders:
        desk.book.orders.confirm(one)
    assert [seat.token for seat in desk.book.users["ann"]] == [new.token]
    assert list(desk.book.orders.of_boot("a1")) == []


def test_a_book_with_orders_is_not_idle() -> None:
    desk = Desk()
    claimed = desk.claim("ann")
    desk.kick("ann")
    assert desk.book.users == {}
    assert not desk.book.is_idle
    desk.book.orders.confirm(order("ann", "a", 1, claimed.token, "kicked"))
    assert desk.book.is_idle


@pytest.mark.req("PRES-21")
def test_a_boot_without_a_lease_changes_nothing() -> None:
    desk = Desk()
    claimed = desk.claim("ann")
    desk.alive.clear()
    assert desk.ask(desk.request("bob")) == Fenced()
    assert desk.release("ann", claimed.token) == Fenced()
    assert desk.types() == ["online"]


@pytest.mark.req("PRES-24")
def test_the_claims_of_a_lost_node_are_ended_in_slices() -> None:
    desk = Desk("many", 2)
    for user in ("ann", "bob", "bob"):
        desk.claim(user, "a")
    desk.claim("ann", "b")
    kicked = desk.claim("eve", "a")
    desk.kick("eve")
    desk.alive.discard("a1")
    assert desk.book.reap("a1", 2, 13.0) == 2
    assert list(desk.book.orders.of_boot("a1")) == []
    assert desk.book.orders.awaited("eve", [kicked.token], lambda _: True) == []
    assert desk.types()[6:] == ["seat_removed", "seat_removed"]
    assert desk.book.log._entries[8].at == 13.0
    assert list(desk.book.boots()) == ["a1", "b1"]
    assert desk.book.reap("a1", 2, 13.0) == 1
    assert desk.last() == ("offline", "7-3", None, "node_lost", False)
    assert desk.book.reap("a1", 2, 13.0) == 0
    assert list(desk.book.boots()) == ["b1"]
    assert list(desk.book.users) == ["ann"]


@pytest.mark.req("PRES-29")
def test_reading_tells_the_cursor() -> None:
    desk = Desk("many", 2)
    for user in ("bob", "ann", "cyd", "ann"):
        desk.claim(user)
    users, at = desk.book.users, Cursor(7, 4)
    assert desk.book.find(["ann", "eve", "ann"]) == Present({"ann": users["ann"]}, at)
    assert desk.book.count() == Count(3, at)
    snapshot = desk.book.snapshot()
    assert snapshot == Present(users, at)
    desk.kick("ann")
    assert "ann" in snapshot.users, "it is a copy"


def test_pages_are_in_the_order_of_the_ids() -> None:
    desk = Desk()
    for user in ("d", "b", "a", "c"):
        desk.claim(user)
    users, at = desk.book.users, Cursor(7, 4)
    assert desk.book.page(None, 2) == Page({"a": users["a"], "b": users["b"]}, "b", at)
    assert desk.book.page("b", 2) == Page({"c": users["c"], "d": users["d"]}, None, at)
    assert desk.book.page(None, 3).next == "c"
    assert list(desk.book.page(None, 4).users) == ["a", "b", "c", "d"]
    assert desk.book.page(None, 4).next is None
    assert desk.book.page("d", 2) == Page({}, None, at)
