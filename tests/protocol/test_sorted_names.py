"""Names that come and go, read in pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.protocol import sorted_names
from trio_socketio.protocol.sorted_names import SortedNames

NAMES = st.text("abz\N{LATIN SMALL LETTER E WITH ACUTE}\N{GRINNING FACE}", min_size=1, max_size=3)


def read_all(names: SortedNames, limit: int) -> list[str]:
    found: list[str] = []
    while page := names.page(found[-1] if found else None, limit):
        assert len(page) <= limit
        found += page
    return found


@given(st.lists(NAMES, max_size=60), st.integers(1, 7), NAMES, st.integers(1, 8))
def test_names_are_those_of_a_sorted_set(
    steps: list[str], limit: int, after: str, largest: int
) -> None:
    names, model = SortedNames(), set[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_names, "_LARGEST", largest)
        for name in steps:
            if name in model:
                names.remove(name)
                model.remove(name)
            else:
                names.add(name)
                model.add(name)
            assert read_all(names, limit) == sorted(model)
    assert names.page(after, limit) == sorted(name for name in model if name > after)[:limit]


def test_many_names_stay_in_order() -> None:
    names = SortedNames()
    for number in range(5000):
        names.add(f"user {number * 7919 % 5000:05}")
    assert read_all(names, 997) == [f"user {number:05}" for number in range(5000)]
    for number in range(0, 5000, 2):
        names.remove(f"user {number:05}")
    assert read_all(names, 1000) == [f"user {number:05}" for number in range(1, 5000, 2)]
