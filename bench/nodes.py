"""Two nodes that share a Redis: ours, or those of Node with @socket.io/redis-adapter."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from tests.redis_server import RedisFailed, RedisServer, running_redis

from bench.machine import Cores
from bench.servers import TITLES, Running, ServerFailedError, run_server
from redis import RedisError

NODES = 2
HEARD_S = 10.0  # until all nodes are subscribed
_REQUESTS = b"socket.io-request#/#"  # servers subscribe to this channel last


class SharedRedis:
    """One Redis for all nodes, which starts when it is first needed.

    It runs on the core of the load generator: the nodes have one between them, on either side.
    """

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._open = ExitStack()
        self._server: RedisServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def start(self) -> RedisServer:
        """Start it, unless it runs.

        Raises:
            ServerFailedError: there is none, or it does not start.
        """
        if self._server is None:
            try:
                self._server = self._open.enter_context(running_redis())
            except RedisFailed as error:
                raise ServerFailedError(f"Redis did not start: {error}") from None
            for thread in os.listdir(f"/proc/{self._server.pid}/task"):
                os.sched_setaffinity(int(thread), {self._cores.generator})
        return self._server

    def command(self, *arguments: str | bytes) -> Any:
        """Give it a command.

        Raises:
            ServerFailedError: it does not answer, or with an error.
        """
        try:
            return self.start().command(*arguments)
        except RedisError as error:
            raise ServerFailedError(f"Redis did not answer: {error}") from None


@contextmanager
def run_nodes(
    name: str,
    cores: Cores,
    redis: SharedRedis,
    options: Sequence[str] = (),
    *,
    is_spread: bool = False,
) -> Iterator[Running]:
    """Two nodes on the server's core, until the block ends; what one publishes the other hears.

    Args:
        name: of the server.
        cores: that are free.
        redis: that they share.
        options: of the command line of both.
        is_spread: see run_server.
    Raises:
        ServerFailedError: one of them, or Redis, does not start.
    """
    run = partial(
        run_server, name, cores, redis=redis.start().url, options=options, is_spread=is_spread
    )
    with run() as first, run(log_name=f"{name}-2") as second:
        _wait_heard(redis, name)
        yield replace(first, second=second)


def _wait_heard(redis: SharedRedis, name: str) -> None:
    """Wait until both nodes are subscribed.

    Raises:
        ServerFailedError: they are not in time.
    """
    give_up = time.monotonic() + HEARD_S
    while redis.command("PUBSUB", "NUMSUB", _REQUESTS)[1] != NODES:
        if time.monotonic() > give_up:
            raise ServerFailedError(f"{TITLES[name]} did not subscribe to Redis")
        time.sleep(0.05)
