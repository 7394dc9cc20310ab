"""Who gets which messages, over losses and refusals."""

from pathlib import Path
from typing import Any

import pytest
import trio
from tests.redis.fake_redis import FakeRedis, encode, greeting, serving
from tests.redis.test_redis import connected, cut, hold, reconnected
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test

from trio_socketio import (
    LocalProtocolError,
    Redis,
    RedisCommandError,
    RedisOptions,
    RedisSubscription,
    RedisUnavailable,
)


class Inbox:
    """Remembers messages and gaps."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps: list[float] = []

    def receive(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.messages]


def is_confirmed(subscription: RedisSubscription) -> bool:
    """The same as its attribute, of which mypy would believe that it never changes."""
    return subscription.confirmed


@pytest.mark.req("REDIS-25")
@trio_test
async def test_messages_come_in_their_order(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        news, all_of_them = Inbox(), Inbox()
        subscription = redis.subscribe("news", news.receive)
        assert not is_confirmed(subscription)
        await subscription.wait_confirmed()
        assert subscription.confirmed
        await redis.subscribe("n*", all_of_them.receive, pattern=True).wait_confirmed()
        for number in range(100):
            redis.publish("news", b"%d" % number)
            server.publish(b"nobody", b"x")
        await redis.execute("PING")
        assert news.messages == [(b"news", b"%d" % number) for number in range(100)]
        assert [one for one in all_of_them.messages if one[0] == b"news"] == news.messages
        assert redis.statistics().channels == 3  # with that of the probe


@pytest.mark.req("REDIS-28")
@trio_test
async def test_a_receiver_that_fails_costs_no_other_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(channel: bytes, payload: bytes) -> None:
        raise SystemExit(3) if payload == b"exit" else ValueError("no such thing")

    async with connected(tmp_path) as (redis, _):
        inbox = Inbox()
        redis.subscribe("news", fail)
        await redis.subscribe("news", inbox.receive).wait_confirmed()
        redis.publish("news", b"one")
        redis.publish("news", b"exit")
        await redis.execute("PING")
        assert inbox.payloads == [b"one", b"exit"]
        assert redis.statistics().receiver_failures == 2
        assert redis.statistics().reconnects == 0
    assert "the receiver test_a_receiver_that_fails_costs_no_other_a_message.<locals>.fail" in (
        caplog.text
    )
    assert "no such thing" in caplog.text


@pytest.mark.req("REDIS-30")
@trio_test
async def test_a_closed_subscription_receives_nothing_more(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        first, second = Inbox(), Inbox()
        subscriptions: list[RedisSubscription] = []

        def close_both(channel: bytes, payload: bytes) -> None:
            first.receive(channel, payload)
            for one in subscriptions:
                one.close()

        subscriptions += [
            redis.subscribe("news", close_both),
            redis.subscribe("news", second.receive),
        ]
        await subscriptions[1].wait_confirmed()
        redis.publish("news", b"1")
        redis.publish("news", b"2")
        await redis.execute("PING")
        assert first.payloads == [b"1"]
        assert second.payloads == []
        await redis.execute("PING")
        assert server.commands.count([b"SUBSCRIBE", b"news"]) == 1
        assert server.commands.count([b"UNSUBSCRIBE", b"news"]) == 1
        subscriptions[0].close()  # again
        with pytest.raises(LocalProtocolError, match="the subscription is closed"):
            await subscriptions[0].wait_confirmed()


@pytest.mark.req("REDIS-30")
@trio_test
async def test_a_channel_is_kept_as_long_as_anybody_is_subscribed(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        inbox = Inbox()
        gone = redis.subscribe("news", print)
        kept = redis.subscribe("news", inbox.receive)
        await kept.wait_confirmed()
        gone.close()
        redis.publish("news", b"hi")
        await redis.execute("PING")
        assert inbox.payloads == [b"hi"]
        assert "UNSUBSCRIBE" not in server.names()
        # Closed and made again in one pass: Redis has the last word.
        kept.close()
        again = redis.subscribe("news", inbox.receive)
        await again.wait_confirmed()
        redis.publish("news", b"ho")
        await redis.execute("PING")
        assert inbox.payloads == [b"hi", b"ho"]


@pytest.mark.req("REDIS-26", "REDIS-27")
@trio_test
async def test_subscriptions_outlive_the_connection(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with connected(tmp_path) as (redis, server):
        inbox, new = Inbox(), Inbox()
        old = redis.subscribe("news", inbox.receive, gap=inbox.gaps.append)
        await old.wait_confirmed()
        await trio.sleep(1)
        server.hello = b"-ERR not now\r\n"
        cut(server)
        await until(lambda: not redis.connected)
        assert not is_confirmed(old)
        late = redis.subscribe("news", new.receive, gap=new.gaps.append)
        with pytest.raises(RedisUnavailable, match="not subscribed yet"):
            await late.wait_confirmed()
        await trio.sleep(20)
        server.hello = greeting()
        await redis.wait_connected()
        assert old.confirmed
        assert late.confirmed
        assert server.publish(b"news", b"hi") == 1
        await redis.execute("PING")
        assert inbox.payloads == new.payloads == [b"hi"]
        assert inbox.gaps == [pytest.approx(22, abs=3)]
        assert new.gaps == []


@pytest.mark.req("REDIS-27")
@trio_test
async def test_a_gap_counts_from_the_last_sign_of_life(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A server that stood still for a while before it was given up was away for so long."""
    async with connected(tmp_path, probe_s=5) as (redis, server):
        inbox = Inbox()
        await redis.subscribe("news", print, gap=inbox.gaps.append).wait_confirmed()
        hold(server, b"PUBLISH")
        server.hello = b"-ERR not now\r\n"
        began = trio.current_time()
        await trio.sleep(30)
        server.answers.clear()
        server.hello = greeting()
        await redis.wait_connected()
        assert inbox.gaps == [pytest.approx(trio.current_time() - began, abs=0.1)]


