"""Keys that were fetched: how long they are used, and those that were replaced."""

from math import inf
from typing import Final

from trio_socketio.im.identity.keys import MAX_KEYS, Key

STALE_S: Final = 86_400.0
"""For how long keys are used that could not be fetched again."""


class KeyCache:
    """The keys of one document. All times are seconds on the caller's clock.

    Args:
        previous_s: how long a key is still taken after it was left out of the document.

    Attributes:
        fetched_at: when the document was fetched; minus infinity before it was.
        left_out: why keys of the document are not used.
    """

    def __init__(self, previous_s: float) -> None:
        self._previous_s = previous_s
        self._keys: tuple[Key, ...] = ()
        self._previous: list[tuple[float, Key]] = []  # each with when it ends
        self.fetched_at = -inf
        self.left_out: list[str] = []

    def current(self, now: float) -> tuple[Key, ...]:
        """Return the keys that signatures are verified with."""
        if now - self.fetched_at > STALE_S:  # IDENT-19
            return ()
        if self._previous:
            self._previous = [(ends, key) for ends, key in self._previous if ends > now]
            return (*self._keys, *(key for _, key in self._previous))
        return self._keys

    def replace(self, keys: list[Key], now: float) -> int:
        """Take the keys of a document that was fetched just now.

        Returns:
            How many keys with a name are gone; they are taken for a while more (IDENT-45).
        """
        there = set(map(_identify, keys))
        gone = [key for key in self._keys if _identify(key) not in there]
        kept = [
            (ends, key)
            for ends, key in self._previous
            if ends > now and _identify(key) not in there
        ]
        kept += [(now + self._previous_s, key) for key in gone]
        self._previous = kept[-MAX_KEYS:]
        self._keys = tuple(keys)
        self.fetched_at = now
        return sum(key.kid is not None for key in gone)


def _identify(key: Key) -> tuple[object, str]:
    """What stays the same while a key does: its name, or without one the key itself."""
    return (key.material if key.kid is None else key.kid), key.algorithm
