"""The webhook of nodes that share a store: one posts at a time, and the order is kept."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http.answering import Answers, Asked, answer, answering
from tests.im.feed_world import CHAT, Crowd, Restartable
from tests.im.hook_receiver import Receiver
from tests.im.test_presence_webhook import options, until
from tests.im.turns_world import FaultyTurns, LocalShare, RedisShare, redis_share
from tests.properties import examples
from tests.redis_server import RedisServer
from trio.testing import MockClock, trio_test

from trio_socketio.im.presence import MemoryStore
from trio_socketio.im.presence.report import Report
from trio_socketio.im.presence.turns import POLL_S
from trio_socketio.im.presence.webhook import PresenceWebhook
from trio_socketio.protocol.presence_claims import Present

if TYPE_CHECKING:
    from trio_socketio.im.presence.courier import Courier

KEPT = 30
ACTIONS = ("write", "write", "flood", "stick", "lose answer", "suspect", "die", "late", "restart")


class FakeCourier:
    """Takes requests to a receiver, unless they are stuck on the way."""

    def __init__(self, receiver: Receiver, late: list[dict[str, Any]]) -> None:
        self.how = ""
        self._receiver = receiver
        self._late = late

    async def deliver(self, body: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.how == "stick":  # it may come at any time, although it is abandoned
            self._late.append(json.loads(body))
            await trio.sleep_forever()
        self._receiver.take_body(json.loads(body))
        if self.how == "lose answer":
            await trio.sleep_forever()


class Poster:
    """A node that may report."""

    def __init__(self, world: "World") -> None:
        self.boot = f"boot {next(world.boots)}"
        world.share.boots.add(self.boot)
        self.turns = FaultyTurns(world.share.node(lambda: self.boot))
        self.courier = FakeCourier(world.receiver, world.late)
        self.scope = trio.CancelScope()
        self.report = Report(
            world.store, CHAT, cast("Courier", self.courier), world.options, self.turns
        )

    async def run(self) -> None:
        with self.scope:
            await self.report.run()


class World:
    """Two posters, a store, and a receiver."""

    def __init__(self, folder: Path) -> None:
        self.boots = count(1)
        self.share = LocalShare()
        self.store = Restartable(max_events=KEPT)
        self.crowd = Crowd(self.store)
        self.receiver = Receiver()
        self.late: list[dict[str, Any]] = []
        self.options = options(folder, "http://127.0.0.1:1/", batch_entries=3)
        self.posters: list[Poster] = []

    async def run(self, steps: list[tuple[str, int]]) -> None:
        async with trio.open_nursery() as nursery:
            await self.crowd.start()
            await self.crowd.come(*(f"early {number}" for number in range(8)))
            self.posters = [self._start(nursery) for _ in range(2)]
            for what, number in steps:
                await self._act(what, number, nursery)
                await trio.sleep((number % 3) * POLL_S)
            for poster in self.posters:
                poster.courier.how = ""
            for index in (0, 1):  # what is stuck is stuck until its node is given up
                await self._act("die", index, nursery)
            await trio.sleep(10 * POLL_S)
            await self._check()
            while self.late:
                self.receiver.take_body(self.late.pop())
            await self._check()
            nursery.cancel_scope.cancel()

    def _start(self, nursery: trio.Nursery) -> Poster:
        poster = Poster(self)
        nursery.start_soon(poster.run)
        return poster

    async def _act(self, what: str, number: int, nursery: trio.Nursery) -> None:
        poster = self.posters[number % 2]
        if what in ("write", "flood"):
            await self.crowd.churn(number + (KEPT if what == "flood" else 0), users=7)
        elif what in ("stick", "lose answer"):
            poster.courier.how = what
        elif what == "late" and self.late:
            self.receiver.take_body(self.late.pop(number % len(self.late)))
        elif what == "suspect":  # and then it comes back under another boot
            self.share.boots.discard(poster.boot)
            await trio.sleep(POLL_S * (number % 3))
            poster.boot = f"boot {next(self.boots)}"
            self.share.boots.add(poster.boot)
            poster.courier.how = ""
        elif what == "die":
            self.share.boots.discard(poster.boot)
            poster.turns.is_dead = True
            poster.scope.cancel()
            self.posters[number % 2] = self._start(nursery)
        elif what == "restart" and number > 5:
            self.store.restart()
            self.crowd.online.clear()
            await self.crowd.start()

    async def _check(self) -> None:
        found = await self.store.snapshot(CHAT)
        assert self.receiver.users == {
            user: {str(seat.token) for seat in seats} for user, seats in found.users.items()
        }


@pytest.mark.req("HOOK-10", "HOOK-11", "HOOK-12", "HOOK-13")
def test_the_receiver_has_the_state_whatever_nodes_do(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("hook")

    @settings(max_examples=examples(40), deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=25))
    def check(steps: list[tuple[str, int]]) -> None:
        trio.run(World(folder).run, steps, clock=MockClock(autojump_threshold=0))

    check()


# -- with requests over HTTP


class Node:
    """A node that posts over HTTP; its process may be killed."""

    def __init__(
        self, share: LocalShare | RedisShare, store: MemoryStore, folder: Path, url: str, boot: str
    ) -> None:
        self.boot = boot
        self.turns = FaultyTurns(share.node(lambda: self.boot))
        self.ended = trio.Event()
        self.hook = PresenceWebhook(store, options(folder, url), turns=self.turns)
        self.scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.hook.run(task_status=task_status)
        self.ended.set()

    @property
    def has_posted(self) -> bool:
        return self.hook.statistics().attempts.get("accepted", 0) > 0


@asynccontextmanager
async def posting(
    share: LocalShare | RedisShare, store: MemoryStore, folder: Path, server: Answers, *boots: str
) -> AsyncIterator[list[Node]]:
    async with trio.open_nursery() as nursery:
        nodes = [Node(share, store, folder, server.url, boot) for boot in boots]
        for node in nodes:
            await share.enroll(node.boot)
            await nursery.start(node.run)
        yield nodes
        nursery.cancel_scope.cancel()


def _has_come(server: Answers, cursor: str) -> bool:
    return bool(server.asked) and server.asked[-1].json["cursor"] == cursor


def received(server: Answers) -> Receiver:
    receiver = Receiver()
    for asked in server.asked:
        receiver.take(asked)
    return receiver


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("turns", "redis_turns"):
        monkeypatch.setattr(f"trio_socketio.im.presence.{module}.POLL_S", 0.05)


@pytest.mark.req("HOOK-10", "HOOK-11")
@pytest.mark.usefixtures("quick_polls")
@trio_test
async def test_nodes_that_die_leave_no_gap(tmp_path: Path, shared_redis: RedisServer) -> None:
    store, chance = MemoryStore(), Random(7)
    crowd = Crowd(store)
    await crowd.start()
    async with (
        answering("") as server,
        redis_share(shared_redis, nodes=8) as share,
        posting(share, store, tmp_path, server, *(f"boot{number}" for number in range(8))) as nodes,
    ):
        while len(nodes) > 1:
            for _ in range(10):
                await crowd.churn(20)
                await trio.sleep(chance.uniform(0, 0.02))
            node = next((one for one in nodes if one.has_posted), nodes[0])
            await share.end(node.boot)
            node.turns.is_dead = True
            node.scope.cancel()
            nodes.remove(node)
        head = await crowd.head()
        await until(partial(_has_come, server, str(head)))
        assert nodes[0].hook.statistics().lag == {CHAT: 0}
    receiver = received(server)
    assert receiver.gaps == ["started"]
    assert receiver.repeated <= 500 * 7
    assert set(receiver.users) == set(crowd.online)


@pytest.mark.req("HOOK-11")
@trio_test
async def test_a_restart_of_the_only_node_is_no_gap(
    tmp_path: Path, shared_redis: RedisServer
) -> None:
    store = MemoryStore(max_events=50)
    crowd = Crowd(store)
    await crowd.start()
    async with answering("") as server, redis_share(shared_redis) as share:
        for boot, entries in (("a1", 10), ("a2", 20), ("a3", 100)):
            await crowd.churn(entries)
            head = str(await crowd.head())
            async with posting(share, store, tmp_path, server, boot) as (node,):
                await until(partial(_has_come, server, head))
                # The lease is given back before the last entries were sent: see services.py.
                await share.end(boot)
                node.boot = ""
                await crowd.churn(1)
                node.hook.end()
                await until(node.ended.is_set)
        receiver = received(server)
    assert receiver.gaps == ["started", "cursor_expired"]
    assert receiver.repeated == 0
    assert set(receiver.users) == set(crowd.online)


@pytest.mark.req("HOOK-12", "HOOK-13")
@pytest.mark.usefixtures("quick_polls")
@trio_test
async def test_who_has_lost_the_turn_abandons_its_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    share, store = LocalShare(), MemoryStore()
    crowd = Crowd(store)
    await crowd.start()
    async with answering("") as server, posting(share, store, tmp_path, server, "a1") as (a,):
        await until(lambda: a.has_posted)
        go_on = trio.Event()

        async def give_late(_: Asked) -> bytes:
            await go_on.wait()
            return answer("")

        server.answering = give_late
        await crowd.churn(5)
        await until(lambda: len(server.asked) == 2)
        server.answers("")
        async with posting(share, store, tmp_path, server, "b1") as (b,):
            await trio.sleep(0.2)
            assert not b.has_posted, "one posts at a time"
            await share.end("a1")  # it stands still, and is taken for gone
            await until(lambda: b.has_posted)
            await until(lambda: "another node reports" in caplog.text)
            go_on.set()
            await crowd.churn(5)
            head = str(await crowd.head())
            await until(lambda: server.asked[-1].json["cursor"] == head)
            assert a.hook.statistics().attempts == {"accepted": 1}, "the late answer is not heard"
            assert a.hook.statistics().lag == {CHAT: 0}, "it knows nothing, and says nothing"
            asked = list(server.asked)
    late = asked.pop(1)
    for place in range(1, len(asked) + 1):
        receiver = Receiver()
        for one in (*asked[:place], late, *asked[place:]):
            receiver.take(one)
        assert receiver.gaps == ["started"]
        assert set(receiver.users) == set(crowd.online)


@pytest.mark.req("HOOK-14")
@trio_test
async def test_a_snapshot_says_that_claims_may_be_missing(tmp_path: Path) -> None:
    class Rebuilding(MemoryStore):
        async def snapshot(self, namespace: str) -> Present:
            found = await super().snapshot(namespace)
            return Present(found.users, found.cursor, is_rebuilding=True)

    store = Rebuilding()
    await Crowd(store).start()
    async with answering("") as server:
        async with posting(LocalShare(), store, tmp_path, server, "a1") as (node,):
            await until(lambda: node.has_posted)
        (asked,) = server.asked
    gap, snapshot = asked.json["records"]
    assert "rebuilding" not in gap
    assert snapshot["rebuilding"] is True
