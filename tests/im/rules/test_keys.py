"""The keys of buckets: whatever names clients make up, nothing else is counted with them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.im.rules import keys

names = st.text(st.sampled_from("ab1 /"), max_size=6)
KINDS: Final[tuple[tuple[Callable[..., str], int], ...]] = (
    (keys.user_key, 2),
    (keys.everywhere_key, 1),
    (keys.event_key, 3),
    (keys.namespace_key, 1),
    (keys.join_key, 2),
    (keys.login_key, 2),
    (keys.room_key, 2),
    (keys.share_key, 2),
)


@pytest.mark.parametrize("make", [kind for kind in KINDS if kind[1] > 1])
@given(st.data())
def test_keys_of_different_names_differ(
    make: tuple[Callable[..., str], int], data: st.DataObject
) -> None:
    """The names of both are cut out of one text, so that they can be mistaken for each other."""
    key_of, count = make
    text = data.draw(st.text(st.sampled_from("ab1 /"), min_size=2, max_size=8))
    cuts = st.lists(st.integers(0, len(text)), min_size=count - 1, max_size=count - 1).map(sorted)

    def cut() -> tuple[str, ...]:
        places = [0, *data.draw(cuts), len(text)]
        return tuple(text[at:to] for at, to in pairwise(places))

    one, two = cut(), cut()
    assert (key_of(*one) == key_of(*two)) is (one == two)


@given(names, st.text(min_size=65, max_size=70))
def test_a_room_named_like_the_hash_of_another_is_counted_apart(place: str, room: str) -> None:
    assert len(keys.room_key(place, room)) < 50
    assert keys.room_key(place, room) != keys.room_key(place, str(hash(room)))
    assert keys.room_key(place, room) != keys.room_key(place, room + "a")


@given(st.lists(names, min_size=3, max_size=3), st.lists(names, min_size=3, max_size=3))
def test_keys_of_different_kinds_differ(one: list[str], two: list[str]) -> None:
    made = [{make(*some[:count]) for make, count in KINDS} for some in (one, two)]
    assert len(made[0]) == len(KINDS)
    kinds = [{key.partition(" ")[0] for key in some} for some in made]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == len(KINDS)
