"""Random names for sessions and sockets, and the short names that logs show."""

import secrets
from hashlib import sha256
from typing import Final

SID_PREFIX_CHARACTERS: Final = 4
SID_RANDOM_CHARACTERS: Final = 16
SOCKET_ID_CHARACTERS: Final = 20
_POOL_BYTES: Final = 3072
_SHORT_CHARACTERS: Final = 8
_CLIENT_CHARACTERS: Final = 12


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


def is_foreign_sid(sid: str, prefix: str) -> bool:
    """Whether this looks like a sid of a node with another prefix.

    A node without a prefix in its configuration draws a new one at each start. What it opened
    before that is then foreign, too.
    """
    length = SID_PREFIX_CHARACTERS + SID_RANDOM_CHARACTERS
    return len(sid) == length and not sid.startswith(prefix)


def shorten_sid(sid: str) -> str:
    """Return the name of a session for the log, which does not reveal its sid (LOG-11).

    It is the beginning of the sid's SHA-256 in hexadecimal, so whoever knows a sid, such as the
    author of a page, can find its lines.
    """
    return sha256(sid.encode(errors="replace")).hexdigest()[:_SHORT_CHARACTERS]


def name_client(sid: str) -> str:
    """Return the name of a client for the Admin UI; it begins with that of its session in the log.

    Official servers show the beginning of the sid, which is a secret. Ours begins with the prefix
    of the node besides, so that all clients of a node would have nearly the same name (AUI-19).
    """
    return sha256(sid.encode(errors="replace")).hexdigest()[:_CLIENT_CHARACTERS]
