"""Checks whether the settings of a Redis allow it to keep presence."""

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import RedisCommandError, RedisUnavailable

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often settings that are wrong are read again, in seconds."""


class RedisSettings:
    """Checks the settings of Redis when a program starts.

    A Redis that evicts keys when its memory is short could lose single users, or the head of a
    namespace, without anybody noticing. No client is let in until that has been changed. A
    setting that only makes an outage more expensive is mentioned in the log.

    Args:
        redis: the connection.

    Attributes:
        fault: why presence cannot be kept there; empty if it can.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self.fault = ""

    async def wait_fit(self) -> None:
        """Wait until presence can be kept there (CLUS-12)."""
        while True:
            try:
                found = await self._read()
            except (RedisUnavailable, TimeoutError):  # the connection itself logs this
                await trio.sleep(LOOK_S)
                continue
            except RedisCommandError as error:
                log.info("presence: the settings of Redis are not known: %s", error)
                return
            before, self.fault = self.fault, _find_fault(found)
            if not self.fault:
                break
            if not before:
                log.warning("no client is let in: %s", self.fault)
            await trio.sleep(LOOK_S)
        if found.get("aof_enabled") == "0":
            log.info(
                "presence: Redis keeps no append-only file (appendonly is no); whenever it is "
                "restarted, the nodes have to tell it anew who is online"
            )

    async def _read(self) -> dict[str, str]:
        """Read the sections of INFO that matter.

        Raises:
            RedisCommandError: the user may not ask.
            RedisUnavailable: there is no connection.
            TimeoutError: there is no answer in time.
        """
        found: dict[str, str] = {}
        for section in ("memory", "persistence"):
            text: bytes = await self._redis.execute("INFO", section)
            lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
            found |= {name: value for name, _, value in lines}
        return found


def _find_fault(found: dict[str, str]) -> str:
    # The volatile policies are no better: the head and the log of a namespace without users have an
    # expiry, and a log that has lost its head is refused as the key of somebody else.
    policy = found.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return (
            f"Redis may throw away who is online when its memory is short (maxmemory-policy is "
            f"{policy}): set it to noeviction"
        )
    return ""
