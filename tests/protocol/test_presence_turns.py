"""The book of turns: what each step does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_turns import (
    MAX_GROUPS,
    Busy,
    Crowded,
    Gone,
    Held,
    Idle,
    Kept,
    Lost,
    TurnBook,
)

G = ("/", "g")
H = ("/", "h")


def everybody(_: str) -> bool:
    return True


def nobody(_: str) -> bool:
    return False


def hold(book: TurnBook, boot: str, number: int = 1, place: tuple[str, str] = G) -> Held:
    found = book.take(place, boot, number, everybody)
    assert isinstance(found, Held)
    return found


def test_a_turn_is_taken_and_given_back() -> None:
    book = TurnBook()
    turn = hold(book, "a", 5)
    assert turn == Held(G, "a", 5, None, 0, False)
    assert book.take(G, "b", 1, everybody) == Busy(None, 0)
    assert book.acknowledge(turn, Cursor(1, 4), everybody) == Kept(True, 0)
    assert book.acknowledge(turn, None, everybody) == Kept(True, 0)
    assert book.take(G, "c", 1, everybody) == Busy(Cursor(1, 4), 0)
    assert book.give_back(turn, None, everybody, waits=False)
    turn = hold(book, "b")
    assert turn == Held(G, "b", 1, Cursor(1, 4), 0, True)
    assert book.give_back(turn, Cursor(1, 9), everybody, waits=True)
    turn = hold(book, "c")
    assert turn == Held(G, "c", 1, Cursor(1, 9), 0, True)
    book.withdraw(G, "b", everybody)
    assert book.acknowledge(turn, None, everybody) == Kept(False, 0)
    assert not book.give_back(turn, None, everybody, waits=True)
    assert len(book) == 1


@pytest.mark.req("FEED-62")
def test_whoever_is_not_the_holder_changes_nothing() -> None:
    book = TurnBook()
    first, turn = hold(book, "a", 1), hold(book, "a", 2)
    other = Held(G, "b", 2, None, 0, False)
    for lost in (first, other, Held(H, "a", 2, None, 0, False)):
        assert book.acknowledge(lost, Cursor(1, 1), everybody) == Lost()
        assert book.forget(lost, everybody) == Lost()
        assert not book.give_back(lost, Cursor(1, 1), everybody, waits=False)
    book.withdraw(G, "b", everybody)
    book.withdraw(H, "a", everybody)
    assert book.acknowledge(turn, None, everybody) == Kept(False, 0)
    assert book.take(G, "b", 1, everybody) == Busy(None, 0)
    # Whoever has lost its turn may still wait, or no longer.
    assert not book.give_back(other, None, everybody, waits=True)
    assert book.acknowledge(turn, None, everybody) == Kept(True, 0)
    assert not book.give_back(other, None, everybody, waits=False)
    assert book.acknowledge(turn, None, everybody) == Kept(False, 0)


@pytest.mark.req("FEED-61")
def test_a_boot_that_is_gone_holds_nothing() -> None:
    book = TurnBook()
    assert book.take(G, "a", 1, nobody) == Gone()
    assert len(book) == 0
    turn = hold(book, "a")
    book.take(G, "b", 1, everybody)
    assert book.acknowledge(turn, Cursor(1, 1), nobody) == Kept(False, 0), "until another takes it"
    assert book.take(G, "c", 1, "c".__eq__) == Held(G, "c", 1, Cursor(1, 1), 0, False)
    assert book.acknowledge(turn, Cursor(1, 2), everybody) == Lost()
    turn = hold(book, "c", 2)
    book.take(G, "b", 1, everybody)
    assert book.forget(turn, nobody) == Kept(False, 1)
    assert not book.give_back(turn, Cursor(1, 1), nobody, waits=True)
    assert hold(book, "d").has_others is False, "who is gone does not wait"


@pytest.mark.req("FEED-31")
def test_a_position_is_given_up() -> None:
    book = TurnBook()
    turn = hold(book, "a")
    book.acknowledge(turn, Cursor(1, 1), everybody)
    for number in (1, 2):
        assert book.forget(turn, everybody) == Kept(False, number)
    assert book.take(G, "b", 1, everybody) == Busy(None, 2)
    assert book.acknowledge(turn, Cursor(2, 0), everybody) == Kept(True, 2)
    assert book.take(G, "b", 1, everybody) == Busy(Cursor(2, 0), 2)


def test_what_has_nothing_to_remember_is_forgotten() -> None:
    book = TurnBook()
    turn = hold(book, "a")
    book.withdraw(G, "b", everybody)
    assert len(book) == 1
    book.take(G, "b", 1, everybody)
    assert book.give_back(turn, None, everybody, waits=False)
    assert len(book) == 1, "b waits"
    book.withdraw(G, "b", everybody)
    assert len(book) == 0
    hold(book, "a")
    book.withdraw(G, "a", everybody)  # it does not know that it has the turn
    assert len(book) == 0


@pytest.mark.req("FEED-27")
def test_the_group_that_was_left_first_makes_room() -> None:
    book = TurnBook(max_groups=2)
    turns = [hold(book, "a", place=place) for place in (G, H)]
    assert book.take(("/", "i"), "b", 1, everybody) == Crowded()
    assert isinstance(book.take(("/", "x"), "b", 1, everybody, is_bounded=False), Held)
    book.withdraw(("/", "x"), "b", everybody)
    for turn in reversed(turns):
        book.acknowledge(turn, Cursor(1, 1), everybody)
        book.give_back(turn, None, everybody, waits=False)
    assert isinstance(book.take(("/", "i"), "b", 1, everybody), Held)
    assert hold(book, "a", place=G).position == Cursor(1, 1)
    assert book.take(H, "a", 1, everybody) == Crowded(), "it was left first"


@pytest.mark.req("FEED-30")
def test_groups_without_members_grow_old() -> None:
    book, idle = TurnBook(), Idle(10.0)
    turn, other = hold(book, "a"), hold(book, "b", place=H)
    for one in (turn, other):
        book.acknowledge(one, Cursor(1, 1), everybody)
    assert book.idle(everybody) == {}
    assert set(book.idle("a".__eq__)) == {H}
    book.take(H, "a", 1, everybody)
    assert book.idle("a".__eq__) == {}, "a waits for it"
    book.withdraw(H, "a", everybody)
    book.give_back(turn, None, everybody, waits=False)
    found = book.idle(everybody)
    assert set(found) == {G}
    assert idle.note(found, 0.0) == {}
    assert idle.note(found, 9.9) == {}
    assert idle.note(found, 10.0) == found
    # Somebody was there meanwhile.
    turn = hold(book, "a")
    assert idle.note(book.idle(everybody), 11.0) == {}
    for place, touched in found.items():
        book.discard(place, touched, everybody)
    assert len(book) == 2
    book.give_back(turn, None, everybody, waits=False)
    later = book.idle(everybody)
    for place, touched in found.items():
        book.discard(place, touched, everybody)
    assert len(book) == 2
    assert idle.note(later, 20.0) == {}
    assert idle.note(later, 29.9) == {}
    assert idle.note(later, 30.0) == later
    hold(book, "a")
    book.discard(G, later[G], everybody)
    assert len(book) == 2
    book.withdraw(G, "a", everybody)
    for place, touched in book.idle(everybody).items():
        book.discard(place, touched, everybody)
    book.discard(G, 0, everybody)
    assert len(book) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("take", "ack", "back", "withdraw", "die", "live")), st.integers(0, 2)
        )
    )
)
def test_one_boot_at_most_can_move_a_position(steps: list[tuple[str, int]]) -> None:
    book, alive = TurnBook(), {"0", "1", "2"}
    turns: dict[str, Held] = {}
    position = 0
    for number, (what, index) in enumerate(steps):
        boot = str(index)
        if what == "take":
            found = book.take(G, boot, number, alive.__contains__)
            if isinstance(found, Held):
                assert found.position == (Cursor(1, position) if position else None)
                turns[boot] = found
        elif what == "ack":
            held = [
                one
                for one in turns.values()
                if book.acknowledge(one, None, alive.__contains__) != Lost()
            ]
            assert len(held) <= 1
            for one in held:
                position += 1
                book.acknowledge(one, Cursor(1, position), alive.__contains__)
        elif what == "back" and boot in turns:
            book.give_back(turns[boot], None, alive.__contains__, waits=bool(number % 2))
        elif what == "withdraw":
            book.withdraw(G, boot, alive.__contains__)
        elif what == "die":
            alive.discard(boot)
        else:
            alive.add(boot)


def test_a_boot_that_is_gone_is_not_waited_for() -> None:
    book = TurnBook()
    turn = hold(book, "a")
    book.take(G, "b", 1, everybody)
    assert book.take(G, "a", 2, "a".__eq__) == Held(G, "a", 2, None, 0, False)
    assert book.acknowledge(turn, None, everybody) == Lost()


def test_a_turn_is_not_given_to_a_boot_that_is_gone() -> None:
    book = TurnBook()
    turn = hold(book, "a")
    book.take(G, "b", 1, everybody)
    assert not book.give_back(turn, None, "a".__eq__, waits=False)
    assert len(book) == 0
    assert MAX_GROUPS == 1000


def test_a_group_that_was_taken_anew_is_younger() -> None:
    book = TurnBook()
    hold(book, "a")
    before = book.idle(nobody)
    assert isinstance(book.take(G, "b", 1, "b".__eq__), Held)
    assert book.idle(nobody)[G] > before[G]
    book.discard(G, before[G], nobody)
    assert len(book) == 1
