"""Keeps a connection to Redis: makes one, and the next one when it is lost."""

import logging
from math import inf
from typing import Final

import trio
from redis.backoff import FullJitterBackoff

from trio_socketio.errors import ConfigurationError, RedisUnavailable
from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis.address import parse_address
from trio_socketio.redis.connection import Connection
from trio_socketio.redis.dialing import Access, open_stream, read_access
from trio_socketio.redis.greeting import Host, greet
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.statistics import Counts
from trio_socketio.redis.subscriptions import Subscriptions
from trio_socketio.runtime.groups import alone

log = logging.getLogger(__name__)

END_S: Final = 1.0
"""How long the end waits for answers to what was sent before."""
MAX_DOUBLINGS: Final = 20
"""How often the pause doubles. redis-py before 7 cannot multiply a float with 2.0 ** 1024."""


class Link:
    """The connection to Redis, whichever it is at the moment.

    Args:
        options: where Redis is.
        subscriptions: are made on each connection.
        counts: where everything is counted.

    Attributes:
        pipeline: takes commands; None while there is no connection.
        fault: why there is none, in words; None if there is one, or if none was tried.
        changed: is set, and replaced, when there is a connection.
    """

    def __init__(self, options: RedisOptions, subscriptions: Subscriptions, counts: Counts) -> None:
        self.pipeline: Pipeline | None = None
        self.fault: str | None = None
        self.changed = trio.Event()
        self._options = options
        self._address = parse_address(options.url)
        self._subscriptions = subscriptions
        self._counts = counts
        self._pauses = FullJitterBackoff(options.retry_max_s, options.retry_first_s)
        self._connection: Connection | None = None
        self._ready_at = inf  # when the present connection could be used
        self._is_ending = False
        self._driving = trio.CancelScope(shield=True)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection until cancelled; see `Redis.run`."""
        async with alone(trio.open_nursery()) as nursery:
            # The task is shielded, so that what was queued before the end still leaves.
            nursery.start_soon(self._drive, task_status)
            try:
                await trio.sleep_forever()
            finally:
                self._end()

    async def _drive(self, task_status: trio.TaskStatus[None]) -> None:
        failures = 0
        with self._driving:
            while True:
                self._ready_at = inf
                try:
                    await self._keep_one(task_status)
                except ConfigurationError as error:
                    if not self._counts.connections:  # REDIS-05
                        raise ConfigurationError(f"Redis {self._address}: {error}") from None
                    self._tell(str(error))  # REDIS-34
                except RedisUnavailable as error:
                    self._tell(str(error))
                finally:
                    self.pipeline = self._connection = None
                if self._is_ending:
                    return
                # A server that drops connections as soon as it has them is not asked ever faster.
                if trio.current_time() - self._ready_at >= self._options.retry_max_s:
                    failures = 0
                await trio.sleep(self._pauses.compute(min(failures, MAX_DOUBLINGS)))  # REDIS-17
                failures += 1

    def _tell(self, fault: str) -> None:
        if fault != self.fault:  # REDIS-18
            self.fault = fault
            log.warning(
                "Redis %s: %s; connecting again, with pauses of at most %g s",
                self._address,
                fault,
                self._options.retry_max_s,
            )

    async def _keep_one(self, task_status: trio.TaskStatus[None]) -> None:
        """Make a connection, and keep it until it is lost or ended."""
        access, stream = await self._dial()
        connection = Connection(stream, self._subscriptions, self._options, self._counts)
        host: Host | None = None

        async def log_in(pipeline: Pipeline) -> None:
            nonlocal host
            host = await greet(pipeline, access)

        def ready(pipeline: Pipeline) -> None:
            self.pipeline, self.fault = pipeline, None
            self._ready_at = trio.current_time()
            log.info("Redis %s: connected; this is %s", self._address, host)
            if not self._counts.connections:
                task_status.started()
            self._counts.connections += 1
            self.changed.set()
            self.changed = trio.Event()

        self._connection = connection
        await connection.run(log_in, ready)

    async def _dial(self) -> tuple[Access, trio.abc.Stream]:
        limit_s = self._options.connect_timeout_s
        with trio.move_on_after(limit_s):
            if self._options.password_file is None and not self._address.is_secure:
                access = read_access(self._options)
            else:  # it reads files
                access = await trio.to_thread.run_sync(
                    read_access, self._options, abandon_on_cancel=True
                )
            return access, await open_stream(access)
        raise RedisUnavailable(f"cannot connect: no answer within {limit_s:g} s")

    def _end(self) -> None:
        """End the connection when everything is answered, or after END_S (REDIS-15)."""
        self._is_ending = True
        if self._connection is not None and self.pipeline is not None:
            self._driving.deadline = trio.current_time() + END_S
            self._connection.end()
        else:
            self._driving.cancel()
