"""Groups of backends: one is active, and the next goes on from what it has acknowledged."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.control.serving import SECRET, Controlled, peer, tcp_peer, write_token
from tests.im.feed_world import CHAT, Follower, Restartable, crowded
from tests.im.test_feed import tokens
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import TokenTable
from trio_socketio.im.presence import MemoryStore
from trio_socketio.im.presence.turns import LocalTurns, TurnTable


@asynccontextmanager
async def members(where: Controlled, number: int) -> AsyncIterator[list[Follower]]:
    """Peers that can be left one by one: see leave."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            raw = await stack.enter_async_context(peer(where))
            found.append(Follower(raw))
        yield found


def subscriptions(where: Controlled) -> int:
    assert where.presence.feed is not None
    return where.presence.feed.statistics().subscriptions


@pytest.mark.req("FEED-20")
@pytest.mark.req("FEED-22")
@pytest.mark.req("FEED-23")
@pytest.mark.parametrize("how", ["hang up", "unsubscribe", "abort"])
@trio_test
async def test_the_next_goes_on_from_the_last_acknowledgement(how: str, tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 3) as (one, two, three):
        begin = str(await crowd.head())
        told = await one.subscribe(cursor=begin, group="g")
        assert told == {"subscription": 1, "cursor": begin, "active": True}
        assert not (await two.subscribe(group="g"))["active"]
        assert (await three.subscribe(group="g", cursor=begin)) == {
            "subscription": 3,
            "cursor": begin,
            "active": False,
        }
        await crowd.churn(5)
        await one.receive_entries(5)
        third = {"subscription": 1, "cursor": one.entries[2]["cursor"]}
        assert (await one.raw.call("presence.ack", **third))["in_flight"] == 2
        if how == "unsubscribe":
            await one.raw.call("presence.unsubscribe", subscription=1)
        elif how == "abort":
            await trio.aclose_forcefully(one.raw.stream)
        else:
            await one.raw.stream.aclose()
        notice = await two.receive()  # it is told that it is active, and from where on
        assert notice == {"subscription": 2, "entries": [], "cursor": third["cursor"]}
        await two.receive_entries(2)
        assert two.sequences == [4, 5]  # what was not acknowledged comes again
        await two.ack(two.notices[-1])
        await crowd.churn(1)
        await two.receive_entries(3)
        assert await three.is_silent()
        await two.raw.stream.aclose()
        await three.receive()
        await three.receive_entries(1)
        assert three.sequences == [6]


@pytest.mark.req("FEED-20")
@trio_test
async def test_groups_are_apart(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 3) as found:
        for name, follower in zip(("a", "b", None), found, strict=True):
            await follower.subscribe(group=name)
        await crowd.churn(3)
        for follower in found:
            await follower.receive_entries(3)


@pytest.mark.req("FEED-21")
@trio_test
async def test_the_position_of_a_group_goes_before_a_cursor(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 2) as (one, two):
        begin = str(await crowd.head())
        await one.subscribe(cursor=begin, group="g")
        await crowd.churn(5)
        await one.receive_entries(5)
        position = one.entries[3]["cursor"]
        assert await one.raw.call("presence.ack", subscription=1, cursor=position)
        await one.raw.stream.aclose()
        # Nobody is there for a while.
        await until(lambda: not subscriptions(where))
        await crowd.churn(2, users=3)
        told = await two.subscribe(cursor=begin, group="g")
        assert told == {"subscription": 2, "cursor": position, "active": True}
        await two.receive_entries(3)
        assert two.sequences == [5, 6, 7]


@pytest.mark.req("FEED-24")
@trio_test
async def test_an_active_member_that_acknowledges_nothing_is_replaced(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 2) as (one, two):
        assert where.presence.feed is not None
        where.presence.feed._deliveries.ack_timeout_s = 0.3
        begin = str(await crowd.head())
        await one.subscribe(cursor=begin, group="g")
        await crowd.churn(4)
        await one.receive_entries(4)
        assert await one.is_silent(0.5)  # nobody else could do it
        assert await one.raw.call("presence.ack", subscription=1, cursor=one.entries[0]["cursor"])
        await two.subscribe(group="g")
        await trio.sleep(0.15)
        assert await one.raw.call("presence.ack", subscription=1, cursor=one.entries[1]["cursor"])
        assert await one.is_silent(0.2)  # its time begins anew with each acknowledgement
        notice = await one.receive()
        assert notice["error"]["code"] == Code.TIMEOUT
        assert "subscribe again" in notice["error"]["message"]
        assert notice["cursor"] == one.entries[1]["cursor"]
        # What it says now is too late.
        late = {"subscription": 1, "cursor": one.entries[3]["cursor"]}
        assert (await one.raw.fail("presence.ack", **late))["code"] == Code.NOT_FOUND
        await two.receive()
        await two.receive_entries(2)
        assert two.sequences == [3, 4]
        assert where.presence.feed.statistics().ended == {"ack_timeout": 1}
        # It may come back, and waits.
        assert not (await one.subscribe(group="g"))["active"]
        await two.ack(two.notices[-1])
        assert await two.is_silent(0.4)  # with nothing in flight there is no deadline
        await two.raw.call("system.info")