@pytest.mark.req("REDIS-28")
@trio_test
async def test_a_gap_function_that_fails_is_counted(tmp_path: Path) -> None:
    def fail(_: float) -> None:
        raise ValueError("no such thing")

    async with connected(tmp_path) as (redis, server):
        inbox = Inbox()
        redis.subscribe("news", inbox.receive, gap=fail)
        await redis.subscribe("news", inbox.receive, gap=inbox.gaps.append).wait_confirmed()
        cut(server)
        await reconnected(redis)
        assert len(inbox.gaps) == 1
        assert redis.statistics().receiver_failures == 1


@pytest.mark.req("REDIS-29")
@trio_test
async def test_a_refused_subscription_is_told_and_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(command: list[bytes]) -> bytes:
        return b"-NOPERM no channel\r\n" if command[1] == b"secret" else accept(command)

    def accept(command: list[bytes]) -> bytes:
        session = server.sessions[-1]
        session.channels.add(command[1])
        return b">3\r\n" + encode(b"subscribe") + encode(command[1]) + encode(1)

    server = FakeRedis()
    async with connected(tmp_path, server) as (redis, _):
        server.answers[b"SUBSCRIBE"] = refuse
        secret = redis.subscribe("secret", print)
        other = redis.subscribe("other", print)
        with pytest.raises(RedisCommandError, match="NOPERM no channel"):
            await secret.wait_confirmed()
        await other.wait_confirmed()
        assert not is_confirmed(secret)
        assert "refuses the subscription to b'secret': NOPERM no channel" in caplog.text
        server.answers[b"SUBSCRIBE"] = accept
        cut(server)
        await reconnected(redis)
        assert secret.confirmed
        secret.close()
        server.answers[b"SUBSCRIBE"] = refuse
        again = redis.subscribe("secret", print)
        with pytest.raises(RedisCommandError):
            await again.wait_confirmed()
        unsubscribed = server.names().count("UNSUBSCRIBE")
        again.close()  # there is nothing to leave
        await redis.execute("PING")
        assert server.names().count("UNSUBSCRIBE") == unsubscribed


@trio_test
async def test_a_subscription_that_finds_no_room_is_made_later(tmp_path: Path) -> None:
    async with connected(tmp_path, max_commands=16) as (redis, server):
        names = [f"channel-{number}" for number in range(100)]
        inbox = Inbox()
        subscriptions = [redis.subscribe(name, inbox.receive) for name in names]
        for one in subscriptions:
            await one.wait_confirmed()
        for name in names:
            server.publish(name.encode(), b"x")
        await redis.execute("PING")
        assert [channel.decode() for channel, _ in inbox.messages] == names
        for one in subscriptions:
            one.close()
        await until(lambda: len(server.sessions[0].channels) == 1)


@trio_test
async def test_waiting_ends_with_the_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (redis, server):
        hold(server, b"SUBSCRIBE")
        subscription = redis.subscribe("news", print)
        raised: list[Any] = []

        async def wait() -> None:
            try:
                await subscription.wait_confirmed()
            except RedisUnavailable as error:
                raised.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await until(lambda: [b"SUBSCRIBE", b"news"] in server.commands)
            del server.answers[b"SUBSCRIBE"]
            cut(server)
        assert len(raised) == 1
        await redis.wait_connected()
        assert subscription.confirmed


@trio_test
async def test_subscriptions_may_come_before_the_first_connection(tmp_path: Path) -> None:
    server, inbox = FakeRedis(), Inbox()
    async with serving(server, tmp_path / "s") as url, trio.open_nursery() as nursery:
        redis = Redis(RedisOptions(url=url))
        early = redis.subscribe("news", inbox.receive, gap=inbox.gaps.append)
        redis.subscribe("never", print).close()
        await nursery.start(redis.run)
        assert early.confirmed
        assert [b"SUBSCRIBE", b"never"] not in server.commands
        assert inbox.gaps == []
        nursery.cancel_scope.cancel()
