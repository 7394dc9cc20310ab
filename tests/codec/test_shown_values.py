"""Values as a person is shown them: whatever they are, they end up small, and can be sent."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.shown_values import MAX_ITEMS, shorten


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    label: str


class Odd:
    """Nobody can send this."""


class Trapped(Mapping[str, int]):
    """A mapping whose keys cannot be read."""

    def __getitem__(self, key: str) -> int:
        raise RuntimeError("trapped")

    def __iter__(self) -> Any:
        raise RuntimeError("trapped")

    def __len__(self) -> int:
        return 1


class Word(str):
    """A text of a program's own."""

    __slots__ = ()


def show(value: Any, max_characters: int = 1000) -> Any:
    (shown,) = shorten([value], max_characters)
    return shown


@pytest.mark.req("AUI-24")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({10**5000: 1, 7: 2}, {"int": 1, "7": 2}),
        (None, None),
        (True, True),
        (1.5, 1.5),
        ("text", "text"),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**70), "-1180591620717411303424"),
        (2**1000, "<integer of 1,001 bits>"),
        (b"12345", "<5 bytes>"),
        (memoryview(b"1234"), "<4 bytes>"),
        ([1, (2, [3])], [1, [2, [3]]]),
        ({"a": {1: 2}}, {"a": {"1": 2}}),
        ({(1, 2): 3}, {"tuple": 3}),
        ({"k" * 100: 1}, {"k" * 64 + "…": 1}),
        ({7}, [7]),
        (Colour.RED, "red"),
        (Point(1, "here"), {"x": 1, "label": "here"}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Decimal("1.5"), "1.5"),
        (Word("word"), "word"),
        (Odd(), "<Odd>"),
        (Trapped(), "<Trapped>"),
        (OrderedDict(a=1), {"a": 1}),
        (deque([1]), "<deque>"),
        ("half \ud800", "half ?"),
        ({"\ud800": 1}, {"?": 1}),
        ([[[[[[[[[1]]]]]]]]], [[[[[[["<list of 1>"]]]]]]]),
    ],
)
def test_values_are_shown_as_what_can_be_sent(value: Any, shown: Any) -> None:
    assert show(value) == shown


@pytest.mark.req("AUI-24")
def test_what_is_left_out_is_named() -> None:
    assert show("x" * 5000, 18) == "x" * 10 + "… (5,000 characters)"
    items = show(list(range(1000)), 10**6)
    assert items == [*range(MAX_ITEMS), "… 900 more"]
    entries = show({f"{n}": n for n in range(1000)}, 10**6)
    assert len(entries) == MAX_ITEMS + 1
    assert entries["…"] == "900 more"
    assert shorten(["a" * 100, "b", "c"], 50) == ["a" * 42 + "… (100 characters)", "… 2 more"]
    assert show({"a": "x" * 100, "b": 1}, 30) == {
        "a": "x" * 13 + "… (100 characters)",
        "…": "1 more",
    }
    assert shorten([], 10) == []
    assert show([], 0) == "…"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(Odd)
    | st.builds(Point, st.integers(), st.text()),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
    max_leaves=20,
)


@pytest.mark.req("AUI-24")
@given(st.lists(values), st.integers(0, 300))
def test_whatever_it_is_it_becomes_small_and_can_be_sent(given: list[Any], most: int) -> None:
    shown = shorten(given, most)
    assert msgspec.json.decode(msgspec.json.encode(shown)) is not None
    assert msgspec.msgpack.encode(shown)
    # Each value counts, and what is left out is named once in each list around it.
    assert len(msgspec.json.encode(shown)) <= 40 * (most + 30)


def test_a_list_that_holds_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "<list of 1>" in str(show(endless))
