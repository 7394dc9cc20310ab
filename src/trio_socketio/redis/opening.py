"""Opens a connection to Redis for a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.redis import Redis
from trio_socketio.runtime.groups import alone


@asynccontextmanager
async def open_redis(
    url: str | None = None, *, options: RedisOptions | None = None
) -> AsyncIterator[Redis]:
    """Open a connection to Redis, which is there when the block begins, and made again when lost.

    As long as the server cannot be reached it is tried again; a ``trio.fail_after`` around this
    sets a limit. At the end of the block, what was sent before has up to one second to be answered.

    Args:
        url: ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://...`` for TLS, or
            ``unix://[[USER]:PASSWORD@]/PATH[?db=DB]``. None means the options' URL.
        options: times and bounds, and the URL if it is not given.
    Raises:
        ConfigurationError: the URL, an option or a file cannot be used, or Redis refuses us.
    """
    if url is not None and options is not None:
        raise ConfigurationError("the url is given twice: leave it out, and give it in the options")
    if options is None:
        options = RedisOptions() if url is None else RedisOptions(url=url)
    redis = Redis(options)
    async with alone(trio.open_nursery()) as nursery:
        await nursery.start(redis.run)
        try:
            yield redis
        finally:
            nursery.cancel_scope.cancel()
