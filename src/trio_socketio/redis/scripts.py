"""Lua scripts that Redis carries out."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any

from trio_socketio.errors import RedisCommandError
from trio_socketio.redis.commands import Argument
from trio_socketio.redis.statistics import Counts

Call = Callable[..., Awaitable[Any]]


class Script:
    """A Lua script, which Redis carries out as one step. `Redis.script` makes it."""

    def __init__(self, source: str, execute: Call, counts: Counts) -> None:
        self._source = source
        # Redis names scripts by this digest. It is no protection from anything.
        self._digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._execute = execute
        self._counts = counts

    async def run(
        self,
        keys: Sequence[str | bytes] = (),
        arguments: Sequence[Argument] = (),
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """Carry the script out.

        Redis is sent its source when it does not know the script: the first time, and after a
        restart or SCRIPT FLUSH. The script has not run then, so nothing is carried out twice.

        Args:
            keys: KEYS of the script.
            arguments: ARGV of the script.
            timeout_s: how long each answer may take; None means command_timeout_s.
        Returns:
            What the script returns, as `Redis.execute` does.
        Raises:
            RedisCommandError: the script fails, or is no Lua.
            RedisUnavailable: see `Redis.execute`.
            TimeoutError: see `Redis.execute`.
        """
        call = ("EVALSHA", self._digest, len(keys), *keys, *arguments)
        try:
            return await self._execute(*call, timeout_s=timeout_s)
        except RedisCommandError as error:
            if error.code != "NOSCRIPT":  # REDIS-33
                raise
        self._counts.script_loads += 1
        await self._execute("SCRIPT", "LOAD", self._source, timeout_s=timeout_s)
        try:
            return await self._execute(*call, timeout_s=timeout_s)
        except RedisCommandError as error:
            if error.code != "NOSCRIPT":
                raise
        # It was forgotten again meanwhile. EVAL cannot meet that, but sends the source with each of
        # the calls that wait, so it is not the first choice.
        self._counts.script_loads += 1
        call = ("EVAL", self._source, len(keys), *keys, *arguments)
        return await self._execute(*call, timeout_s=timeout_s)
