"""Random names for sessions and sockets."""

import secrets
from typing import Final

SID_RANDOM_CHARACTERS: Final = 16
SOCKET_ID_CHARACTERS: Final = 20
_POOL_BYTES: Final = 3072


class RandomText:
    """Draws random characters of A-Za-z0-9_-, 6 bits each, for one server.

    The operating system is asked for many at once: a call for each name took a tenth of the time in
    which a session opens.
    """

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def draw(self, count: int) -> str:
        """Return the next characters. None of them is used twice."""
        start, end = self._at, self._at + count
        if end > len(self._pool):
            self._pool = secrets.token_urlsafe(_POOL_BYTES)
            start, end = 0, count
        self._at = end
        return self._pool[start:end]
