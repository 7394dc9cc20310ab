"""The connection to a real Redis or Valkey: what it can do, and that it comes back."""

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import trio
import trustme
from tests.redis.test_subscriptions import Inbox
from tests.redis_server import RedisServer, running_redis
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import (
    ConfigurationError,
    Redis,
    RedisCommandError,
    RedisOptions,
    RedisUnavailable,
    open_redis,
)
from trio_socketio.redis.scripts import Script
from trio_socketio.redis.statistics import Counts

COUNT_UP: Final = "return redis.call('INCR', KEYS[1]) + tonumber(ARGV[1])"


@pytest.mark.req("REDIS-03")
@trio_test
async def test_commands_are_answered(shared_redis: RedisServer) -> None:
    for url in (f"{shared_redis.url}?db=1", f"{shared_redis.tcp_url}/1"):
        async with open_redis(url) as redis:
            assert await redis.execute("SET", "key", b"\x00\xff") == b"OK"
            assert await redis.execute("GET", "key") == b"\x00\xff"
            assert await redis.execute("GET", "none") is None
            assert await redis.execute("STRLEN", b"key") == 2
            assert await redis.execute("HSET", "hash", "a", 1, "b", 2.5) in (0, 2)
            assert await redis.execute("HGETALL", "hash") == {b"a": b"1", b"b": b"2.5"}
            assert await redis.execute("PUBSUB", "NUMSUB", "unheard") == [b"unheard", 0]
            with pytest.raises(RedisCommandError, match="WRONGTYPE"):
                await redis.execute("GET", "hash")
            assert b" db=1 " in await redis.execute("CLIENT", "INFO")
    assert shared_redis.command("EXISTS", "key") == 0  # it is in another database


@pytest.mark.req("REDIS-33")
@trio_test
async def test_a_script_is_sent_once_and_after_a_flush(shared_redis: RedisServer) -> None:
    async with open_redis(shared_redis.url) as redis:
        shared_redis.command("DEL", "n")
        shared_redis.command("SCRIPT", "FLUSH")
        script = redis.script(COUNT_UP)
        assert [await script.run(["n"], [10]) for _ in range(3)] == [11, 12, 13]
        assert redis.statistics().script_loads == 1
        shared_redis.command("SCRIPT", "FLUSH")
        assert await script.run(["n"], [10]) == 14
        assert redis.statistics().script_loads == 2
        with pytest.raises(RedisCommandError, match=r"[Cc]ompiling"):
            await redis.script("no lua").run()
        fails = redis.script("return redis.error_reply('MINE my fault')")
        for _ in range(2):
            with pytest.raises(RedisCommandError, match="MINE my fault"):
                await fails.run()
        assert redis.statistics().script_loads == 4


@pytest.mark.req("REDIS-33")
@trio_test
async def test_a_script_that_is_forgotten_at_any_moment_is_carried_out(
    shared_redis: RedisServer,
) -> None:
    async with open_redis(shared_redis.url) as redis:
        shared_redis.command("DEL", "n")

        async def execute(*arguments: Any, timeout_s: float | None = None) -> Any:
            if arguments[0] == "EVALSHA":
                shared_redis.command("SCRIPT", "FLUSH")
            return await redis.execute(*arguments, timeout_s=timeout_s)

        script = Script(COUNT_UP, execute, Counts())
        assert [await script.run(["n"], [10]) for _ in range(3)] == [11, 12, 13]


@pytest.mark.req("REDIS-25")
@trio_test
async def test_messages_arrive(shared_redis: RedisServer) -> None:
    async with open_redis(shared_redis.url) as ours, open_redis(shared_redis.tcp_url) as theirs:
        inbox, pattern = Inbox(), Inbox()
        await ours.subscribe("news", inbox.receive).wait_confirmed()
        await ours.subscribe("new?", pattern.receive, pattern=True).wait_confirmed()
        for number in range(5000):
            assert theirs.publish("news", b"%d" % number)
        await until(lambda: len(inbox.messages) == 5000)
        assert inbox.payloads == [b"%d" % number for number in range(5000)]
        assert pattern.messages == inbox.messages
        shared_redis.command("PUBLISH", "news", b"\x00\xff")
        await until(lambda: inbox.payloads[-1] == b"\x00\xff")
        statistics = theirs.statistics()
        assert (statistics.unpublished, statistics.unconfirmed) == (0, 0)


@pytest.mark.req("REDIS-10")
@trio_test
async def test_no_cancellation_shifts_a_reply(shared_redis: RedisServer) -> None:
    """Tasks whose waits are cut short at random, beside others, on one connection."""
    random = Random(12)
    wrong: list[Any] = []
    answered = cancelled = 0

    async def ask(redis: Redis, task: int) -> None:
        nonlocal answered, cancelled
        for turn in range(40):
            token = f"{task}-{turn}"
            with trio.move_on_after(random.choice([0, 0.0001, 0.0005, 1])) as scope:
                reply = await redis.execute("ECHO", token)
                answered += 1
                if reply != token.encode():
                    wrong.append((token, reply))
            cancelled += scope.cancelled_caught

    async with open_redis(shared_redis.url) as redis, trio.open_nursery() as nursery:
        for task in range(30):
            nursery.start_soon(ask, redis, task)
    assert wrong == []
    assert answered > 100
    assert cancelled > 100


