"""The keys of buckets, which tell what is counted apart.

A key is a text, because a text keeps its hash, and a tuple has to be hashed each time. Keys of
different names differ whatever the names are, since the lengths of all but the last are in the key.
The exception are rooms with long names: those that have the same hash are counted together. Python
draws the hashes of each process at random, so nobody can choose such names.
"""

from typing import Final

_LONG: Final = 64
"""Names of rooms with more characters are counted by their hashes, so that they take little."""

_HASHED: Final = "#"
"""Stands in front of a hash. A name that is counted as it is has a blank there, so that a short
room which is named like the hash of a long one is counted apart from it."""


def user_key(place: str, who: str) -> str:
    """Return the key of a user's events in a namespace."""
    return f"user {len(place)} {place}{who}"


def everywhere_key(who: str) -> str:
    """Return the key of a user's events in all namespaces."""
    return f"everywhere {who}"


def event_key(place: str, name: str, who: str) -> str:
    """Return the key of a user's events for which a namespace has a rate of this name."""
    return f"event {len(place)} {len(name)} {place}{name}{who}"


def namespace_key(place: str) -> str:
    """Return the key of the events in a namespace."""
    return f"namespace {place}"


def join_key(place: str, who: str) -> str:
    """Return the key of the rooms that a user enters in a namespace."""
    return f"join {len(place)} {place}{who}"


def login_key(place: str, who: str) -> str:
    """Return the key of a user's logins to a namespace."""
    return f"login {len(place)} {place}{who}"


def room_key(place: str, room: str) -> str:
    """Return the key of the messages into a room of a namespace."""
    if len(room) <= _LONG:
        return f"room {len(place)} {place}{room}"
    return f"room {len(place)}{_HASHED}{place}{hash(room)}"


def share_key(key: str, who: str) -> str:
    """Return the key of what one user uses up of something that users share."""
    return f"share {len(key)} {key}{who}"
