"""Orders to nodes."""

from trio_socketio.protocol.presence_claims import Order
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_orders import Orders


def make(number: int, user: str = "ann", boot: str = "a1") -> Order:
    token = Cursor(1, number)
    return Order(namespace="/", user=user, boot=boot, attempt=number, token=token, reason="kicked")


def test_an_order_stands_until_it_is_confirmed() -> None:
    orders = Orders()
    assert not orders
    first, second, other = make(1), make(2), make(3, "bob", "b1")
    for order in (first, second, other):
        orders.give(order)
    assert orders
    assert list(orders.of_boot("a1")) == list(orders.of_user("ann")) == [first, second]
    assert list(orders.of_boot("b1")) == list(orders.of_user("bob")) == [other]
    orders.confirm(first)
    orders.confirm(first)
    assert list(orders.of_boot("a1")) == list(orders.of_user("ann")) == [second]
    orders.confirm(other)
    orders.confirm(second)
    assert not orders
    assert list(orders.of_boot("a1")) == list(orders.of_user("ann")) == []
    orders.confirm(second)


def test_who_was_given_orders_is_told_once() -> None:
    orders = Orders()
    for order in (make(1), make(2), make(3, boot="b1")):
        orders.give(order)
    assert list(orders.take_given()) == ["a1", "b1"]
    assert list(orders.take_given()) == []


def test_the_orders_of_a_boot_are_forgotten_together() -> None:
    orders = Orders()
    kept = make(3, boot="b1")
    for order in (make(1), make(2), kept):
        orders.give(order)
    orders.forget("a1")
    assert list(orders.of_user("ann")) == [kept]
    orders.forget("unknown")


def test_only_the_living_are_waited_for() -> None:
    orders = Orders()
    first, second = make(1), make(2, boot="b1")
    orders.give(first)
    orders.give(second)
    tokens = [first.token, second.token, Cursor(1, 9)]
    assert orders.awaited("ann", tokens, lambda _: True) == [first, second]
    assert orders.awaited("ann", tokens, lambda boot: boot == "b1") == [second]
    assert orders.awaited("ann", [first.token], lambda _: True) == [first]
    assert orders.awaited("bob", tokens, lambda _: True) == []
