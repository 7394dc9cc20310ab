"""A connection over a stream in memory: what is sent when, and who has a turn."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import pytest
import trio
from tests.redis.fake_redis import FakeRedis, FakeSession, push
from tests.socketio.serving import until
from trio.testing import MockClock, memory_stream_pair, trio_test, wait_all_tasks_blocked

from trio_socketio import RedisOptions, RedisUnavailable
from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis import connection
from trio_socketio.redis.commands import Answer, pack
from trio_socketio.redis.connection import SLICE_BYTES, TURN_S, Connection
from trio_socketio.redis.statistics import Counts
from trio_socketio.redis.subscriptions import Subscriptions
from trio_socketio.runtime.failures import FailureLog


class World:
    """A connection in memory, and the server at its other end."""

    def __init__(self, **options: Any) -> None:
        ours, self.theirs = memory_stream_pair()
        self.sends = 0
        self.receive_stream = ours.receive_stream
        pump = ours.send_stream.send_all_hook
        self.delay_s = 0.0
        self.holds = False  # whether the server sends nothing for now

        async def count() -> None:
            self.sends += 1
            await trio.sleep(self.delay_s)
            if pump is not None:
                await pump()

        ours.send_stream.send_all_hook = count
        self.redis = FakeRedis()
        self.session = FakeSession(self.redis)
        self.counts = Counts()
        self.subscriptions = Subscriptions(self.counts, FailureLog())
        self.connection = Connection(ours, self.subscriptions, RedisOptions(**options), self.counts)
        self.pipeline = self.connection.pipeline
        self.is_ready = trio.Event()
        self.lost = ""

    async def run(self, log_in: Callable[[Pipeline], Awaitable[None]] | None = None) -> None:
        """Drive the connection, and remember why it was lost."""

        async def nothing(_: Pipeline) -> None:
            await trio.lowlevel.checkpoint()

        try:
            await self.connection.run(log_in or nothing, lambda _: self.is_ready.set())
        except RedisUnavailable as error:
            self.lost = str(error)

    async def serve(self) -> None:
        """Be the server."""
        async for data in self.theirs:
            self.session.feed(bytes(data))
            if not self.holds:
                await self.flush()

    async def flush(self) -> None:
        output, self.session.output = self.session.output, bytearray()
        await self.theirs.send_all(output)

    async def ask(self, *arguments: str) -> Any:
        answer = Answer(arguments[0])
        if not self.pipeline.add(pack(*arguments), answer):
            raise RedisUnavailable("it was not queued")
        with trio.fail_after(100):
            return await answer.wait()


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[World]:
    world = World(**options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        nursery.start_soon(world.serve)
        await world.is_ready.wait()
        yield world
        nursery.cancel_scope.cancel()


@pytest.mark.req("REDIS-01")
@trio_test
async def test_what_all_tasks_ask_in_one_pass_leaves_in_one_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "TURN_S", 60.0)  # else the replies may take several passes
    async with connected() as world:
        await wait_all_tasks_blocked()
        sends, commands = world.sends, world.counts.commands
        replies: set[bytes] = set()

        async def ask(number: int) -> None:
            for turn in range(3):
                replies.add(await world.ask("ECHO", f"{number}-{turn}"))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert len(replies) == 150
        assert world.sends - sends == 3
        assert world.counts.commands - commands == 150


@pytest.mark.req("REDIS-14")
@trio_test
async def test_other_tasks_have_their_turns_while_messages_come() -> None:
    """A receiver takes half a turn, and 400 messages are there at once."""
    turns = 0
    turns_seen: list[int] = []

    def receive(_: bytes, payload: bytes) -> None:
        ends = trio.current_time() + TURN_S / 2
        while trio.current_time() < ends:
            pass
        turns_seen.append(turns)

    async with connected() as world:
        await world.subscriptions.subscribe("news", receive).wait_confirmed()

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await world.theirs.send_all(push(b"message", b"news", b"hi") * 400)
            await until(lambda: len(turns_seen) == 400)
            nursery.cancel_scope.cancel()
    assert len(set(turns_seen)) >= 400 / 4 / 2  # the tasks of a pass run in any order


@pytest.mark.req("REDIS-20")
@trio_test
async def test_a_connection_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    async with connected(send_timeout_s=3, probe_s=1000) as world:
        world.delay_s = inf
        began = trio.current_time()
        with pytest.raises(RedisUnavailable, match="has taken no more commands for 3 s"):
            await world.ask("ECHO", "x")
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)


@pytest.mark.req("REDIS-20")
@trio_test
async def test_a_slow_connection_that_makes_progress_is_kept(autojump_clock: MockClock) -> None:
    """Each slice of a large block has the whole time."""
    async with connected(send_timeout_s=3, probe_s=1000) as world:
        world.delay_s = 2
        began = trio.current_time()
        assert len(await world.ask("ECHO", "x" * 4 * SLICE_BYTES)) == 4 * SLICE_BYTES
        assert trio.current_time() - began >= 8


@pytest.mark.req("REDIS-21")
@trio_test
async def test_a_server_that_does_not_answer_is_given_up(autojump_clock: MockClock) -> None:
    world = World(connect_timeout_s=4)

    async def log_in(_: Pipeline) -> None:
        await trio.sleep_forever()

    await world.run(log_in)
    assert world.lost == "Redis has not answered within 4 s"
    assert trio.current_time() == pytest.approx(4, abs=0.1)


@pytest.mark.req("REDIS-31")
@trio_test
async def test_a_starved_subscriber_is_found(autojump_clock: MockClock) -> None:
    """Commands are answered, but messages do not arrive."""
    async with connected(probe_s=5) as world:
        await trio.sleep(60)
        assert not world.pipeline.is_lost
        world.redis.starves = True
        began = trio.current_time()
        with suppress(RedisUnavailable):
            while True:
                await world.ask("PING")
                await trio.sleep(0.5)
        await until(lambda: bool(world.lost))
        assert trio.current_time() - began <= 16
        assert world.lost == "messages to ourselves have not come back for 10 s"
        assert world.counts.probe_failures == 2


@pytest.mark.req("REDIS-31")
@trio_test
async def test_a_server_that_stands_still_is_found(autojump_clock: MockClock) -> None:
    async with connected(probe_s=5) as world:
        world.session.feed = lambda data: None  # type: ignore[method-assign]  # answers nothing
        await trio.sleep(16)
        assert world.lost


@pytest.mark.req("REDIS-32")
@trio_test
async def test_a_full_queue_does_not_stop_the_probe(autojump_clock: MockClock) -> None:
    async with connected(probe_s=5, max_commands=16) as world:
        held = world.session.feed
        world.session.feed = lambda data: None  # type: ignore[method-assign]  # answers nothing
        while world.pipeline.add(pack("PING"), Answer("PING")):
            pass
        await trio.sleep(1)
        world.session.feed = held  # type: ignore[method-assign]  # answers again
        sent = world.counts.commands
        await trio.sleep(5)
        assert world.counts.commands == sent + 1


@pytest.mark.req("REDIS-32")
@trio_test
async def test_what_has_arrived_is_read_before_a_probe_is_judged(mock_clock: MockClock) -> None:
    """The last probe comes back in the moment in which it is judged, as after a SIGSTOP."""
    for _ in range(10):  # the tasks of a pass run in any order
        async with connected(probe_s=5) as world:
            await wait_all_tasks_blocked()
            world.holds = True
            for misses in (0, 1):
                mock_clock.jump(5)
                await wait_all_tasks_blocked()
                assert world.counts.probe_failures == misses
            world.receive_stream.put_data(world.session.output)
            mock_clock.jump(5)
            await wait_all_tasks_blocked()
            assert not world.pipeline.is_lost


@pytest.mark.req("REDIS-11")
@trio_test
async def test_a_stray_reply_ends_the_connection(autojump_clock: MockClock) -> None:
    async with connected() as world:
        await wait_all_tasks_blocked()
        await world.theirs.send_all(b":1\r\n")
        await wait_all_tasks_blocked()
        assert world.lost == "Redis sent a reply to no command"


@trio_test
async def test_the_end_of_the_stream_is_a_loss(autojump_clock: MockClock) -> None:
    async with connected() as world:
        world.theirs.send_stream.close()
        with pytest.raises(RedisUnavailable):
            await world.ask("ECHO", "x")
        assert world.pipeline.is_lost
        await wait_all_tasks_blocked()
        assert "closed" in world.lost


@pytest.mark.req("REDIS-15")
@trio_test
async def test_the_end_waits_for_answers(autojump_clock: MockClock) -> None:
    async with connected() as world:
        await wait_all_tasks_blocked()
        answer = Answer("ECHO")
        world.pipeline.add(pack("ECHO", "x"), answer)
        world.connection.end()
        assert await answer.wait() == b"x"
        await wait_all_tasks_blocked()
        assert world.pipeline.is_lost
        assert not world.lost