CALLS: Final[dict[str, Callable[[Redis], Awaitable[Any]]]] = {
    "execute": lambda redis: redis.execute("ECHO", "cancelled"),
    "script": lambda redis: redis.script(COUNT_UP).run(["n"], [1]),
    "script that is not known": lambda redis: redis.script(f"{COUNT_UP} -- new").run(["n"], [1]),
    "wait_confirmed": lambda redis: redis.subscribe("news", print).wait_confirmed(),
    "wait_connected": lambda redis: redis.wait_connected(),
}


@pytest.mark.req("REDIS-10")
@pytest.mark.parametrize("call", CALLS)
@trio_test
async def test_cancellation_at_every_await(shared_redis: RedisServer, call: str) -> None:
    """The call is cancelled after 0, 1, 2... passes of the scheduler, until it is too late."""
    async with open_redis(shared_redis.url) as redis:
        for passes in range(1000):
            if call == "script that is not known":
                await redis.execute("SCRIPT", "FLUSH")
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, scope, passes)
                    await CALLS[call](redis)
                    nursery.cancel_scope.cancel()
            # Whatever the cancelled call has left behind, the next answer is ours.
            assert await redis.execute("ECHO", str(passes)) == str(passes).encode()
            if not scope.cancelled_caught:
                break
        assert not scope.cancelled_caught
        assert redis.statistics().reconnects == 0


async def _cancel_after(scope: trio.CancelScope, passes: int) -> None:
    for _ in range(passes):
        await trio.lowlevel.checkpoint()
    scope.cancel()


# -- faults


@pytest.mark.req("REDIS-17", "REDIS-26", "REDIS-27")
@trio_test
async def test_it_comes_back_after_a_kill_and_a_restart(redis_server: RedisServer) -> None:
    async with open_redis(redis_server.url) as redis:
        inbox = Inbox()
        subscription = redis.subscribe("news", inbox.receive, gap=inbox.gaps.append)
        await subscription.wait_confirmed()
        for fault in ("kill", "restart"):
            if fault == "kill":
                redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
            else:
                redis_server.stop()
                await until(lambda: redis.fault is not None)
                await trio.to_thread.run_sync(redis_server.start)
            await until(lambda: redis.connected and bool(inbox.gaps))
            assert subscription.confirmed
            redis_server.command("PUBLISH", "news", fault)
            await until(lambda: fault.encode() in inbox.payloads)  # noqa: B023 - awaited here
            assert len(inbox.gaps) == 1
            inbox.gaps.clear()
            assert await redis.execute("ECHO", "x") == b"x"
        assert redis.statistics().reconnects == 2


@pytest.mark.req("REDIS-31")
@trio_test
async def test_a_server_that_stands_still_is_left_and_found_again(
    redis_server: RedisServer,
) -> None:
    options = RedisOptions(url=redis_server.url, probe_s=0.1, connect_timeout_s=0.2)
    async with open_redis(options=options) as redis:
        redis_server.freeze()
        with trio.fail_after(2):
            await until(lambda: not redis.connected)
            await until(lambda: "not answered" in (redis.fault or ""))
        with pytest.raises(RedisUnavailable):
            await redis.execute("PING")
        redis_server.thaw()
        with trio.fail_after(3):
            await redis.wait_connected()
        assert await redis.execute("ECHO", "x") == b"x"


@pytest.mark.req("REDIS-32", "REDIS-36")
@trio_test
async def test_a_program_that_stood_still_reads_before_it_judges(
    shared_redis: RedisServer,
) -> None:
    """Neither the probe nor a timeout holds against Redis what has arrived meanwhile."""
    options = RedisOptions(url=shared_redis.url, probe_s=0.05, command_timeout_s=0.4)
    replies: list[bytes] = []

    async def ask(redis: Redis) -> None:
        replies.append(await redis.execute("ECHO", "x"))

    async with open_redis(options=options) as redis:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, redis)
                for _ in range(3):  # until it is sent
                    await trio.lowlevel.checkpoint()
                time.sleep(0.9)  # noqa: ASYNC251 - that is what is tried
        assert replies == [b"x"] * 2
        assert redis.statistics().reconnects == 0


class StandStill(trio.abc.Instrument):
    """Stops the process once, before a certain step of the task that has commands time out."""

    def __init__(self, steps: int, pause_s: float) -> None:
        self.steps = steps  # how many come before
        self.pause_s = pause_s

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith("Connection._expire"):
            if self.steps == 0:
                time.sleep(self.pause_s)
            self.steps -= 1


