"""Estimates the memory of a saved session, since rooms and data differ very much in size."""

import sys
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.socketio.saved_session import SavedSession

MAX_OBJECTS: Final = 10_000
"""How many objects of a session's data are looked at: that takes about a millisecond."""

_SESSION_BYTES: Final = 1000  # the session with its id, its pid and its entry in KeptSessions
_ROOM_BYTES: Final = 100
_CHANGE_BYTES: Final = 150
_UNSEEN_BYTES: Final = 64  # an object that is not looked into

_CONTAINERS: Final = (list, tuple, set, frozenset, deque)


def weigh_session(session: "SavedSession") -> int:
    """Return about how many bytes a session takes."""
    rooms = sum(map(len, session.rooms)) + _ROOM_BYTES * len(session.rooms)
    changes = _CHANGE_BYTES * len(session.changes)
    changes += sum(len(change.room) for change in session.changes)
    return _SESSION_BYTES + rooms + changes + _weigh_value(session.data)


def _weigh_value(value: Any) -> int:
    """Return about how many bytes an object takes with all that it contains.

    What is contained several times counts once. Lists, tuples, dicts, sets and deques are looked
    into; an object of any other class weighs what it says.
    """
    weight = 0
    seen = {id(value)}
    waiting: deque[Any] = deque((value,))
    while waiting:
        item = waiting.popleft()
        weight += _size(item)
        if isinstance(item, dict):
            weight += _queue(waiting, seen, item.keys(), len(item))
            weight += _queue(waiting, seen, item.values(), len(item))
        elif isinstance(item, _CONTAINERS):
            weight += _queue(waiting, seen, item, len(item))
    return weight


def _queue(waiting: deque[Any], seen: set[int], items: "Iterable[Any]", count: int) -> int:
    """Queue items to be looked at, up to MAX_OBJECTS. Returns the weight of the others."""
    left = MAX_OBJECTS - len(seen)
    for item in islice(items, left):
        if id(item) not in seen:
            seen.add(id(item))
            waiting.append(item)
    return _UNSEEN_BYTES * max(count - left, 0)


def _size(item: Any) -> int:
    try:
        return sys.getsizeof(item, _UNSEEN_BYTES)
    except Exception:  # __sizeof__ of a class of the program may do anything
        return _UNSEEN_BYTES
