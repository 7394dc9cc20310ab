"""The sessions of administrators, who come back with an id instead of the password."""

import logging
import secrets
from collections.abc import Callable
from typing import Any, Final, Protocol

from trio_socketio.errors import TrioSocketIOError
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

log = logging.getLogger(__name__)

PREFIX: Final = "socket.io-admin#"
"""The names of the keys in Redis begin so, as with official servers, which share the sessions."""
MAX_SESSIONS: Final = 1000
"""How many sessions are kept in memory; the oldest goes first."""

_ID_BYTES: Final = 16
_MAX_ID: Final = 64
_MAX_CREDENTIAL: Final = 256
_TIMEOUT_S: Final = 2.0


def draw_session_id() -> str:
    """Return a new id. Official servers draw half as many digits, which one could do for years."""
    return secrets.token_hex(_ID_BYTES)


def is_session_id(value: object) -> bool:
    """Whether a value that a client has sent may be the id of a session."""
    return type(value) is str and 0 < len(value) <= _MAX_ID and value.isascii() and value.isalnum()


class Sessions(Protocol):
    """Where the sessions are kept."""

    async def save(self, session_id: str, credential: str) -> None:
        """Keep a session, with what was given for it. A failure is logged."""

    async def find(self, session_id: str) -> str | None:
        """Return what was given for a session; None if there is none."""


class MemorySessions:
    """Sessions in the memory of this server.

    Args:
        lasting_s: how long they last.
        clock: in seconds.
    """

    def __init__(self, lasting_s: float, clock: Callable[[], float]) -> None:
        self._lasting_s = lasting_s
        self._clock = clock
        self._sessions: dict[str, tuple[str, float]] = {}  # the oldest first

    async def save(self, session_id: str, credential: str) -> None:
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session_id] = (credential, self._clock() + self._lasting_s)

    async def find(self, session_id: str) -> str | None:
        credential, ends_at = self._sessions.get(session_id, (None, 0.0))
        if credential is not None and ends_at <= self._clock():
            del self._sessions[session_id]
            return None
        return credential


class Commands(Protocol):
    """A connection to Redis, as far as sessions need it; see Redis."""

    async def execute(self, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Have Redis carry out a command."""


class RedisSessions:
    """Sessions that all servers share, those of Node with a RedisStore among them (AUI-11).

    Args:
        redis: the connection.
        lasting_s: how long they last.
    """

    def __init__(self, redis: Commands, lasting_s: float) -> None:
        self._redis = redis
        self._lasting = str(max(1, round(lasting_s)))
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    async def save(self, session_id: str, credential: str) -> None:
        command = ("SET", PREFIX + session_id, credential, "EX", self._lasting)
        try:
            await self._redis.execute(*command, timeout_s=_TIMEOUT_S)
        except (TrioSocketIOError, TimeoutError) as error:
            log.warning(
                "a session of the Admin UI could not be kept, so its administrator has to give the "
                "password again: %s",
                error,
            )

    async def find(self, session_id: str) -> str | None:
        try:
            found = await self._redis.execute("GET", PREFIX + session_id, timeout_s=_TIMEOUT_S)
        except (TrioSocketIOError, TimeoutError) as error:
            # Everybody can have a session looked up, so not each of them may write a line.
            if self._lines.admits("sessions of the Admin UI that could not be looked up"):
                log.warning("a session of the Admin UI could not be looked up: %s", error)
            return None
        if type(found) is not bytes or len(found) > _MAX_CREDENTIAL:
            return None
        return found.decode(errors="replace")