@pytest.mark.parametrize("pause_s", [0.21, 0.3])
@pytest.mark.parametrize("steps", range(4))
@pytest.mark.req("REDIS-39")
@trio_test
async def test_wherever_a_program_stands_still_it_reads_before_a_command_times_out(
    shared_redis: RedisServer, steps: int, pause_s: float
) -> None:
    async with open_redis(
        options=RedisOptions(url=shared_redis.url, command_timeout_s=0.2)
    ) as redis:
        stop = StandStill(steps, pause_s)
        trio.lowlevel.add_instrument(stop)
        while stop.steps >= 0:
            assert await redis.execute("ECHO", "x") == b"x"


@pytest.mark.req("REDIS-05", "REDIS-06", "REDIS-08", "REDIS-04")
@trio_test
async def test_passwords_and_databases(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("right\n")
    with running_redis("--requirepass", "right", "--databases", "4") as server:
        bare = server.url
        with_password = bare.replace("unix://", "unix://:right@")
        for url, told in {
            bare: "asks for a password",
            bare.replace("unix://", "unix://:hidden@"): "password of the user default is wrong",
            bare.replace("unix://", "unix://ann:hidden@"): "password of the user ann is wrong",
            f"{with_password}?db=4": "database 4 cannot be used",
        }.items():
            with pytest.raises(ConfigurationError, match=told) as refused:
                async with open_redis(url):
                    pass
            assert "hidden" not in str(refused.value)
        async with open_redis(f"{with_password}?db=3") as redis:
            assert await redis.execute("PING") == b"PONG"
        options = RedisOptions(url=bare, password_file=str(file))
        async with open_redis(options=options) as redis:
            # REDIS-08: the password changes here and there, and no restart is needed.
            server.command("CONFIG", "SET", "requirepass", "new", password="right")
            server.command("CLIENT", "KILL", "TYPE", "pubsub", password="new")
            await until(lambda: "password" in (redis.fault or ""))
            file.write_text("new")
            with trio.fail_after(5):
                await redis.wait_connected()
        for text, told in ("", "is empty"), (None, "cannot read the password"):
            file.unlink() if text is None else file.write_text(text)
            with pytest.raises(ConfigurationError, match=told):
                async with open_redis(options=options):
                    pass


@asynccontextmanager
async def tls_in_front_of(server: RedisServer, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Speak TLS on a port of this machine, and pass what is in it on to the server."""

    async def serve(theirs: trio.SSLStream[trio.SocketStream]) -> None:
        ours = await trio.open_unix_socket(str(server.path))
        async with theirs, ours, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, theirs, ours, nursery.cancel_scope)
            nursery.start_soon(_copy, ours, theirs, nursery.cancel_scope)

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        transport = listeners[0].transport_listener
        assert isinstance(transport, trio.SocketListener)
        yield transport.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _copy(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


@pytest.mark.req("REDIS-03", "REDIS-07")
@trio_test
async def test_tls(shared_redis: RedisServer, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusted, wrong = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(trusted))
    other.cert_pem.write_to_path(str(wrong))
    async with tls_in_front_of(shared_redis, context) as port:
        url = f"rediss://127.0.0.1:{port}"
        async with open_redis(options=RedisOptions(url=url, ca_file=str(trusted))) as redis:
            inbox = Inbox()
            await redis.subscribe("tls", inbox.receive).wait_confirmed()
            redis.publish("tls", b"x" * 100_000)
            assert await redis.execute("ECHO", "x") == b"x"
            await until(lambda: [len(one) for one in inbox.payloads] == [100_000])
        for ca_file in (str(wrong), None):
            with pytest.raises(ConfigurationError, match="certificate is not trusted"):
                async with open_redis(options=RedisOptions(url=url, ca_file=ca_file)):
                    pass
        with pytest.raises(ConfigurationError, match="cannot read the certificates"):
            async with open_redis(options=RedisOptions(url=url, ca_file=str(tmp_path / "none"))):
                pass


@pytest.mark.parametrize(
    ("says", "told"),
    [(b"-ERR\r\n", "cannot connect: TLS: "), (b"", "cannot connect: no answer within 0.5 s")],
)
@pytest.mark.req("REDIS-17", "REDIS-21")
@trio_test
async def test_what_does_not_speak_tls_is_tried_again(
    tmp_path: Path, says: bytes, told: str
) -> None:
    trusted = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))

    async def serve(stream: trio.SocketStream) -> None:
        if says:
            await stream.send_all(says)
        else:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, serve, 0, host="127.0.0.1"), name="serve"
        )
        url = f"rediss://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        redis = Redis(RedisOptions(url=url, ca_file=str(trusted), connect_timeout_s=0.5))
        nursery.start_soon(redis.run)
        await until(lambda: (redis.fault or "").startswith(told))
        nursery.cancel_scope.cancel()
