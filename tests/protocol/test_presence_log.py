"""The log of one namespace, without its book."""

from typing import Any

import pytest

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    Entry,
    GenerationChanged,
    Log,
    weigh,
)


def make(cursor: Cursor, **fields: Any) -> Entry:
    given: dict[str, Any] = {
        "cursor": str(cursor),
        "type": "online",
        "namespace": "/",
        "user": "ann",
        "id": "x",
        "node": "a",
        "boot": "a1",
        "token": str(cursor),
        "at": 0.0,
    }
    return Entry(**given | fields)


def filled(count: int) -> Log:
    log = Log(7)
    for _ in range(count):
        cursor = log.next_cursor()
        log.append(cursor, make(cursor))
    return log


@pytest.mark.req("PRES-01")
def test_an_entry_has_these_fields() -> None:
    assert Entry.__struct_fields__ == (
        "cursor",
        "type",
        "namespace",
        "user",
        "id",
        "node",
        "boot",
        "token",
        "prev",
        "reason",
        "unconfirmed",
        "at",
    )
    entry = make(Cursor(1, 2))
    assert (entry.prev, entry.reason, entry.unconfirmed) == (None, None, False)


def test_a_new_log_is_empty() -> None:
    log = Log(7)
    assert log.head == log.oldest == Cursor(7, 0)
    assert log.next_cursor() == Cursor(7, 1)
    assert (len(log), log.weight) == (0, 0)
    assert log.read(Cursor(7, 0), 5) == Entries((), Cursor(7, 0), Cursor(7, 0))


@pytest.mark.req("PRES-30")
def test_a_log_is_read_on_from_any_cursor() -> None:
    log = filled(5)
    found = log.read(Cursor(7, 1), 3)
    assert isinstance(found, Entries)
    assert [entry.cursor for entry in found.entries] == ["7-2", "7-3", "7-4"]
    assert (found.cursor, found.head) == (Cursor(7, 4), Cursor(7, 5))
    rest = log.read(found.cursor, 3)
    assert isinstance(rest, Entries)
    assert [entry.cursor for entry in rest.entries] == ["7-5"]
    assert rest.cursor == rest.head
    assert log.read(rest.cursor, 3) == Entries((), Cursor(7, 5), Cursor(7, 5))


@pytest.mark.req("PRES-31")
def test_a_cursor_whose_successors_were_dropped_has_expired() -> None:
    log = filled(5)
    log.drop_oldest()
    log.drop_oldest()
    assert len(log) == 3
    assert log.oldest == Cursor(7, 2)
    assert log.read(Cursor(7, 1), 3) == CursorExpired(Cursor(7, 2), Cursor(7, 5))
    found = log.read(Cursor(7, 2), 1)
    assert isinstance(found, Entries)
    assert found.entries[0].cursor == "7-3"


@pytest.mark.req("PRES-31")
def test_a_reader_that_has_everything_goes_on_whatever_was_dropped() -> None:
    log = filled(2)
    log.drop_oldest()
    log.drop_oldest()
    assert log.read(Cursor(7, 2), 3) == Entries((), Cursor(7, 2), Cursor(7, 2))


@pytest.mark.req("PRES-32")
@pytest.mark.parametrize("cursor", [Cursor(6, 1), Cursor(8, 1), Cursor(7, 3)])
def test_a_cursor_of_another_log_is_told_apart(cursor: Cursor) -> None:
    assert filled(2).read(cursor, 3) == GenerationChanged(Cursor(7, 2))


def test_the_weight_is_that_of_what_is_kept() -> None:
    log = Log(7)
    first = make(Cursor(7, 1), user="u" * 100, reason="r" * 10)
    log.append(Cursor(7, 1), first)
    log.append(Cursor(7, 2), make(Cursor(7, 2)))
    assert log.weight == weigh(first) + weigh(make(Cursor(7, 2)))
    assert weigh(first) - weigh(make(Cursor(7, 2))) == 4 * (100 + 10 - 3)
    assert weigh(make(Cursor(7, 2))) == 612
    log.drop_oldest()
    assert log.weight == weigh(make(Cursor(7, 2)))
