"""What is left of a turn: its order, its bounds, and what failures cost."""

from functools import partial
from math import inf

import pytest

from trio_socketio.net.driving import Pollable
from trio_socketio.runtime.agenda import Agenda
from trio_socketio.runtime.fence import Fences


class Item:
    """A connection that writes down what is called, and may raise."""

    def __init__(self, calls: list[str], name: str, error: BaseException | None = None) -> None:
        self.calls = calls
        self.name = name
        self.error = error

    def _note(self, what: str) -> None:
        self.calls.append(f"{what} {self.name}")
        if self.error is not None:
            raise self.error

    def flush(self) -> None:
        self._note("flush")

    def on_more(self) -> None:
        self._note("more")

    def fail(self, error: BaseException) -> None:
        assert error is self.error
        self.calls.append(f"fail {self.name}")

    def release(self) -> None:
        self.calls.append(f"release {self.name}")

    def fileno(self) -> int:
        return 99

    def on_ready(self, events: int) -> None:
        raise AssertionError(events)


class Book:
    """An agenda, and what it has called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fences = Fences()
        self.agenda = Agenda(self._unregister, self.fences)

    def _unregister(self, connection: Pollable) -> None:
        assert isinstance(connection, Item)
        self.calls.append(f"unregister {connection.name}")

    def item(self, name: str, error: BaseException | None = None) -> Item:
        return Item(self.calls, name, error)


def test_calls_come_before_output_and_closing_last() -> None:
    book = Book()
    book.agenda.released.append(book.item("a"))
    book.agenda.dirty.append(book.item("b"))
    book.agenda.deferred.append(lambda: book.calls.append("call"))
    assert book.agenda
    assert book.agenda.settle(inf)
    assert book.calls == ["call", "flush b", "unregister a", "release a"]
    assert not book.agenda


def test_what_settling_adds_is_settled_too() -> None:
    book = Book()

    def write() -> None:
        book.agenda.dirty.append(book.item("b"))
        book.agenda.deferred.append(lambda: book.agenda.released.append(book.item("a")))

    book.agenda.deferred.append(write)
    assert book.agenda.settle(inf)
    assert book.calls == ["flush b", "unregister a", "release a"]


def test_when_the_turn_is_over_the_rest_is_left() -> None:
    book = Book()
    for name in ("one", "two"):
        book.agenda.deferred.append(partial(book.calls.append, name))
        book.agenda.again.append(book.item(name))
    assert not book.agenda.settle(-inf)
    assert book.calls == ["one"]
    book.agenda.go_on(-inf)
    assert book.calls == ["one", "more one"]
    book.agenda.go_on(inf)
    assert book.agenda.settle(inf)
    assert book.calls == ["one", "more one", "more two", "two"]


def test_output_is_sent_in_portions_when_the_turn_is_over() -> None:
    book = Book()
    book.agenda.dirty += [book.item(str(number)) for number in range(100)]
    assert not book.agenda.settle(-inf)
    assert 0 < len(book.calls) < 100
    assert book.agenda.settle(inf)
    assert book.calls == [f"flush {number}" for number in range(100)]


def test_an_item_that_asks_again_waits_for_the_next_turn() -> None:
    book = Book()

    class Greedy(Item):
        def on_more(self) -> None:
            super().on_more()
            book.agenda.again.append(self)

    book.agenda.again.append(Greedy(book.calls, "a"))
    book.agenda.go_on(inf)
    assert book.calls == ["more a"]
    assert book.agenda


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_an_item_raises_ends_that_item_alone(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    book = Book()

    def call() -> None:
        raise error

    book.agenda.again += [book.item("a", error), book.item("b")]
    book.agenda.dirty += [book.item("c", error), book.item("d")]
    book.agenda.deferred.append(call)
    book.agenda.go_on(inf)
    assert book.agenda.settle(inf)
    assert book.calls == ["more a", "fail a", "more b", "flush c", "fail c", "flush d"]
    assert book.agenda.failures == len(caplog.records) == 3
