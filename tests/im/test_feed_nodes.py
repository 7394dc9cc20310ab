"""Groups whose members are connected to two nodes: nothing is missed, whatever nodes do.

The machine of test_feed_machine.py, over two feeds that share a store and the turns of groups.
Nodes die, are taken for dead while they live, and come back under another boot; the store fails
before or after it has done what it was asked; news of turns may be lost. After every step and some
time, one member of each group is active, and it has begun at the position of the group, which is
exactly what was acknowledged.
"""

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from tests.im.feed_world import CHAT, Crowd
from tests.im.test_feed_machine import ACTIONS, FakePeer, FeedMachine, Reader, picks
from tests.im.turns_world import FaultyTurns, LocalShare
from tests.properties import examples
from trio.testing import wait_all_tasks_blocked

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import Cursor, StoreUnavailable
from trio_socketio.im.presence.feed import Feed
from trio_socketio.im.presence.subscription import Subscription
from trio_socketio.im.presence.turns import POLL_S
from trio_socketio.protocol.subscription_life import State

if TYPE_CHECKING:
    from trio_socketio.control.caller import BackendPeer

ACK_TIMEOUT_S = 10_000.0  # turns are looked at every second, so time passes in every step
FAULTS = ((), ("before",), ("after",), ("before", "after"), ("", "after"), ("", "", "before"))


class Node:
    """A node whose process can be killed.

    Attributes:
        is_suspect: whether it has no lease any more, and does not know.
    """

    def __init__(self, machine: "NodesMachine") -> None:
        self.boot = machine.next_boot()
        self.turns = FaultyTurns(machine.share.node(lambda: self.boot))
        self.feed = Feed(machine.store, ack_timeout_s=ACK_TIMEOUT_S, turns=self.turns)
        self.scope = trio.CancelScope()
        self.is_suspect = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.feed.run(task_status=task_status)


