"""What a program sees of a connection to Redis, with a server that can be told to misbehave."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from redis.backoff import FullJitterBackoff
from tests.redis.fake_redis import FakeRedis, encode, greeting, serving
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test

from trio_socketio import (
    ConfigurationError,
    LocalProtocolError,
    Redis,
    RedisCommandError,
    RedisOptions,
    RedisUnavailable,
    open_redis,
)
from trio_socketio.redis.link import MAX_DOUBLINGS


@asynccontextmanager
async def connected(
    folder: Path, server: FakeRedis | None = None, **options: Any
) -> AsyncIterator[tuple[Redis, FakeRedis]]:
    server = server or FakeRedis()
    async with (
        serving(server, folder / "s") as url,
        open_redis(options=RedisOptions(url=url, **options)) as redis,
    ):
        yield redis, server


def hold(server: FakeRedis, name: bytes) -> None:
    """Have the server answer nothing to a command."""
    server.answers[name] = b""


def cut(server: FakeRedis) -> None:
    for session in list(server.sessions):
        session.cut()


async def reconnected(redis: Redis, number: int = 1) -> None:
    """Wait until there was a connection so many times; none may be too short to be seen."""
    while redis.statistics().reconnects < number:  # noqa: ASYNC110 - it sets no event
        await trio.sleep(0.002)


# -- the start


@pytest.mark.parametrize(
    ("url", "hello"),
    [
        ("unix://{}", [b"HELLO", b"3", b"SETNAME", b"trio-socketio"]),
        (
            "unix://:pass@{}",
            [b"HELLO", b"3", b"AUTH", b"default", b"pass", b"SETNAME", b"trio-socketio"],
        ),
        (
            "unix://ann:pass@{}",
            [b"HELLO", b"3", b"AUTH", b"ann", b"pass", b"SETNAME", b"trio-socketio"],
        ),
    ],
)
@pytest.mark.req("REDIS-03")
@trio_test
async def test_it_logs_in(tmp_path: Path, url: str, hello: list[bytes]) -> None:
    server = FakeRedis()
    async with serving(server, tmp_path / "s"), open_redis(url.format(tmp_path / "s") + "?db=3"):
        assert server.commands[:2] == [hello, [b"SELECT", b"3"]]


@pytest.mark.req("REDIS-05", "REDIS-06", "REDIS-09", "REDIS-37")
@pytest.mark.parametrize(
    ("command", "answer", "told"),
    [
        (b"HELLO", b"-WRONGPASS invalid username-password pair\r\n", "the user ann is wrong"),
        (b"HELLO", b"-NOAUTH HELLO must be called\r\n", "asks for a password, and none is given"),
        (b"HELLO", b"-ERR unknown command `HELLO`\r\n", "needs Redis 6.2 or later"),
        (b"HELLO", b"-NOPROTO unsupported protocol version\r\n", "NOPROTO"),
        (b"HELLO", greeting(version="6.0.16"), "this is redis 6.0.16; .* needs Redis 6.2"),
        (b"HELLO", greeting("valkey", "7.1.9"), "this is valkey 7.1.9; .* Valkey 7.2 or later"),
        (b"HELLO", greeting(mode="sentinel"), "this is a Sentinel"),
        (
            b"SELECT",
            b"-ERR DB index is out of range\r\n",
            "database 3 cannot be used: ERR DB index",
        ),
        (b"SUBSCRIBE", b"-NOPERM no channels\r\n", "does not let us use tsio:probe:.*: NOPERM"),
        (b"PUBLISH", b"-NOPERM no right\r\n", "does not let us use tsio:probe:.*: NOPERM"),
    ],
)
@trio_test
async def test_what_can_never_work_ends_the_start(
    tmp_path: Path, command: bytes, answer: bytes, told: str
) -> None:
    server = FakeRedis(answers={command: answer})
    async with serving(server, tmp_path / "s"):
        with pytest.raises(ConfigurationError, match=f"^Redis unix://ann@.*{told}") as ended:
            async with open_redis(f"unix://ann:hidden@{tmp_path / 's'}?db=3"):
                pytest.fail("it has started")
        assert "hidden" not in str(ended.value)
        assert "\n" not in str(ended.value)


@pytest.mark.parametrize(
    "hello",
    [
        greeting(version="6.2.0"),
        greeting("valkey", "7.2.5"),
        greeting("other", "0.1"),
        greeting(version="7.0.15-rc1"),
        greeting(mode="cluster"),
    ],
)
@pytest.mark.req("REDIS-09")
@trio_test
async def test_servers_that_are_new_enough_are_taken(tmp_path: Path, hello: bytes) -> None:
    async with connected(tmp_path, FakeRedis(hello=hello)) as (redis, _):
        assert redis.connected


@pytest.mark.req("REDIS-17", "REDIS-18")
@pytest.mark.parametrize(
    ("hello", "told"),
    [
        (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
        (b"+OK\r\n", "what has answered is not Redis"),
        (b"HTTP/1.1 400\r\n", "Redis sent what is not RESP3"),
    ],
)
@trio_test
async def test_what_may_work_later_is_tried_again(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    hello: bytes,
    told: str,
) -> None:
    server = FakeRedis(hello=hello)
    async with serving(server, tmp_path / "s") as url, trio.open_nursery() as nursery:
        redis = Redis(RedisOptions(url=url))
        nursery.start_soon(redis.run)
        await trio.sleep(30)
        assert not redis.connected
        assert redis.fault is not None
        assert told in redis.fault
        # In 30 s: the pauses are 1 s in the mean once they have grown.
        assert 15 <= server.names().count("HELLO") <= 100
        assert len(caplog.records) == 1  # REDIS-18
        assert told in caplog.text
        with pytest.raises(RedisUnavailable, match="PING was not sent: there is no connection"):
            await redis.execute("PING")
        server.hello = greeting()
        await redis.wait_connected()
        assert redis.statistics().fault is None
        assert await redis.execute("ECHO", "x") == b"x"
        nursery.cancel_scope.cancel()


@pytest.mark.req("REDIS-05", "REDIS-17", "REDIS-18")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (b"SELECT", "the database 3 cannot be used: BUSY"),
        (b"SUBSCRIBE", "tsio:probe:*: BUSY"),
        (b"PUBLISH", "tsio:probe:*: BUSY"),
    ],
)
@trio_test
async def test_a_server_that_is_busy_is_tried_again(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    command: bytes,
    told: str,
) -> None:
    server = FakeRedis(answers={command: b"-BUSY Redis is busy running a script\r\n"})
    async with serving(server, tmp_path / "s") as url, trio.open_nursery() as nursery:
        redis = Redis(RedisOptions(url=f"{url}?db=3"))
        nursery.start_soon(redis.run)
        await trio.sleep(10)
        (line,) = [one.message for one in caplog.records if one.name.endswith("link")]
        assert told in line
        server.answers.clear()
        await redis.wait_connected()
        nursery.cancel_scope.cancel()


@pytest.mark.req("REDIS-37", "REDIS-34")
@trio_test
async def test_a_right_that_is_taken_later_is_the_fault(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with connected(tmp_path) as (redis, server):
        server.answers[b"PUBLISH"] = b"-NOPERM no right\r\n"
        await trio.sleep(6)
        assert redis.fault is not None
        assert redis.fault.endswith("does not let us use tsio:probe:*: NOPERM no right")
        server.answers.clear()
        await redis.wait_connected()


@pytest.mark.req("REDIS-37", "REDIS-31")
@trio_test
async def test_a_server_that_is_busy_for_a_while_is_kept(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path) as (redis, server):
        busy = b"-BUSY Redis is busy running a script\r\n"
        server.answers[b"PUBLISH"] = busy
        await trio.sleep(9)
        server.answers.clear()
        await trio.sleep(20)
        assert redis.statistics().reconnects == 0
        server.answers = {b"PUBLISH": busy, b"HELLO": b"-BUSY hello\r\n"}
        await trio.sleep(16)
        assert redis.fault == "BUSY hello"
        assert "does not let us use tsio:probe:*: BUSY Redis is busy" in caplog.text


@pytest.mark.req("REDIS-17")
@trio_test
async def test_an_absent_server_is_awaited_for_as_long_as_it_takes(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    redis = Redis(RedisOptions(url=f"unix://{tmp_path / 's'}", retry_max_s=0.1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(redis.run)
        await trio.sleep(20)
        assert redis.fault == "cannot connect: No such file or directory"
        async with serving(FakeRedis(), tmp_path / "s"):
            with trio.fail_after(0.2):
                await redis.wait_connected()
            nursery.cancel_scope.cancel()


@pytest.mark.req("REDIS-17")
def test_pauses_are_drawn_from_a_bound_that_doubles() -> None:
    """What is relied on of redis-py."""
    pauses = FullJitterBackoff(2.0, 0.05)
    for failures, most in [(0, 0.05), (1, 0.1), (3, 0.4), (10, 2.0), (MAX_DOUBLINGS, 2.0)]:
        drawn = [pauses.compute(failures) for _ in range(300)]
        assert most * 0.9 < max(drawn) <= most
        assert min(drawn) < most * 0.1


@pytest.mark.req("REDIS-17")
@trio_test
async def test_the_first_pause_after_a_loss_is_short(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with connected(tmp_path) as (redis, server):
        for number in range(1, 6):
            await trio.sleep(10)
            cut(server)
            with trio.fail_after(0.1):
                await reconnected(redis, number)


# -- losses


@pytest.mark.req("REDIS-19", "REDIS-13", "REDIS-34")
@trio_test
async def test_nothing_is_sent_twice(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        hold(server, b"INCR")
        hold(server, b"PUBLISH")
        async with trio.open_nursery() as nursery:

            async def increase() -> None:
                with pytest.raises(
                    RedisUnavailable, match="no answer to INCR, because the connection"
                ):
                    await redis.execute("INCR", "n")

            nursery.start_soon(increase)
            assert redis.publish("news", b"hi")
            await until(lambda: "INCR" in server.names())
            server.answers.clear()
            cut(server)
        assert not redis.connected
        assert not redis.publish("news", b"lost")
        await redis.wait_connected()
        await redis.execute("ECHO", "x")
        assert server.names().count("INCR") == 1
        statistics = redis.statistics()
        assert (statistics.unpublished, statistics.unconfirmed, statistics.published) == (1, 1, 0)
        assert statistics.reconnects == 1


@pytest.mark.req("REDIS-34", "REDIS-18")
@trio_test
async def test_a_later_fault_is_no_exception(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path) as (redis, server):
        server.hello = b"-WRONGPASS\r\n"
        cut(server)
        await trio.sleep(30)
        assert redis.fault == (
            "the password of the user default is wrong, or there is no such user"
        )
        assert redis.statistics().fault == redis.fault
        server.hello = greeting()
        await redis.wait_connected()
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@trio_test
async def test_receivers_are_plain_functions(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def receive(*_: Any) -> None: ...

    async with connected(tmp_path) as (redis, _):
        with pytest.raises(LocalProtocolError, match="receive has to be a plain function"):
            redis.subscribe("news", receive)
        with pytest.raises(LocalProtocolError, match="gap has to be a plain function"):
            redis.subscribe("news", lambda *_: None, gap=receive)
        assert redis.statistics().channels == 1  # that of the probe


@pytest.mark.req("REDIS-12", "REDIS-13")
@trio_test
async def test_a_full_queue_refuses_with_its_numbers(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with connected(tmp_path, max_commands=16, max_queue_bytes=2000) as (redis, server):
        with pytest.raises(LocalProtocolError, match="SET was not sent: it has 3,0"):
            await redis.execute("SET", "k", "x" * 3000)
        await redis.execute("ECHO", "x")
        hold(server, b"PUBLISH")
        taken = [redis.publish("news", b"hi") for _ in range(20)]
        assert taken == sorted(taken, reverse=True)
        assert 14 <= taken.count(True) <= 16
        with pytest.raises(RedisUnavailable, match=r"ECHO was not sent: .* 16 commands that wait"):
            await redis.execute("ECHO", "x")
        assert redis.statistics().unpublished == taken.count(False)


@pytest.mark.req("REDIS-36", "REDIS-10")
@trio_test
async def test_a_late_answer_goes_to_nobody_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with connected(tmp_path, command_timeout_s=3) as (redis, server):
        hold(server, b"SLOW")
        await trio.sleep(1)
        began = trio.current_time()
        with pytest.raises(TimeoutError, match="not answered SLOW within 3 s"):
            await redis.execute("SLOW")
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)
        with pytest.raises(TimeoutError, match=r"within 0\.5 s"):
            await redis.execute("SLOW", timeout_s=0.5)
        with pytest.raises(LocalProtocolError):
            await redis.execute("SLOW", timeout_s=0)
        server.sessions[0].send(encode(b"first") + encode(b"second"))
        assert await redis.execute("ECHO", "mine") == b"mine"


@trio_test
async def test_an_error_is_raised_where_the_command_was_given(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        server.answers[b"GET"] = b"-WRONGTYPE Operation against a key\r\n"
        with pytest.raises(RedisCommandError, match="WRONGTYPE Operation") as failed:
            await redis.execute("GET", "list")
        assert failed.value.code == "WRONGTYPE"
        assert await redis.execute("ECHO", "x") == b"x"


@pytest.mark.req("REDIS-13")
@trio_test
async def test_a_message_that_redis_refuses_is_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path) as (redis, server):
        await redis.execute("ECHO", "x")
        server.answers[b"PUBLISH"] = b"-NOPERM no channel\r\n"
        for _ in range(20):
            assert redis.publish("news", b"hi")
        await redis.execute("ECHO", "x")
        assert redis.statistics().unpublished == 20
        assert redis.statistics().published <= 1  # the probe is not counted
    assert caplog.text.count("Redis refuses a message: NOPERM no channel") == 5
    assert "Redis refuses messages: 15 more" in caplog.text


# -- the end


@pytest.mark.req("REDIS-15")
@trio_test
async def test_what_was_queued_before_the_end_leaves(tmp_path: Path) -> None:
    async with serving(server := FakeRedis(), tmp_path / "s") as url:
        async with open_redis(url) as redis:
            for number in range(100):
                redis.publish("news", str(number))
        assert [command[2] for command in server.commands if command[1:2] == [b"news"]] == [
            b"%d" % number for number in range(100)
        ]
        assert redis.statistics().published == 100
        assert not redis.connected
        assert not redis.publish("news", b"late")


@pytest.mark.req("REDIS-15")
@trio_test
async def test_the_end_waits_no_longer_than_a_second(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with serving(server := FakeRedis(), tmp_path / "s") as url:
        async with open_redis(url) as redis:
            hold(server, b"PUBLISH")
            redis.publish("news", b"hi")
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(1, abs=0.1)
        assert redis.statistics().unconfirmed == 1


@trio_test
async def test_the_end_while_there_is_no_connection_is_at_once(tmp_path: Path) -> None:
    with trio.fail_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Redis(RedisOptions(url=f"unix://{tmp_path / 's'}")).run)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


# -- arguments


@trio_test
async def test_the_url_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        async with open_redis("redis://h", options=RedisOptions()):
            pass
    with pytest.raises(ConfigurationError, match="url: expected"):
        async with open_redis("h:6379"):
            pass


@pytest.mark.req("REDIS-35")
@trio_test
async def test_another_thread_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        subscription = redis.subscribe("news", print)
        await subscription.wait_confirmed()
        refused = []

        def call() -> None:
            for function in (
                lambda: redis.publish("news", b"hi"),
                lambda: redis.subscribe("other", print),
                subscription.close,
                lambda: redis.execute("PING").send(None),
            ):
                try:
                    function()
                except LocalProtocolError as error:
                    refused.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert len(refused) == 4
        assert all("another thread" in told for told in refused)
        await redis.execute("ECHO", "x")
        assert server.names().count("SUBSCRIBE") == 2  # that of the probe, and ours
        assert subscription.confirmed


@trio_test
async def test_a_wrong_argument_is_refused_with_and_without_a_connection(tmp_path: Path) -> None:
    alone = Redis()
    with pytest.raises(LocalProtocolError):
        alone.publish("news", None)  # type: ignore[arg-type]  # that is the point
    assert alone.statistics().unpublished == 0
    async with connected(tmp_path) as (redis, _):
        with pytest.raises(LocalProtocolError):
            redis.publish("news", None)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(LocalProtocolError):
            redis.subscribe("\ud800", print)
        assert "hidden" not in repr(redis)


def test_a_connection_shows_where_it_goes() -> None:
    assert repr(Redis(RedisOptions(url="redis://:hidden@h"))) == "<Redis redis://h:6379/0>"
