"""Random names of sessions and sockets."""

import secrets
from typing import Final

SID_RANDOM_CHARACTERS: Final = 16
SOCKET_ID_CHARACTERS: Final = 20
_POOL_BYTES: Final = 3072


class RandomText:
    """Characters of A-Za-z0-9_-, 6 random bits each, for one server.

    The system is asked for many at once: a call for each costs a tenth of opening a session.
    """

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def draw(self, count: int) -> str:
        """The next characters; none is given out twice."""
        start, end = self._at, self._at + count
        if end > len(self._pool):
            self._pool = secrets.token_urlsafe(_POOL_BYTES)
            start, end = 0, count
        self._at = end
        return self._pool[start:end]