class NodesMachine(FeedMachine):
    @initialize(is_deaf=st.booleans())
    def begin(self, is_deaf: bool = False) -> None:
        self.is_deaf = is_deaf
        self.boots = count(1)
        self.possible: dict[str, list[Cursor]] = {}  # acknowledged, and perhaps stored
        self.may_lose: set[Reader] = set()  # active, on a node that may have lost its turns
        super().begin()

    def teardown(self) -> None:
        if hasattr(self, "thread"):  # what is left of nodes ends in time
            self.thread._thread._token.run_sync_soon(
                setattr, self.thread._clock, "autojump_threshold", 0
            )
        super().teardown()

    def next_boot(self) -> str:
        boot = f"boot {next(self.boots)}"
        self.share.boots.add(boot)
        return boot

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Do something while time passes, as stores that fail are asked again after a while."""

        async def run() -> Any:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_polls)
                found = await function(*arguments)
                nursery.cancel_scope.cancel()
            await self._settle()
            await self._check()
            return found

        return self.thread.do(run)

    async def _pass_polls(self) -> None:
        while True:
            await wait_all_tasks_blocked()
            self.thread._clock.jump(POLL_S / 2)

    async def _settle(self) -> None:
        rest = 4
        while rest:
            await wait_all_tasks_blocked()
            for node in self.nodes:
                if not node.feed._groups._by_place:
                    node.turns.faults.clear()  # it asks nothing, so none of them would come
            rest -= not any(node.turns.faults for node in self.nodes)
            self.thread._clock.jump(POLL_S + 0.05)

    async def _start(self) -> None:
        self.share = LocalShare()
        if self.is_deaf:
            self.share.table.tell = lambda place: None  # type: ignore[method-assign]  # nobody hears
        self.nodes = [Node(self), Node(self)]
        for node in self.nodes:
            await self.thread.nursery.start(node.run)
        self.crowd = Crowd(self.store)
        await self._begin_log()

    # -- what happens

    @rule(
        what=st.sampled_from(
            (*ACTIONS, "die", "die", "fence", "fence", "suspect", "suspect", "fault", "fault")
        ),
        pick=picks,
        number=st.integers(1, 5),
        group=st.sampled_from((None, "g", "g", "g", "g", "g", "h")),
        where=st.sampled_from(("now", "head", "back", "back", "oldest", "expired", "old", "ahead")),
        credit=st.sampled_from((1, 2, 3, 5, 1000)),
        faults=st.sampled_from(FAULTS),
    )
    def act(
        self,
        what: str,
        pick: int,
        number: int,
        group: str | None,
        where: str,
        credit: int,
        faults: tuple[str, ...],
    ) -> None:
        node = self.nodes[pick % 2]
        if what == "die":
            self.do(self._die, node)
        elif what == "fence":
            self.do(self._fence, node)
        elif what == "suspect":
            self.do(self._suspect, node)
        elif what == "fault":  # with what is done next
            node.turns.faults = list(faults)
        else:
            self.feed = node.feed
            self._act(what, pick, number, group, where, credit)

    async def _die(self, node: Node) -> None:
        node.turns.is_dead = True
        self.share.boots.discard(node.boot)
        for one in self._live():
            if one.feed is node.feed:
                one.is_gone = True
        node.scope.cancel()
        self.nodes[self.nodes.index(node)] = new = Node(self)
        await self.thread.nursery.start(new.run)

    async def _fence(self, node: Node) -> None:
        self._note_doubt(node)
        self.share.boots.discard(node.boot)
        node.boot, node.is_suspect = self.next_boot(), False

    async def _suspect(self, node: Node) -> None:
        self._note_doubt(node)
        self.share.boots.discard(node.boot)
        node.is_suspect = True

    def _note_doubt(self, node: Node) -> None:
        self.may_lose |= {one for one in self._live() if one.feed is node.feed and one.is_active}

    def _node(self, one: Reader) -> Node:
        (node,) = [node for node in self.nodes if node.feed is one.feed]
        return node

    def _positions(self, group: str | None) -> list[Cursor]:
        if group is None:
            return []
        known = [self.positions[group]] if group in self.positions else []
        return known + self.possible.get(group, [])

    def _forget(self, group: str) -> None:
        self.positions.pop(group, None)
        self.possible.pop(group, None)

    async def _subscribe(self, group: str | None, where: str, number: int, credit: int) -> None:
        self.peers += 1
        peer = FakePeer(self.peers, self.inbox)
        (node,) = [node for node in self.nodes if node.feed is self.feed]
        cursor = await self._cursor(where, number)
        begin = await self.crowd.head() if cursor is None else cursor
        code = 0
        is_doubtful = node.is_suspect or bool(node.turns.faults)
        try:
            told = await self.feed.subscribe(cast("BackendPeer", peer), CHAT, cursor, group, credit)
        except ControlError as error:
            code = error.code
        if code == Code.STORE_UNAVAILABLE:
            assert group is not None
            assert is_doubtful
            if group not in self.positions:
                self.possible.setdefault(group, []).append(begin)
            return
        positions = self._positions(group)
        if code:
            assert code in [await self._fault(one) for one in (*positions, begin)]
            if group is not None and positions:
                self._forget(group)
            return
        is_active = told.state is State.RUNNING
        if group is None or not positions:
            assert told.position == begin
        elif group in self.positions:
            assert told.position in positions
        reader = Reader(
            told.number, self.feed, peer, group, credit, told.position, is_active, begin, begin
        )
        self.readers.append(reader)
        if is_active:
            if group is not None:
                self._replace(reader, group)
                self.positions.setdefault(group, told.position)
            self._fold_from(reader, told.position)

    def _replace(self, one: Reader, group: str) -> None:
        """Another member has the turn, perhaps of a node that does not know that it has lost it."""
        for other in self._live():
            if other is not one and other.group == group and other.is_active:
                assert other in self.may_lose
                other.is_active = False
        self.may_lose.discard(one)
        if self._node(one).is_suspect:
            self.may_lose.add(one)

    async def _ack(self, one: Reader, where: str, number: int) -> None:
        before = one.acked
        if one in self.may_lose and self._subscription(one).state is not State.RUNNING:
            one.is_active = False  # another had the turn meanwhile, and did not keep it
        window = self._subscription(one).window  # the subscription may end meanwhile
        try:
            await super()._ack(one, where, number)
        except StoreUnavailable:
            assert one.group is not None
            one.acked = window.acked
            self.possible.setdefault(one.group, []).append(one.acked)
        else:
            if one.group is not None and one.acked > before:
                self.possible[one.group] = [
                    other for other in self.possible.get(one.group, []) if other > one.acked
                ]

    def _subscription(self, one: Reader) -> Subscription:
        return one.feed._by_peer[cast("BackendPeer", one.peer)][one.number]

    async def _pass_time(self) -> None:
        self.late = [
            one
            for one in self._live()
            if one.is_active and one.sent > one.acked and one.group is not None
            if any(other.group == one.group and other is not one for other in self._live())
        ]
        sure = [
            one
            for one in self.late
            if one not in self.may_lose
            if any(
                other.group == one.group
                and other is not one
                and (other.feed is one.feed or not self._node(other).is_suspect)
                for other in self._live()
            )
        ]
        self.thread._clock.jump(ACK_TIMEOUT_S + 0.1)
        await wait_all_tasks_blocked()
        for one in sure:
            assert "error" in [told for peer, told in self.inbox if peer is one.peer][-1]

    # -- what must be so

    async def _check(self) -> None:
        await wait_all_tasks_blocked()
        head = await self.crowd.head()
        await self._take_notices()
        for name in {one.group for one in self._live()} - {None}:
            members = [one for one in self._live() if one.group == name]
            active = [one for one in members if one.is_active]
            if not all(self._node(one).is_suspect for one in members):
                assert len(active) == 1
            for one in active:
                queue = [other for other in members if other.feed is one.feed]
                assert one is queue[0], "within a node, the one that has waited longest"
                room = one.credit - (one.sent.sequence - one.acked.sequence)
                if self._node(one).is_suspect:
                    continue  # its node may have found out that it has no turns any more
                if room > 0 and not one.peer.is_blocked and one.peer.is_allowed:
                    assert one.sent == head, "all that may be sent was sent"
                    # All members know that they need a snapshot, once the active one has seen it.
                    # Those on a node without a lease will be told when it has one.
                    assert all(
                        other.begin.generation == head.generation
                        for other in members
                        if not self._node(other).is_suspect
                    )
        for one in self._live():
            room = one.credit - (one.sent.sequence - one.acked.sequence)
            if one.group is None and room and not one.peer.is_blocked and one.peer.is_allowed:
                assert one.sent == head
        for node in self.nodes:
            live = [one for one in self._live() if one.feed is node.feed]
            assert node.feed.statistics().subscriptions == len(live)
            assert len(node.feed._readers) == bool(live)
            assert len(node.feed._groups._by_place) == len({one.group for one in live} - {None})

    def _take_turn(self, one: Reader, group: str, cursor: Cursor) -> None:
        positions = self._positions(group)
        if group in self.positions:
            assert cursor in positions, "exactly behind what was acknowledged"
        else:
            self.positions[group] = cursor
        if not one.is_active:
            self._replace(one, group)
        else:
            assert one in self.may_lose
            if not self._node(one).is_suspect:
                self.may_lose.discard(one)

    def _take_entries(self, one: Reader, entries: list[dict[str, Any]], cursor: Cursor) -> None:
        if one.is_active:
            super()._take_entries(one, entries, cursor)
        else:  # it has lost its turn, and its node has not found out yet
            assert one in self.may_lose

    async def _take_error(self, one: Reader, cursor: Cursor, code: int) -> None:
        one.error = code
        if code == Code.FORBIDDEN:
            assert not one.peer.is_allowed
        elif code == Code.TIMEOUT:
            assert one in self.late
        else:
            assert code in (Code.CURSOR_EXPIRED, Code.GENERATION_CHANGED)
            if one.is_active:
                assert code == await self._fault(one.sent)
            if one.group is not None:
                self._forget(one.group)


@pytest.mark.req("FEED-60")
@pytest.mark.req("FEED-61")
@pytest.mark.req("FEED-62")
@pytest.mark.req("FEED-63")
@pytest.mark.req("FEED-64")
@pytest.mark.req("FEED-65")
def test_no_entry_is_missed_whatever_nodes_do() -> None:
    run_state_machine_as_test(
        NodesMachine,
        settings=settings(max_examples=examples(30), stateful_step_count=40, deadline=None),
    )
