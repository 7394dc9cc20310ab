"""Groups over nodes, case by case, and on a real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from tests.im.feed_world import CHAT, Crowd, Restartable
from tests.im.test_feed_machine import FakePeer
from tests.im.turns_world import FaultyTurns, LocalShare, RedisShare, redis_share
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import MemoryStore, StoreUnavailable, parse_cursor
from trio_socketio.im.presence.feed import ACK_TIMEOUT_S, Feed
from trio_socketio.im.presence.subscription import Subscription
from trio_socketio.im.presence.turns import POLL_S
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.subscription_life import State

if TYPE_CHECKING:
    from trio_socketio.control.caller import BackendPeer


class Node:
    """A node with a feed.

    Attributes:
        boot: may be changed.
        sent: what members on it were sent, in order.
        turns: may be made to fail.
    """

    def __init__(self, share: LocalShare | RedisShare, store: MemoryStore, boot: str) -> None:
        self.boot = boot
        self.sent: list[tuple[FakePeer, dict[str, Any]]] = []
        self.turns = FaultyTurns(share.node(lambda: self.boot))
        self.feed = Feed(store, turns=self.turns)
        self.scope = trio.CancelScope()
        self._store = store

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.feed.run(task_status=task_status)

    async def join(self, cursor: Cursor | None = None, group: str = "g") -> "Member":
        peer = FakePeer(1, self.sent)
        found = await self.feed.subscribe(cast("BackendPeer", peer), CHAT, cursor, group, 1000)
        return Member(self, peer, found)


class Member:
    """A member of a group, on a connection of its own."""

    def __init__(self, node: Node, peer: FakePeer, found: Subscription) -> None:
        self.node = node
        self.peer = peer
        self.found = found

    @property
    def is_active(self) -> bool:
        return self.found.state is State.RUNNING

    @property
    def notices(self) -> list[dict[str, Any]]:
        return [notice for peer, notice in self.node.sent if peer is self.peer]

    @property
    def sequences(self) -> list[int]:
        entries = [entry for notice in self.notices for entry in notice["entries"]]
        return [parse_cursor(entry["cursor"]).sequence for entry in entries]

    async def ack(self, sequence: int) -> None:
        cursor = Cursor(self.found.window.sent.generation, sequence)
        peer = cast("BackendPeer", self.peer)
        assert await self.node.feed.acknowledge(peer, self.found.number, cursor) is self.found


def _has(one: Member, entries: int) -> bool:
    return len(one.sequences) == entries


@asynccontextmanager
async def two_nodes(
    store: MemoryStore | None = None,
) -> AsyncIterator[tuple[LocalShare, Crowd, Node, Node]]:
    """Two nodes in one process, whose boots are a1 and b1."""
    share, store = LocalShare(), MemoryStore() if store is None else store
    crowd = Crowd(store)
    await crowd.start()
    async with trio.open_nursery() as nursery:
        nodes = [Node(share, store, boot) for boot in ("a1", "b1")]
        for node in nodes:
            await share.enroll(node.boot)
            await nursery.start(node.run)
        yield share, crowd, nodes[0], nodes[1]
        nursery.cancel_scope.cancel()


@pytest.mark.req("FEED-63")
@trio_test
async def test_turns_go_from_node_to_node(autojump_clock: MockClock) -> None:
    async with two_nodes() as (_, crowd, a, b):
        first, second, third = await a.join(), await a.join(), await b.join()
        await trio.sleep(2 * POLL_S)
        assert [one.is_active for one in (first, second, third)] == [True, False, False]
        await crowd.churn(4)
        await wait_all_tasks_blocked()
        await first.ack(3)
        first.peer.end()
        await wait_all_tasks_blocked()
        assert third.is_active, "at once, though nothing was asked for in between"
        assert (third.notices[0]["entries"], third.sequences) == ([], [4])
        assert parse_cursor(third.notices[0]["cursor"]).sequence == 3
        third.peer.end()
        await trio.sleep(2 * POLL_S)
        assert second.is_active
        assert second.sequences == [4]
        # Nobody waits elsewhere, so the next one of the same node begins at once.
        fourth = await a.join()
        second.peer.end()
        assert fourth.is_active


@pytest.mark.req("FEED-68")
@trio_test
async def test_those_on_other_nodes_wait_as_well(autojump_clock: MockClock) -> None:
    async with two_nodes() as (_, crowd, a, b):
        active = await a.join()
        await crowd.churn(2)
        await trio.sleep(10 * ACK_TIMEOUT_S)
        assert active.is_active, "nobody else could do it"
        waiting = await b.join()
        await trio.sleep(ACK_TIMEOUT_S - 2)
        assert active.is_active, "its time begins now"
        await trio.sleep(4)
        assert active.notices[-1]["error"]["code"] == Code.TIMEOUT
        assert waiting.sequences == [1, 2]
        await waiting.ack(2)
        await trio.sleep(10 * ACK_TIMEOUT_S)
        assert waiting.is_active


@pytest.mark.req("FEED-65")
@trio_test
async def test_a_node_with_another_boot_takes_its_turns_anew(autojump_clock: MockClock) -> None:
    async with two_nodes() as (share, crowd, a, b):
        one = await a.join()
        await crowd.churn(3)
        await wait_all_tasks_blocked()
        await one.ack(2)
        await share.end("a1")
        a.boot = "a2"
        await share.enroll("a2")
        await trio.sleep(2 * POLL_S)
        assert one.is_active
        assert one.sequences == [1, 2, 3, 3]
        two = await b.join()
        await trio.sleep(2 * POLL_S)
        assert (one.is_active, two.is_active) == (True, False), "the turn is that of the new boot"


@pytest.mark.req("FEED-62")
@trio_test
async def test_who_has_lost_its_turn_is_refused(autojump_clock: MockClock) -> None:
    async with two_nodes() as (share, crowd, a, b):
        frozen, other = await a.join(), await b.join()
        await crowd.churn(3)
        await wait_all_tasks_blocked()
        await share.end("a1")  # while it stands still
        await trio.sleep(1.5 * POLL_S)
        with pytest.raises(ValueError, match="another member of the group is active"):
            await frozen.ack(3)
        assert other.is_active
        assert other.sequences == [1, 2, 3]
        assert not frozen.is_active
        with pytest.raises(ControlError, match="has no lease at the moment"):
            await a.join()


@pytest.mark.req("FEED-62")
@trio_test
async def test_who_has_lost_its_turn_is_refused_even_while_it_leaves(
    autojump_clock: MockClock,
) -> None:
    async with two_nodes() as (share, crowd, a, b):
        share.table.tell = lambda place: None  # type: ignore[method-assign]  # a looks later
        frozen, other = await a.join(), await b.join()
        await crowd.churn(3)
        await trio.sleep(2.5 * POLL_S)
        await share.end("a1")
        b.feed._groups._by_place[CHAT, "g"].poke()
        await wait_all_tasks_blocked()
        assert (frozen.is_active, other.is_active) == (True, True), "it does not know yet"

        began = trio.Event()

        async def ack() -> None:
            began.set()
            with pytest.raises(ValueError, match="another member of the group is active"):
                await frozen.ack(3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ack)
            await began.wait()
            frozen.peer.end()
        assert other.found.position.sequence == 0


@trio_test
async def test_an_acknowledgement_is_answered_when_it_is_stored(autojump_clock: MockClock) -> None:
    async with two_nodes() as (share, crowd, a, b):
        one = await a.join()
        await crowd.churn(3)
        await wait_all_tasks_blocked()
        a.turns.faults = ["before"]
        with pytest.raises(StoreUnavailable):
            await one.ack(1)
        await one.ack(3)  # the store is back by then
        a.turns.is_dead = True
        await share.end("a1")
        two = await b.join(Cursor(one.found.window.sent.generation, 0))
        assert two.found.position.sequence == 3


@pytest.mark.req("FEED-31")
@trio_test
async def test_members_on_every_node_are_told_that_the_position_is_lost(
    autojump_clock: MockClock,
) -> None:
    store = Restartable()
    async with two_nodes(store) as (_, crowd, a, b):
        members = [await node.join() for node in (a, b, b, a)]
        await crowd.churn(3)
        await wait_all_tasks_blocked()
        await members[0].ack(2)
        store.restart()
        await crowd.start()
        await trio.sleep(3 * POLL_S)
        for one in members:
            assert one.notices[-1]["error"]["code"] == Code.GENERATION_CHANGED
        again = await b.join(await crowd.head())
        assert again.is_active
        assert a.feed.statistics().groups == 1


async def lose_position(store: Restartable, crowd: Crowd, active: "Member") -> None:
    """Have a group acknowledge something, and then the store lose its log."""
    await crowd.churn(3)
    await wait_all_tasks_blocked()
    await active.ack(2)
    await trio.sleep(2 * POLL_S)
    store.restart()
    await crowd.start()
    await wait_all_tasks_blocked()


@pytest.mark.req("FEED-31")
@trio_test
async def test_members_are_told_even_if_the_group_has_begun_anew(
    autojump_clock: MockClock,
) -> None:
    store = Restartable()
    async with two_nodes(store) as (share, crowd, a, b):
        share.table.tell = lambda place: None  # type: ignore[method-assign]  # b looks later
        active, waiting = await a.join(), await b.join()
        await lose_position(store, crowd, active)
        assert active.notices[-1]["error"]["code"] == Code.GENERATION_CHANGED
        again = await a.join(await crowd.head())
        assert again.is_active, "before the other node has looked"
        await trio.sleep(2 * POLL_S)
        assert waiting.notices[-1]["error"]["code"] == Code.GENERATION_CHANGED
        assert (await b.join()).found.position == await crowd.head()


@pytest.mark.req("FEED-31", "FEED-69")
@trio_test
async def test_who_subscribes_is_refused_while_the_log_cannot_be_read(
    autojump_clock: MockClock,
) -> None:
    """A node says nothing of a group before it knows whether its position is lost."""
    store = Unreadable()
    async with two_nodes(store) as (share, crowd, a, b):
        share.table.tell = lambda place: None  # type: ignore[method-assign]  # b looks later
        active, waiting = await a.join(), await b.join()
        await lose_position(store, crowd, active)
        await a.join(await crowd.head())
        store.is_away = True
        with trio.fail_after(5), pytest.raises(ControlError, match="the log is away") as caught:
            await b.join()
        assert caught.value.code == Code.STORE_UNAVAILABLE
        assert waiting.notices == []
        store.is_away = False
        await trio.sleep(2 * POLL_S)
        assert waiting.notices[-1]["error"]["code"] == Code.GENERATION_CHANGED


class Unreadable(Restartable):
    """A store whose logs cannot be read while the test says so."""

    is_away = False

    async def read(self, namespace: str, cursor: Cursor, limit: int) -> Any:
        if self.is_away:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("the log is away")
        return await super().read(namespace, cursor, limit)


@pytest.mark.req("FEED-67")
@trio_test
async def test_a_group_goes_on_when_all_nodes_were_restarted(shared_redis: RedisServer) -> None:
    store = MemoryStore()
    crowd = Crowd(store)
    await crowd.start()
    async with redis_share(shared_redis, nodes=4) as share:
        for number in range(2):
            async with trio.open_nursery() as nursery:
                nodes = [Node(share, store, f"{name}{number}") for name in "ab"]
                for node in nodes:
                    await share.enroll(node.boot)
                    await nursery.start(node.run)
                one = await nodes[number].join(Cursor((await crowd.head()).generation, 0))
                assert one.found.position.sequence == (0, 4)[number]
                assert one.is_active
                if not number:
                    await crowd.churn(5)
                    await until(partial(_has, one, 5))
                    await one.ack(4)
                nursery.cancel_scope.cancel()
            for node in nodes:
                await share.end(node.boot)
        assert one.sequences in ([], [5])


@pytest.mark.parametrize("ticks", range(8))
@trio_test
async def test_whoever_subscribes_while_the_feed_ends_is_refused(ticks: int) -> None:
    async with two_nodes() as (_, _, node, _):
        node.scope.cancel()
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        with pytest.raises(ControlError, match="the presence feed"):
            await node.join()


@pytest.mark.req("FEED-60", "FEED-61")
@pytest.mark.parametrize("seed", range(4))
@trio_test
async def test_nothing_is_missed_on_a_real_redis(
    seed: int, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members on two nodes that die, are fenced, or lose their members, while 600 entries come."""
    for module in ("turns", "redis_turns"):
        monkeypatch.setattr(f"trio_socketio.im.presence.{module}.POLL_S", 0.05)
    chance, entries = Random(seed), 600
    store = MemoryStore()
    crowd = Crowd(store)
    await crowd.start()
    seen: set[int] = set()

    async with redis_share(shared_redis, nodes=40) as share, trio.open_nursery() as nursery:

        async def start(boot: str) -> Node:
            await share.enroll(boot)
            node = Node(share, store, boot)
            await nursery.start(node.run)
            return node

        async def work(node: Node) -> None:
            """Be a member until the node dies: acknowledge now and then, and leave."""
            while not node.turns.is_dead:
                try:
                    one = await node.join(Cursor((await crowd.head()).generation, 0))
                except ControlError:  # it has no lease, or ends
                    await trio.sleep(0.02)
                    continue
                for _ in range(chance.randrange(2, 8)):
                    await trio.sleep(chance.uniform(0, 0.04))
                    if not one.is_active or node.turns.is_dead:
                        continue
                    _check(one)
                    done = one.sequences[: chance.randrange(1, 100)]
                    try:
                        if done:
                            await one.ack(max(done))
                    except ValueError:
                        pass  # it was fenced; perhaps the acknowledgement was stored before
                    seen.update(done)
                _check(one)
                one.peer.end()
                await trio.sleep(chance.uniform(0, 0.05))

        def _check(one: Member) -> None:
            """Each time that it begins, it begins behind what was acknowledged, and goes on."""
            expected = None
            for notice in one.notices:
                at = parse_cursor(notice["cursor"]).sequence
                for entry in notice["entries"]:
                    number = parse_cursor(entry["cursor"]).sequence
                    assert expected is None or number == expected
                    assert number - 1 in seen | {0} or expected is not None
                    expected = number + 1
                    seen.add(number)
                if not notice["entries"]:
                    expected = at + 1

        nodes = [await start("a0"), await start("b0")]
        for node in (*nodes, *nodes):
            nursery.start_soon(work, node)
        for number in range(1, 12):
            await crowd.churn(entries // 12)
            await trio.sleep(chance.uniform(0.02, 0.12))
            index = chance.randrange(2)
            node = nodes[index]
            await share.end(node.boot)
            if chance.random() < 0.5:
                node.turns.is_dead = True
                node.scope.cancel()
                nodes[index] = await start(f"{'ab'[index]}{number}")
                for _ in range(2):
                    nursery.start_soon(work, nodes[index])
            else:
                node.boot = f"{'ab'[index]}{number}"
                await share.enroll(node.boot)
        head = (await crowd.head()).sequence
        with trio.fail_after(20):
            while await share.position(CHAT, "g") != head:  # noqa: ASYNC110 - many tasks move it
                await trio.sleep(0.02)
        assert seen == set(range(1, head + 1))
        nursery.cancel_scope.cancel()
