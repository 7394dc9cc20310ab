"""Subscriptions and groups in any order of events, against a plain model of the log.

Members come and go, acknowledge anything, do not read, lose their tokens and lag; the log is
trimmed, and lost. After every step all that can be delivered must have been delivered, in order;
what each has been sent, folded, is the state; and a group has gone on from where it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from tests.im.feed_world import CHAT, Crowd, Restartable, fold
from tests.im.store_world import MemoryWorld
from tests.properties import examples
from trio.testing import wait_all_tasks_blocked

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import Cursor, parse_cursor
from trio_socketio.im.presence.feed import ACK_TIMEOUT_S, Feed

if TYPE_CHECKING:
    from trio_socketio.control.caller import BackendPeer

KEPT = 12
ACTIONS = (
    *("write", "write", "write", "write", "flood", "subscribe", "subscribe", "subscribe"),
    *("ack", "ack", "ack", "ack", "ack", "unsubscribe", "hang up", "hang up", "block"),
    *("unblock", "unblock", "forbid", "allow", "time", "restart"),
)
picks = st.integers(0, 30)


class FakePeer:
    """A connection, as the feed sees it."""

    def __init__(self, number: int, inbox: "list[tuple[FakePeer, dict[str, Any]]]") -> None:
        self.name = f"peer {number}"
        self.pending = 0
        self.is_allowed = True
        self.is_blocked = False
        self._inbox = inbox
        self._room = trio.lowlevel.ParkingLot()
        self._callbacks: list[Callable[[], None]] = []

    def allows(self, method: str) -> bool:
        return self.is_allowed or method == "auth"

    def on_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def notify(self, message: bytes) -> None:
        told = msgspec.json.decode(message)
        assert told["method"] == "backend.presence"
        self._inbox.append((self, told["params"]))

    async def wait_room(self) -> None:
        while self.is_blocked:
            await self._room.park()

    def unblock(self) -> None:
        self.is_blocked = False
        self._room.unpark_all()

    def end(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


@dataclass(eq=False)
class Reader:
    """A subscription, as its peer knows it.

    Args:
        begin: the cursor that it was told; for one that waits, it begins where it is told later.
    """

    number: int
    feed: Feed
    peer: FakePeer
    group: str | None
    credit: int
    begin: Cursor
    is_active: bool
    acked: Cursor
    sent: Cursor
    users: dict[str, set[str]] = field(default_factory=dict)
    error: int = 0
    is_gone: bool = False  # by itself

    @property
    def is_live(self) -> bool:
        return not self.is_gone and not self.error


class FeedMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.thread = MemoryWorld(partial(Restartable, max_events=KEPT))
        self.store = cast("Restartable", self.thread.store)
        self.readers: list[Reader] = []
        self.inbox: list[tuple[FakePeer, dict[str, Any]]] = []  # what peers are sent, in order
        self.late: list[Reader] = []
        self.told: list[Reader] = []  # members that waited and have got an error
        self.positions: dict[str, Cursor] = {}
        self.states: dict[Cursor, dict[str, set[str]]] = {}  # of the users, at every cursor
        self.peers = 0
        self.do(self._start)

    def teardown(self) -> None:
        if hasattr(self, "thread"):
            self.thread.close()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async def run() -> Any:
            found = await function(*arguments)
            await self._check()
            return found

        return self.thread.do(run)

    async def _start(self) -> None:
        self.feed = Feed(self.store)
        await self.thread.nursery.start(self.feed.run)
        self.crowd = Crowd(self.store)
        await self._begin_log()

    async def _begin_log(self) -> None:
        self.crowd.online.clear()
        await self.crowd.start()
        self.states[await self.crowd.head()] = {}

    # -- what happens

    # One rule, as Hypothesis would leave some of several out for a whole run.
    @rule(
        what=st.sampled_from(ACTIONS),
        pick=picks,
        number=st.integers(1, 5),
        group=st.sampled_from((None, "g", "g", "g", "h")),
        where=st.sampled_from(("now", "head", "back", "back", "oldest", "expired", "old", "ahead")),
        credit=st.sampled_from((1, 2, 3, 5, 1000)),
    )
    def act(
        self, what: str, pick: int, number: int, group: str | None, where: str, credit: int
    ) -> None:
        self._act(what, pick, number, group, where, credit)

    def _act(
        self, what: str, pick: int, number: int, group: str | None, where: str, credit: int
    ) -> None:
        live = [one for one in self.readers if one.is_live]
        one = live[pick % len(live)] if live else None
        if what in ("write", "flood"):
            self.do(self._write, number if what == "write" else KEPT + number, pick)
        elif what == "subscribe" or one is None:
            if len(live) < 6:
                self.do(self._subscribe, group, where, number, credit)
        elif what == "ack":
            self.do(self._ack, one, where, number)
        elif what == "unsubscribe":
            self.do(self._unsubscribe, one)
        elif what == "hang up":
            self.do(self._hang_up, one)
        elif what == "time":
            self.do(self._pass_time)
        elif what == "restart":
            if pick < 8:
                self.do(self._restart)
        else:
            self.do(self._set, one.peer, what)

    async def _write(self, number: int, pick: int) -> None:
        for offset in range(number):
            user = "abc"[(pick + offset * (1 + pick % 2)) % 3]
            if user in self.crowd.online and (pick + offset) % 3:
                await self.crowd.go(user)
            else:
                await self.crowd.come(user)
            head = await self.crowd.head()
            self.states[head] = {user: {str(token)} for user, token in self.crowd.online.items()}

    async def _cursor(self, where: str, number: int) -> Cursor | None:
        head = await self.crowd.head()
        oldest = max(head.sequence - KEPT, 0)
        if where == "now":
            return None
        if where == "old":
            return Cursor(head.generation - 1, number)
        sequence = {
            "head": head.sequence,
            "back": max(head.sequence - number, oldest),
            "oldest": oldest,
            "expired": max(oldest - number, 0),
            "ahead": head.sequence + number,
        }[where]
        return Cursor(head.generation, sequence)

    async def _subscribe(self, group: str | None, where: str, number: int, credit: int) -> None:
        self.peers += 1
        peer = FakePeer(self.peers, self.inbox)
        cursor = await self._cursor(where, number)
        position = None if group is None else self.positions.get(group)
        others = group is not None and any(one.group == group for one in self._live())
        begin = cursor if position is None else position
        try:
            told = await self.feed.subscribe(cast("BackendPeer", peer), CHAT, cursor, group, credit)
            code = 0
        except ControlError as error:
            code = error.code
        if begin is None:
            begin = await self.crowd.head()
        # One that waits is not checked: the active member finds out.
        assert code == (0 if others and position else await self._fault(begin))
        if code:
            if group is not None:  # its position is of no use to anybody
                self.positions.pop(group, None)
            return
        assert told.position == begin
        reader = Reader(
            told.number, self.feed, peer, group, credit, begin, not others, begin, begin
        )
        if group is not None:
            self.positions.setdefault(group, begin)
        if reader.is_active:
            self._fold_from(reader, begin)
        self.readers.append(reader)

    async def _fault(self, cursor: Cursor) -> int:
        """Why a cursor cannot be read from; 0 if it can."""
        head = await self.crowd.head()
        if cursor.generation != head.generation or cursor > head:
            return Code.GENERATION_CHANGED
        return Code.CURSOR_EXPIRED if cursor.sequence < head.sequence - KEPT else 0

    async def _ack(self, one: Reader, where: str, number: int) -> None:
        cursor = {
            "now": one.sent,
            "head": one.sent,
            "back": Cursor(one.sent.generation, max(one.sent.sequence - number, 0)),
            "oldest": one.acked,
            "expired": Cursor(one.sent.generation, max(one.acked.sequence - number, 0)),
            "old": Cursor(one.sent.generation - 1, one.sent.sequence),
            "ahead": Cursor(one.sent.generation, one.sent.sequence + number),
        }[where]
        peer = cast("BackendPeer", one.peer)
        try:
            found = await one.feed.acknowledge(peer, one.number, cursor)
        except ValueError:
            assert not one.is_active or where in ("old", "ahead")
            return
        assert found is not None
        assert one.is_active
        assert where not in ("old", "ahead")
        one.acked = max(one.acked, cursor)
        assert found.window.acked == one.acked
        if one.group is not None:
            self.positions[one.group] = one.acked
        # A subscription of another connection is none of one's own.
        stranger = cast("BackendPeer", FakePeer(0, []))
        assert await one.feed.acknowledge(stranger, one.number, cursor) is None

    async def _unsubscribe(self, one: Reader) -> None:
        one.is_gone = True
        peer = cast("BackendPeer", one.peer)
        assert one.feed.unsubscribe(peer, one.number)
        assert not one.feed.unsubscribe(peer, one.number)

    async def _hang_up(self, one: Reader) -> None:
        one.is_gone = True
        one.peer.end()

    async def _set(self, peer: FakePeer, what: str) -> None:
        if what == "unblock":
            peer.unblock()
        elif what == "block":
            peer.is_blocked = True
        else:
            peer.is_allowed = what == "allow"

    async def _pass_time(self) -> None:
        self.late = [
            one
            for one in self._live()
            if one.is_active and one.sent > one.acked and one.group is not None
            if sum(other.group == one.group for other in self._live()) > 1
        ]
        self.thread._clock.jump(ACK_TIMEOUT_S + 0.1)
        await wait_all_tasks_blocked()
        for one in self.late:
            assert "error" in [told for peer, told in self.inbox if peer is one.peer][-1]

    async def _restart(self) -> None:
        self.store.restart()
        await self._begin_log()

    # -- what must be so

    def _live(self) -> list[Reader]:
        return [one for one in self.readers if one.is_live]

    def _fold_from(self, one: Reader, cursor: Cursor) -> None:
        one.begin = one.acked = one.sent = cursor
        one.users = {user: set(seats) for user, seats in self.states.get(cursor, {}).items()}

    async def _check(self) -> None:
        await wait_all_tasks_blocked()
        head = await self.crowd.head()
        await self._take_notices()
        self._check_told()
        for name in {one.group for one in self._live()} - {None}:
            members = [one for one in self._live() if one.group == name]
            assert [one.is_active for one in members] == [True] + [False] * (len(members) - 1)
        for one in self._live():
            room = one.credit - (one.sent.sequence - one.acked.sequence)
            assert room >= 0
            if one.is_active and room and not one.peer.is_blocked and one.peer.is_allowed:
                assert one.sent == head, "all that may be sent was sent"
        found = self.feed.statistics()
        assert found.subscriptions == len(self._live())
        assert len(self.feed._readers) == bool(self._live())

    def _check_told(self) -> None:
        """The active member has found it out, and all are told."""
        for one in self.told:
            active = [other for other in self.readers if other.group == one.group]
            assert any(other.is_active and other.error == one.error for other in active)
        self.told.clear()

    async def _take_notices(self) -> None:
        while self.inbox:
            peer, notice = self.inbox.pop(0)
            (one,) = [one for one in self.readers if one.peer is peer]
            assert one.is_live, "nothing comes after the end"
            assert notice["subscription"] == one.number
            cursor = parse_cursor(notice["cursor"])
            if "error" in notice:
                await self._take_error(one, cursor, notice["error"]["code"])
            elif not notice["entries"]:
                # It has become active: its group goes on from where it was.
                assert one.group is not None
                self._take_turn(one, one.group, cursor)
                one.is_active = True
                self._fold_from(one, cursor)
            else:
                self._take_entries(one, notice["entries"], cursor)

    def _take_turn(self, one: Reader, group: str, cursor: Cursor) -> None:
        assert not one.is_active
        assert cursor == self.positions.setdefault(group, cursor)

    def _take_entries(self, one: Reader, entries: list[dict[str, Any]], cursor: Cursor) -> None:
        assert one.is_active
        for entry in entries:
            at = parse_cursor(entry["cursor"])
            assert at == (one.sent.generation, one.sent.sequence + 1), "a gap, or twice"
            one.sent = at
            fold([entry], one.users)
            assert one.users == self.states[at]
        assert cursor == one.sent

    async def _take_error(self, one: Reader, cursor: Cursor, code: int) -> None:
        one.error = code
        if one.is_active:
            assert cursor == one.acked
        if code == Code.FORBIDDEN:
            assert not one.peer.is_allowed
        elif code == Code.TIMEOUT:
            assert one in self.late
        else:
            if one.is_active:
                assert code == await self._fault(one.sent)
            else:
                self.told.append(one)
            if one.group is not None:
                self.positions.pop(one.group, None)


@pytest.mark.req("FEED-10")
@pytest.mark.req("FEED-20")
@pytest.mark.req("FEED-22")
@pytest.mark.req("FEED-52")
def test_no_entry_is_missed_whatever_members_do() -> None:
    run_state_machine_as_test(
        FeedMachine,
        settings=settings(max_examples=examples(40), stateful_step_count=40, deadline=None),
    )
