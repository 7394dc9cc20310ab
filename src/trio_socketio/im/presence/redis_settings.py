"""Whether a Redis is set up to keep presence, as far as it tells."""

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import RedisCommandError, RedisUnavailable

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""The time between two looks at settings that are not right yet."""


class RedisSettings:
    """Looks at the settings of Redis when a program starts.

    A Redis that throws keys away when memory is short would lose single users without anybody
    noticing, so no client is let in until that has been changed. What only costs more after an
    outage is told in the log.

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
            except (RedisUnavailable, TimeoutError):  # which is told elsewhere
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
                "presence: Redis writes nothing to its disk at once (appendonly is no); whenever "
                "it is restarted, the nodes have to tell it anew who is online"
            )

    async def _read(self) -> dict[str, str]:
        """Ask for the sections of INFO that matter.

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
    policy = found.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        return (
            f"Redis may throw away who is online when its memory is short (maxmemory-policy is "
            f"{policy}): set it to noeviction"
        )
    return ""
