"""Drives one connection to Redis: tasks that read, write, look at deadlines, and probe."""

from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from trio_socketio.errors import RedisUnavailable, RemoteProtocolError
from trio_socketio.protocol.redis_liveness import MAX_MISSES
from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis.dialing import explain
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.probe import Probe
from trio_socketio.redis.statistics import Counts
from trio_socketio.redis.subscriptions import Subscriptions
from trio_socketio.runtime.groups import alone

READ_BYTES: Final = 65536
SLICE_BYTES: Final = 256 << 10
"""How many bytes are sent before the time for them begins anew."""
TURN_S: Final = 0.001
"""After so long with messages all other tasks have a turn."""
EXPIRY_S: Final = 0.05
"""How long after its deadline a command times out. Those that are due in this time share a look."""
BATCH: Final = 4
"""How many replies and messages are handled between two looks at the clock."""


class Connection:
    """One connection to Redis, from its stream to its end.

    Args:
        stream: to Redis; the connection closes it.
        subscriptions: get what arrives.
        options: times and bounds.
        counts: where everything is counted.

    Attributes:
        pipeline: takes commands.
        read_at: when something was read last, on trio's clock.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        subscriptions: Subscriptions,
        options: RedisOptions,
        counts: Counts,
    ) -> None:
        self.read_at = trio.current_time()
        self.pipeline = Pipeline(
            subscriptions.receive,
            self._wake,
            max_commands=options.max_commands,
            max_bytes=options.max_queue_bytes,
            max_reply_bytes=options.max_reply_bytes,
        )
        self._stream = stream
        self._subscriptions = subscriptions
        self._options = options
        self._counts = counts
        self._output = trio.Event()
        self._read_bytes = 0
        self._reason = ""  # why the connection is lost
        self._is_ending = False
        self._scope = trio.CancelScope()

    def _wake(self) -> None:
        self._output.set()

    async def run(
        self, log_in: Callable[[Pipeline], Awaitable[None]], ready: Callable[[Pipeline], None]
    ) -> None:
        """Drive the connection until it is lost, or until everything is answered after `end`.

        Args:
            log_in: is awaited first. What it raises ends the connection and is raised.
            ready: called when commands can be sent, and all subscriptions were made.
        Raises:
            ConfigurationError: we must not subscribe to our own channel.
            RedisUnavailable: the connection was lost; the message says why.
        """
        try:
            async with alone(trio.open_nursery()) as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                nursery.start_soon(self._expire)
                await self._use(log_in, ready)
        except RedisUnavailable as error:
            self._lose(str(error))
        finally:
            self._lose("it is being closed")
            await trio.aclose_forcefully(self._stream)
        if not self._is_ending:
            raise RedisUnavailable(self._reason)

    async def _use(
        self, log_in: Callable[[Pipeline], Awaitable[None]], ready: Callable[[Pipeline], None]
    ) -> None:
        options, pipeline = self._options, self.pipeline
        probe = Probe(pipeline, options.prefix, options.probe_s, self._counts)
        with trio.move_on_after(options.connect_timeout_s) as opening:

            def opened() -> None:
                opening.deadline = inf
                ready(pipeline)

            await log_in(pipeline)
            self._subscriptions.attach(pipeline)
            await probe.run(self._subscriptions, opened, lambda: self._read_bytes)
        if opening.cancelled_caught:  # REDIS-21
            self._lose(f"Redis has not answered within {options.connect_timeout_s:g} s")
        else:
            self._lose(
                f"messages to ourselves have not come back for {MAX_MISSES * options.probe_s:g} s"
            )

    def end(self) -> None:
        """Have `run` return as soon as all commands are answered."""
        self._is_ending = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_ending and not self.pipeline.waiting:
            self._scope.cancel()

    def _lose(self, reason: str) -> None:
        """End the connection. Only the first reason counts; nothing is queued from now on."""
        if not self._reason:
            self._reason = reason
            self._subscriptions.detach(self.read_at)
            self.pipeline.lose(reason)
            self._scope.cancel()

    # -- tasks

    @enable_ki_protection  # else a Ctrl-C in here would pass for a failure of a receiver
    async def _read(self) -> None:
        dispatch = self.pipeline.dispatch
        try:
            while data := await self._stream.receive_some(READ_BYTES):
                self.read_at = trio.current_time()
                self._read_bytes += len(data)
                self._counts.bytes_received += len(data)
                self.pipeline.feed(bytes(data))
                turn_ends = monotonic() + TURN_S
                while dispatch(BATCH):
                    if monotonic() >= turn_ends:
                        await checkpoint()  # REDIS-14
                        turn_ends = monotonic() + TURN_S
                self._subscriptions.retry()
                self._end_if_idle()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(explain(error))
        except RemoteProtocolError as error:
            self._lose(str(error))
        else:
            self._lose("Redis has closed the connection")

    async def _write(self) -> None:
        """Send what was queued. All commands of one pass of the scheduler are in one block.

        The first of them wakes this task, which then runs in the next pass, when every task of the
        present one has run (REDIS-01).
        """
        limit_s = self._options.send_timeout_s
        while True:
            await self._output.wait()
            self._output = trio.Event()
            taken, commands = self.pipeline.take()
            self._counts.commands += commands
            block = memoryview(taken)
            for start in range(0, len(block), SLICE_BYTES):
                piece = block[start : start + SLICE_BYTES]
                with trio.move_on_after(limit_s) as scope:
                    try:
                        await self._stream.send_all(piece)
                    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                        self._lose(explain(error))
                if scope.cancelled_caught:  # REDIS-20
                    self._lose(f"Redis has taken no more commands for {limit_s:g} s")
                if self._reason:
                    return
                self.pipeline.sent(len(piece))
                self._counts.bytes_sent += len(piece)

    async def _expire(self) -> None:
        """Have commands time out (REDIS-39)."""
        limit_s = self._options.command_timeout_s
        due = trio.current_time()
        while True:
            await trio.sleep_until(due)
            # If the process stood still, this is the time in which what had arrived is read, and
            # what was queued just before is sent and answered.
            await trio.sleep(EXPIRY_S)
            await checkpoint()  # whoever reads was woken together with this task
            next_at = self.pipeline.expire(due)
            # A command that is queued from now on has not timed out before limit_s have passed.
            due = min(next_at, trio.current_time() + limit_s)
