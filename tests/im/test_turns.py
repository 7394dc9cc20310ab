"""One node at a time serves a group, and no node can lose the position of the group."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.im.turns_world import LocalShare, RedisShare, SharedTurns, redis_share
from tests.redis_server import RedisServer
from trio.testing import MockClock, trio_test

from trio_socketio.im.presence import StoreUnavailable
from trio_socketio.im.presence.redis_turns import RedisTurns
from trio_socketio.im.presence.turns import POLL_S, LocalTurns, Turns, TurnTable
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_turns import Busy, Crowded, Gone, Held, Kept, Lost

PLACE = ("/chat", "a group")
OTHER = ("/chat", "another")
both = pytest.mark.parametrize("kind", ["local", "redis"])


@asynccontextmanager
async def sharing(kind: str, server: RedisServer, **options: Any) -> AsyncIterator[SharedTurns]:
    """Turns of either kind, with three boots that have leases."""
    if kind == "local":
        share: SharedTurns = LocalShare(**options)
        await _enroll(share)
        yield share
    else:
        async with redis_share(server, **options) as share:
            await _enroll(share)
            yield share


async def _enroll(share: SharedTurns) -> None:
    for boot in ("a1", "b1", "c1"):
        await share.enroll(boot)


async def hold(turns: Turns, place: tuple[str, str] = PLACE) -> Held:
    found = await turns.take(place)
    assert isinstance(found, Held)
    return found


@both
@pytest.mark.req("FEED-60")
@trio_test
async def test_one_node_has_the_turn_until_it_gives_it_back(
    kind: str, shared_redis: RedisServer
) -> None:
    async with sharing(kind, shared_redis) as share:
        a, b = share.node("a1"), share.node("b1")
        turn = await hold(a)
        assert (turn.position, turn.losses, turn.has_others) == (None, 0, False)
        assert await b.take(PLACE) == Busy(None, 0)
        assert isinstance(await b.take(OTHER), Held), "groups are apart"
        assert await a.acknowledge(turn) == Kept(True, 0)
        assert await a.acknowledge(turn, Cursor(7, 2**64 - 1)) == Kept(True, 0)
        assert await b.take(PLACE) == Busy(Cursor(7, 2**64 - 1), 0)
        assert await a.give_back(turn, Cursor(8, 1), waits=True)
        taken = await hold(b)
        assert (taken.position, taken.has_others) == (Cursor(8, 1), True)
        assert await a.take(PLACE) == Busy(Cursor(8, 1), 0)
        await a.withdraw(PLACE)
        assert await b.acknowledge(taken) == Kept(False, 0)
        assert not await b.give_back(taken, None, waits=False)
        assert (await hold(a)).position == Cursor(8, 1), "it outlives its members"
        assert a.known == 2


@both
@pytest.mark.req("FEED-62")
@trio_test
async def test_who_has_lost_a_turn_changes_nothing(kind: str, shared_redis: RedisServer) -> None:
    async with sharing(kind, shared_redis) as share:
        a, b = share.node("a1"), share.node("b1")
        turn = await hold(a)
        assert await a.acknowledge(turn, Cursor(1, 5)) == Kept(False, 0)
        await share.end("a1")  # frozen, and taken for gone
        taken = await hold(b)
        assert taken.position == Cursor(1, 5)
        assert await a.acknowledge(turn, Cursor(1, 9)) == Lost()
        assert await a.forget(turn) == Lost()
        await a.give_back(turn, Cursor(1, 9), waits=False)
        assert await b.acknowledge(taken) == Kept(False, 0)
        assert await a.take(PLACE) == Gone()
        # Another turn of the same boot is another turn.
        await b.give_back(taken, Cursor(1, 6), waits=False)
        again = await hold(b)
        assert again.position == Cursor(1, 6)
        assert await b.acknowledge(taken, Cursor(1, 5)) == Lost()
        await b.give_back(taken, Cursor(1, 5), waits=False)
        assert await b.acknowledge(again) == Kept(False, 0)


@both
@pytest.mark.req("FEED-61")
@trio_test
async def test_the_turn_of_a_boot_that_is_gone_is_free(
    kind: str, shared_redis: RedisServer
) -> None:
    async with sharing(kind, shared_redis) as share:
        a, b, c = share.node("a1"), share.node("b1"), share.node("c1")
        turn = await hold(a)
        await b.take(PLACE)
        await share.end("b1")
        assert await a.acknowledge(turn) == Kept(False, 0), "b does not wait any more"
        assert await c.take(PLACE) == Busy(None, 0)
        await share.end("a1")
        # Until another takes it, what a node that stops has done still counts.
        assert await a.acknowledge(turn, Cursor(3, 3)) == Kept(True, 0)
        assert (await hold(c)).position == Cursor(3, 3)


@both
@pytest.mark.req("FEED-31")
@trio_test
async def test_a_position_that_is_given_up_is_missed_by_others(
    kind: str, shared_redis: RedisServer
) -> None:
    async with sharing(kind, shared_redis) as share:
        a, b = share.node("a1"), share.node("b1")
        turn = await hold(a)
        await a.acknowledge(turn, Cursor(1, 5))
        assert await b.take(PLACE) == Busy(Cursor(1, 5), 0)
        assert await a.forget(turn) == Kept(True, 1)
        assert await b.take(PLACE) == Busy(None, 1)
        await a.acknowledge(turn, Cursor(2, 0))
        assert await b.take(PLACE) == Busy(Cursor(2, 0), 1)
        await b.withdraw(PLACE)
        await a.forget(turn)
        assert not await a.give_back(turn, None, waits=False)
        assert a.known == 0, "there is nothing to remember"
        assert (await hold(a)).losses == 0


@both
@trio_test
async def test_calls_may_come_again(kind: str, shared_redis: RedisServer) -> None:
    """A node does not know whether a call was made whose answer was lost."""
    async with sharing(kind, shared_redis) as share:
        a, b = share.node("a1"), share.node("b1")
        lost, turn = await hold(a), await hold(a)
        assert lost.number != turn.number
        assert await a.acknowledge(lost) == Lost()
        for _ in range(2):
            assert await a.acknowledge(turn, Cursor(1, 1)) == Kept(False, 0)
        await b.take(PLACE)
        for _ in range(2):
            assert await a.give_back(turn, Cursor(1, 2), waits=True)
        for _ in range(2):
            await a.withdraw(PLACE)
        taken = await hold(b)
        assert (taken.position, taken.has_others) == (Cursor(1, 2), False)
        await b.withdraw(PLACE)  # it does not know that it has the turn
        assert isinstance(await a.take(PLACE), Held)


@both
@pytest.mark.req("FEED-27")
@trio_test
async def test_the_group_that_was_left_first_makes_room(
    kind: str, shared_redis: RedisServer
) -> None:
    async with sharing(kind, shared_redis, max_groups=3) as share:
        a, b = share.node("a1"), share.node("b1")
        places = [("/", name) for name in "xyz"]
        turns = [await hold(a, place) for place in places]
        for number, turn in enumerate(turns):
            await a.acknowledge(turn, Cursor(1, number))
        assert await b.take(("/", "more")) == Crowded()
        assert await b.take(places[1]) == Busy(Cursor(1, 1), 0), "it is no further one"
        assert isinstance(await b.take(("/", "\nreserved"), is_bounded=False), Held)
        await b.withdraw(("/", "\nreserved"))
        await a.give_back(turns[1], None, waits=False)
        await a.give_back(turns[0], None, waits=False)
        # b waits for y, so x is the only one without members.
        assert isinstance(await b.take(("/", "more")), Held)
        assert await b.take(("/", "yet another")) == Crowded()
        await b.withdraw(places[1])
        assert (await hold(b, places[1])).position == Cursor(1, 1)
        await share.end("b1")  # that counts like having left
        assert isinstance(await a.take(("/", "yet another")), Held)


@both
@pytest.mark.req("FEED-30")
@trio_test
async def test_a_position_is_kept_for_a_while(
    kind: str, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.im.presence.redis_turns.SWEEP_S", 0.0)
    monkeypatch.setattr("trio_socketio.im.presence.redis_turns.POLL_S", 0.01)
    monkeypatch.setattr("trio_socketio.im.presence.turns.POLL_S", 0.01)
    async with sharing(kind, shared_redis, age_s=0.4) as share:
        a, b = share.node("a1"), share.node("b1")
        for place in (PLACE, OTHER):
            turn = await hold(a, place)
            await a.give_back(turn, Cursor(1, 1), waits=False)
        kept = await hold(a, ("/", "kept"))
        await a.acknowledge(kept, Cursor(1, 1))

        async def look(seconds: float) -> int:
            with trio.move_on_after(seconds):
                while True:
                    await b.wait_changed(PLACE)
                    assert b.known >= 0
            await a.acknowledge(kept)
            return a.known

        assert await look(0.2) == 3
        turn = await hold(a)  # somebody was there again
        await a.give_back(turn, None, waits=False)
        assert await look(0.3) == 2
        assert await look(0.5) == 1
        assert (await hold(a)).position is None


@both
@pytest.mark.req("FEED-64")
@trio_test
async def test_nodes_are_told_of_changes(kind: str, shared_redis: RedisServer) -> None:
    async with sharing(kind, shared_redis) as share:
        a, b = share.node("a1"), share.node("b1")
        turn = await hold(a)
        await b.take(("/", "so that it listens"))
        await trio.sleep(0.05)
        await a.acknowledge(turn)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.wait_changed, PLACE)
            await b.take(PLACE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.wait_changed, PLACE)
            await trio.testing.wait_all_tasks_blocked()
            await a.give_back(turn, None, waits=True)
        assert trio.current_time() - began < POLL_S
        # Its own call is no news for it: the others come first.
        with trio.move_on_after(0.1) as scope:
            await a.wait_changed(PLACE)
        assert scope.cancelled_caught
        # While one task waits, another one may ask.
        turn = await hold(b)
        await trio.sleep(0.05)
        await b.acknowledge(turn)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.wait_changed, PLACE)
            await trio.testing.wait_all_tasks_blocked()
            await b.acknowledge(turn)
            await a.withdraw(PLACE)
            await a.take(PLACE)
        assert trio.current_time() - began < POLL_S


@pytest.mark.req("FEED-64")
@trio_test
async def test_a_message_that_is_lost_costs_a_second(autojump_clock: MockClock) -> None:
    share = LocalShare()
    share.table.tell = lambda place: None  # type: ignore[method-assign]  # nobody is told
    await _enroll(share)
    a = share.node("a1")
    await hold(a)
    began = trio.current_time()
    await a.wait_changed(PLACE)
    assert trio.current_time() - began == POLL_S


@trio_test
async def test_turns_of_a_process_need_nothing() -> None:
    turns = LocalTurns()
    turn = await hold(turns)
    assert await turns.acknowledge(turn, Cursor(1, 1)) == Kept(False, 0)
    assert len(TurnTable().book) == 0


@trio_test
async def test_a_node_without_a_boot_has_no_turns(shared_redis: RedisServer) -> None:
    async with redis_share(shared_redis) as share:
        assert await share.node("").take(PLACE) == Gone()


@pytest.mark.req("FEED-66")
@pytest.mark.parametrize("foreign", ["text", "odd value", "odd position"])
@trio_test
async def test_what_others_have_written_is_left_alone(
    foreign: str, shared_redis: RedisServer
) -> None:
    async with redis_share(shared_redis) as share:
        await share.enroll("a1")
        name = "\0".join(PLACE)
        if foreign == "text":
            await share.redis.execute("SET", share.key, "mine")
        elif foreign == "odd value":
            await share.redis.execute("HSET", share.key, name, "mine")
        else:
            await share.redis.execute("HSET", share.key, name, "mine - 0 0 0")
        with pytest.raises(StoreUnavailable, match=r"WRONGTYPE|FOREIGN"):
            await share.node("a1").take(PLACE)
        if foreign == "text":
            assert await share.redis.execute("GET", share.key) == b"mine"
        else:
            assert (await share.redis.execute("HGET", share.key, name)).startswith(b"mine")
            assert await share.redis.execute("HLEN", share.key) == 1


@trio_test
async def test_redis_that_is_away_is_said_so(redis_server: RedisServer) -> None:
    async with redis_share(redis_server, nodes=1) as share:
        await share.enroll("a1")
        turns = share.node("a1")
        turn = await hold(turns)
        redis_server.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="OOM"):
            await turns.acknowledge(turn, Cursor(1, 1))
        redis_server.command("CONFIG", "SET", "maxmemory", 0)
        assert await turns.acknowledge(turn) == Kept(False, 0)
        assert isinstance(turns, RedisTurns)
        assert isinstance(share, RedisShare)
        redis_server.command("FLUSHALL")
        assert await turns.acknowledge(turn) == Lost()
