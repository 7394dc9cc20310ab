"""How much memory a saved session takes."""

import tracemalloc
from time import process_time
from typing import Any

import pytest

from trio_socketio.socketio.saved_session import RoomChange, SavedSession
from trio_socketio.socketio.session_weight import weigh_session


def session(
    data: dict[str, Any], rooms: frozenset[str] = frozenset(), changes: int = 0
) -> SavedSession:
    return SavedSession(
        pid="p" * 20,
        id="i" * 20,
        namespace="/",
        rooms=rooms,
        data=data,
        received=0,
        confirmed=0,
        blind=0,
        changes=tuple(RoomChange(n, f"room {n}", True) for n in range(changes)),
        ends_at=0.0,
    )


EMPTY = weigh_session(session({}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"text": "x" * 50_000},
        lambda: {str(n): n for n in range(1000, 3000)},
        lambda: {"rows": [{"a": f"{n} a", "b": [n + 0.5]} for n in range(1000)]},
        lambda: {"set": {f"member {n}" for n in range(2000)}},
        lambda: {"many": [f"text {n}" for n in range(50_000)]},  # more than are looked at
        lambda: {"deep": [[[f"{n}"] for n in range(100)] for _ in range(200)]},
    ],
)
def test_data_weighs_about_what_it_takes(make: Any) -> None:
    tracemalloc.start()
    data = make()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weight = weigh_session(session(data)) - EMPTY
    assert 0.7 * used < weight < 1.6 * used


def test_rooms_and_their_changes_weigh_too() -> None:
    rooms = frozenset(f"room {n}" for n in range(1000))
    assert weigh_session(session({}, rooms)) > EMPTY + 100_000
    assert weigh_session(session({}, changes=1000)) > EMPTY + 150_000


def test_what_contains_itself_or_is_shared_is_counted_once() -> None:
    data: dict[str, Any] = {"text": "x" * 10_000}
    once = weigh_session(session(data))
    data["self"] = data
    data["again"] = [data["text"]] * 100
    assert weigh_session(session(data)) < once + 2_000


def test_an_object_that_cannot_tell_its_size_has_one() -> None:
    class Odd:
        def __sizeof__(self) -> int:
            raise ValueError("no")

    assert EMPTY < weigh_session(session({"odd": Odd()})) < EMPTY + 1_000


def test_it_takes_a_bounded_time() -> None:
    huge = session({"many": [[n] for n in range(300_000)]})
    began = process_time()
    assert weigh_session(huge) > 19_200_000
    assert process_time() - began < 0.1
