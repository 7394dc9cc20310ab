"""A connection to Redis for programs on trio."""

import logging
from math import inf
from threading import get_ident
from typing import Any, Final

import trio

from trio_socketio.acks import check_timeout
from trio_socketio.errors import LocalProtocolError, RedisUnavailable
from trio_socketio.redis.commands import Answer, Argument, check_command, not_answered, pack
from trio_socketio.redis.link import Link
from trio_socketio.redis.options import RedisOptions
from trio_socketio.redis.scripts import Script
from trio_socketio.redis.statistics import Counts, RedisStatistics
from trio_socketio.redis.subscriptions import Gap, Receive, Subscription, Subscriptions
from trio_socketio.runtime.failures import FailureLog
from trio_socketio.runtime.sampling import Pace, SampledLog
from trio_socketio.signatures import is_async

log = logging.getLogger(__name__)

_REFUSALS: Final = Pace(5, 1)


class Redis:
    """One connection to Redis for a whole program: commands, messages and scripts.

    All tasks share it. What they ask within one pass of the scheduler leaves in one send, and
    answers come in the order of the calls. When the connection is lost it is made again, and
    subscriptions with it; commands fail meanwhile, at once, and nothing is sent twice.

    Args:
        options: where Redis is; None means on this machine.
    """

    def __init__(self, options: RedisOptions | None = None) -> None:
        self._options = RedisOptions() if options is None else options
        self._thread = get_ident()
        self._counts = Counts()
        self._failures = FailureLog()
        self._subscriptions = Subscriptions(self._counts, self._failures)
        self._publications = Publications(self._counts)
        self._link = Link(self._options, self._subscriptions, self._counts)

    def __repr__(self) -> str:
        return f"<Redis {self._options!s}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection until cancelled: a service. It is run once.

        It has started when there is a connection. A server that cannot be reached is tried again,
        so that may take any time. At the end, what was sent before has up to one second to be
        answered.

        Raises:
            ConfigurationError: before there was a connection: it can never work. The user,
                password, database or certificate is wrong, or the server is too old. Later that is
                no error; see `fault`.
        """
        try:
            await self._link.run(task_status=task_status)
        finally:
            self._failures.flush()
            self._publications.flush()

    @property
    def connected(self) -> bool:
        """Whether commands can be sent now."""
        pipeline = self._link.pipeline
        return pipeline is not None and not pipeline.is_lost

    @property
    def connections(self) -> int:
        """How many connections have been made; what is sent now goes over the last one."""
        return self._counts.connections

    @property
    def fault(self) -> str | None:
        """Why there is no connection, in words; None if there is one, or none was tried yet."""
        return self._link.fault

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""
        await trio.lowlevel.checkpoint()
        while not self.connected:
            await self._link.changed.wait()

    def publish(self, channel: str | bytes, payload: str | bytes) -> bool:
        """Queue a message for the next send. It never waits.

        If the connection is lost before Redis has answered, the message may have been published or
        not; it is not sent again.

        Args:
            channel: where to.
            payload: what.
        Returns:
            False if it was not queued, because there is no connection or the queue is full. The
            statistics count each message.
        Raises:
            LocalProtocolError: an argument is of another type, or the call comes from another
                thread.
        """
        if get_ident() != self._thread:
            self._subscriptions.check_thread()
        command = pack(b"PUBLISH", channel, payload)
        pipeline = self._link.pipeline
        if pipeline is None or not pipeline.add(command, self._publications):
            self._counts.unpublished += 1  # REDIS-13
            return False
        return True

    def subscribe(
        self,
        channel: str | bytes,
        receive: Receive,
        *,
        pattern: bool = False,
        gap: Gap | None = None,
    ) -> Subscription:
        """Subscribe to a channel, now or with the next connection, and with every later one.

        Args:
            channel: its name, or a pattern as of PSUBSCRIBE.
            receive: a plain function, called with channel and payload of each message where it is
                read. It must be quick. What it raises is logged and counted.
            pattern: whether channel is a pattern.
            gap: a plain function, called when the subscription was made anew, with the seconds for
                which messages may have been missed.
        Returns:
            The subscription, which lasts until it is closed.
        Raises:
            LocalProtocolError: the call comes from another thread, or a function is async.
        """
        self._subscriptions.check_thread()
        for name, function in (("receive", receive), ("gap", gap)):
            if function is not None and is_async(function):
                raise LocalProtocolError(f"{name} has to be a plain function, not an async one")
        return self._subscriptions.subscribe(channel, receive, pattern=pattern, gap=gap)

    async def execute(self, *arguments: Argument, timeout_s: float | None = None) -> Any:
        """Have Redis carry out a command.

        If the caller is cancelled or does not wait any longer, the command may still be carried
        out.

        Args:
            arguments: the command and its arguments, such as ``"PUBSUB", "NUMSUB", "news"``. Text
                is sent as UTF-8.
            timeout_s: how long the answer may take; None means command_timeout_s.
        Returns:
            The answer: bytes for text, int, float, bool, None, list, or dict for a map. Errors
            inside a list are RedisCommandError objects.
        Raises:
            RedisCommandError: Redis answers with an error.
            RedisUnavailable: there is no connection or the queue is full, and nothing was sent; or
                the connection was lost before the answer.
            TimeoutError: there is no answer in time.
            LocalProtocolError: the command cannot be given on a connection that is shared, is too
                large for the queue, or has an argument of another type.
        """
        if get_ident() != self._thread:
            self._subscriptions.check_thread()
        name = check_command(arguments)
        command = pack(*arguments)
        if timeout_s is None:
            answer = Answer(name, self._options.command_timeout_s)
            self._queue(name, command, answer)
            return await answer.wait()
        check_timeout(timeout_s)
        answer = Answer(name)
        self._queue(name, command, answer)
        with trio.move_on_after(timeout_s):
            return await answer.wait()
        raise not_answered(name, timeout_s)

    def _queue(self, name: str, command: bytes, answer: Answer) -> None:
        pipeline = self._link.pipeline
        if pipeline is not None and pipeline.add(command, answer):
            return
        if pipeline is None or pipeline.is_lost:
            why = self.fault or "it is being made"
            raise RedisUnavailable(f"{name} was not sent: there is no connection to Redis: {why}")
        if len(command) > self._options.max_queue_bytes:
            raise LocalProtocolError(
                f"{name} was not sent: it has {len(command):,} bytes, and the queue holds "
                f"{self._options.max_queue_bytes:,} (max_queue_bytes)"
            )
        raise RedisUnavailable(
            f"{name} was not sent: the queue is full, with {pipeline.waiting} commands that wait "
            f"for answers and {pipeline.unsent_bytes} bytes that wait to be sent (max_commands, "
            "max_queue_bytes)"
        )

    def script(self, source: str) -> Script:
        """Return a Lua script that can be run."""
        return Script(source, self.execute, self._counts)

    def statistics(self) -> RedisStatistics:
        """Return what the connection does at the moment, and its totals."""
        counts, pipeline = self._counts, self._link.pipeline
        return RedisStatistics(
            connected=self.connected,
            fault=self.fault,
            waiting=pipeline.waiting if pipeline is not None else 0,
            waiting_bytes=pipeline.unsent_bytes if pipeline is not None else 0,
            channels=len(self._subscriptions),
            commands=counts.commands,
            published=counts.published,
            unpublished=counts.unpublished,
            unconfirmed=counts.unconfirmed,
            messages=counts.messages,
            receiver_failures=counts.receiver_failures,
            reconnects=counts.reconnects,
            probe_failures=counts.probe_failures,
            script_loads=counts.script_loads,
            bytes_sent=counts.bytes_sent,
            bytes_received=counts.bytes_received,
        )


class Publications:
    """The slot of all messages that are published: their answers are only counted."""

    __slots__ = ("_counts", "_refusals", "deadline")

    def __init__(self, counts: Counts) -> None:
        self.deadline = inf
        self._counts = counts
        self._refusals = SampledLog(log, logging.WARNING, _REFUSALS)

    def answer(self, reply: Any) -> None:
        if type(reply) is int:
            self._counts.published += 1
            return
        self._counts.unpublished += 1
        if self._refusals.admits("Redis refuses messages"):
            log.warning("Redis refuses a message: %s", reply)

    def expire(self) -> None:
        """Do nothing: nobody waits."""

    def lose(self, reason: str) -> None:
        self._counts.unconfirmed += 1

    def flush(self) -> None:
        """Write the sum of the refusals that were not logged."""
        self._refusals.flush()