@pytest.mark.req("FEED-16")
@trio_test
async def test_a_member_that_waits_has_nothing_to_acknowledge(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 2) as (one, two):
        await one.subscribe(group="g")
        await two.subscribe(group="g")
        await crowd.churn(2)
        await one.receive_entries(2)
        ack = {"subscription": 2, "cursor": one.entries[-1]["cursor"]}
        error = await two.raw.fail("presence.ack", **ack)
        assert error["code"] == Code.INVALID_PARAMS
        assert "another member of the group is active" in error["message"]
        await one.raw.stream.aclose()
        await two.receive()
        await two.receive_entries(2)


@pytest.mark.req("FEED-31")
@trio_test
async def test_all_members_are_told_that_the_position_is_lost(tmp_path: Path) -> None:
    store = Restartable()
    async with crowded(tmp_path, store) as (where, crowd), members(where, 3) as found:
        for follower in found:
            await follower.subscribe(group="g")
        store.restart()
        for follower in found:
            assert (await follower.receive())["error"]["code"] == Code.GENERATION_CHANGED
        begin = str(await crowd.head())
        await crowd.start()
        await crowd.churn(3)
        assert (await found[1].subscribe(group="g", cursor=begin))["cursor"] == begin
        await found[1].receive_entries(3)
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().ended == {"generation_changed": 3}


@pytest.mark.req("FEED-31")
@trio_test
async def test_a_position_that_has_expired_is_given_up(tmp_path: Path) -> None:
    async with crowded(tmp_path, MemoryStore(max_events=50)) as (where, crowd):
        async with members(where, 2) as (one, two):
            await one.subscribe(group="g")
            await two.subscribe(group="g")
            await crowd.churn(2)
            await one.receive_entries(2)
            for number in range(1, 26):
                await crowd.churn(20)
                await one.receive_entries(2 + 20 * number)
            # It goes on as long as it lives, but nobody could follow it from its last ack.
            await one.raw.stream.aclose()
            await two.receive()
            assert (await two.receive())["error"]["code"] == Code.CURSOR_EXPIRED
            await two.subscribe(group="g")
            for number in range(1, 26):
                await crowd.churn(20)
                await two.receive_entries(20 * number)
        await until(lambda: not subscriptions(where))
        async with members(where, 1) as (three,):
            error = await three.raw.fail("presence.subscribe", namespace=CHAT, group="g")
            assert error["code"] == Code.CURSOR_EXPIRED
            cursor = (await three.raw.call("presence.count", namespace=CHAT))["cursor"]
            assert (await three.subscribe(group="g", cursor=cursor))["cursor"] == cursor


@pytest.mark.req("FEED-28")
@trio_test
async def test_a_member_without_its_token_is_passed_over(tmp_path: Path) -> None:
    given = tokens(tmp_path, "presence.*")
    unix = f"unix:{tmp_path / 'control' / 'c.sock'}"
    async with (
        crowded(tmp_path, listen=(unix, "tcp:127.0.0.1:0"), tokens=given) as (where, crowd),
        members(where, 2) as (one, three),
        tcp_peer(where) as raw,
    ):
        two = Follower(raw)
        await raw.call("auth", token=SECRET)
        for follower in (one, two, three):
            await follower.subscribe(group="g")
        await crowd.churn(2)
        await one.receive_entries(2)
        where.service.apply(TokenTable(tokens(tmp_path, "system.info")))
        await one.raw.stream.aclose()
        await two.receive()
        assert (await two.receive())["error"]["code"] == Code.FORBIDDEN
        await three.receive()
        await three.receive_entries(2)
        write_token(tmp_path)


@pytest.mark.req("FEED-27")
@trio_test
async def test_there_are_so_many_groups(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), members(where, 2) as (one, two):
        assert where.presence.feed is not None
        where.presence.feed._groups.turns = LocalTurns(TurnTable(max_groups=2))
        await one.subscribe(group="a")
        await two.subscribe(group="b")
        error = await one.raw.fail("presence.subscribe", namespace=CHAT, group="c")
        assert error["code"] == Code.OVERLOADED
        assert where.presence.feed.statistics().subscriptions == 2
        await crowd.churn(1)
        await one.receive_entries(1)
        await two.receive_entries(1)
        await two.raw.call("presence.unsubscribe", subscription=2)
        await one.subscribe(group="c")
        assert where.presence.feed.statistics().groups == 2
