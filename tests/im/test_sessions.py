"""Whole sessions in any order: joining, leaving, kicks, recovery, and a store that is slow or away.

Two servers share a store. Every call of theirs can be held before and after it was done, so that
clients leave, and users are kicked, at each await of a joining. What must hold at every moment is
checked after every step (PRES-41 to PRES-44, PRES-47, PRES-48), and PRES-46 when all is at rest.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from tests.im.held_store import HOLDS, Held
from tests.im.seat_world import LINGER_S, SeatWorld, Visitor
from tests.im.store_world import MAXIMUM, MemoryWorld
from tests.properties import examples

picks = st.integers(0, 30)
ACTIONS = (
    *("come", "come", "come", "come", "return", "return", "lose", "lose", "lose", "leave"),
    *("late", "put out", "kick", "hold", "hold", "hold nothing", "let go", "let go", "fail"),
    *("time", "time", "take over", "take over", "come after a kick", "rush", "rush"),
)
rarely = st.sampled_from((False, False, False, True))
REFUSALS = {
    "already connected",
    "disconnected by the server",
    "kicked",
    "presence unavailable",
    "seat taken",
    "session replaced",
    "Timed out",
    "too many sessions",
}


class SessionMachine(RuleBasedStateMachine):
    """Clients on socket pairs. The thread is that of a world for stores."""

    @initialize(
        namespace=st.sampled_from(("/newest", "/newest", "/reject", "/many")),
        takeover=st.sampled_from(("strict", "strict", "fast")),
        linger_s=st.sampled_from((0.0, LINGER_S)),
        is_elsewhere=st.booleans(),
    )
    def begin(self, namespace: str, takeover: str, linger_s: float, is_elsewhere: bool) -> None:
        self.thread = MemoryWorld()
        self.here = namespace
        self.takeover = takeover
        self.world = SeatWorld(takeover=takeover, linger_s=linger_s)
        self.world.store.is_elsewhere = is_elsewhere
        self.thread.do(self.world.start, self.thread.nursery)

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        found = self.thread.do(function, *arguments)
        self.thread.do(self._check)
        return found

    async def _check(self) -> None:
        await self.world.settle()
        assert self.world.defects.told == []
        most = MAXIMUM if self.here == "/many" else 1
        assert self.takeover == "fast" or self.world.crowds[self.here] <= most, "I7"

    def those(self, *, is_in: bool | None = None) -> list[Visitor]:
        return [
            one
            for one in self.world.visitors
            if not one.is_gone and (is_in is None or one.is_in == is_in)
        ]

    # One rule, as Hypothesis would leave some of several out for a whole run, and most of what can
    # go wrong takes several kinds of steps.
    @rule(
        what=st.sampled_from(ACTIONS),
        pick=picks,
        server=st.integers(0, 1),
        user=st.sampled_from(("ann", "ann", "bob")),
        late=rarely,
        busy=rarely,
        at=st.sampled_from((*HOLDS, "orders after", "orders after")),
        seconds=st.sampled_from((0.5, 1.0, 3.0, 11.0, 21.0)),
    )
    def act(
        self,
        what: str,
        pick: int,
        server: int,
        user: str,
        late: bool,
        busy: bool,
        at: str,
        seconds: float,
    ) -> None:
        self._act(what, pick, server, user, late, busy, at, seconds)

    def _act(
        self,
        what: str,
        pick: int,
        server: int,
        user: str,
        late: bool,
        busy: bool,
        at: str,
        seconds: float,
    ) -> None:
        world, store = self.world, self.world.store
        sockets, here, inside = world.sockets(self.here), self.those(), self.those(is_in=True)
        lost = [one for one in world.visitors if one.is_gone and one.pid and not one.came_back]
        if what == "return" and lost:
            back = lost[pick % len(lost)]
            self.do(partial(world.come, late=late, back=back), back.server, self.here, back.user)
        elif what == "take over" and inside:  # while the store is slow in one place
            old = inside[pick % len(inside)]
            store.hold = {at}
            self.do(partial(world.come, late=late), server, self.here, old.user)
        elif what == "come after a kick" and inside:  # before all nodes know of it
            old = inside[pick % len(inside)]
            store.hold = {("orders after", "confirm before")[pick % 2]}
            self.do(store.inner.kick, self.here, old.user)
            self.do(partial(world.come, late=late), server, self.here, old.user)
        elif what == "rush":
            self.do(self._rush, server, user, pick, late)
        elif what == "lose" and here:
            self.do(world.lose, here[pick % len(here)])
        elif what == "leave" and inside:
            self.do(world.leave, inside[pick % len(inside)])
        elif what == "late" and here:
            self.do(world.act, here[pick % len(here)].gate.set)
        elif what == "put out" and sockets:
            self.do(world.act, sockets[pick % len(sockets)].disconnect)
        elif what == "kick":
            self.do(store.kick, self.here, user)
        elif what == "hold":
            store.hold = {at}
        elif what == "hold nothing":
            store.hold = set()
        elif what in ("let go", "fail") and store.held:
            self.do(self._let_go, store.held[pick % len(store.held)], what == "fail")
        elif what == "time":
            self.do(self.thread.advance, seconds)
        else:
            self.do(partial(world.come, late=late, busy=busy), server, self.here, user)

    async def _rush(self, server: int, user: str, pick: int, late: bool) -> None:
        """A user logs in twice within a turn, and an older client leaves between the logins."""
        world = self.world
        first = await world.open(server, self.here, user)
        second = await world.open(server, self.here, user, late=late)
        if pick % 2:  # all connections are preferred, so they are read in this order
            for one in (first, second):
                one.wire.send(["40"])
            await world.settle()
        old = [one for one in self.those(is_in=True) if (one.server, one.user) == (server, user)]
        is_calm = not (world.store.hold or world.store.held or world.store.is_elsewhere)
        world.ask(first)
        if old:
            world.say_goodbye(old[pick % len(old)])
        world.ask(second)
        if not pick % 3:
            await world.store.inner.kick(self.here, user)
        elif pick % 2 and is_calm and not world.lines and self.here == "/newest" and not late:
            await world.settle()
            assert not first.is_in, "the newest login wins (PRES-93)"
            if all(one.server == server for one in world.visitors if one.user == user):
                assert second.is_in, "no other node has to confirm anything"

    async def _let_go(self, held: Held, fails: bool) -> None:
        self.world.store.let_go(held, fails=fails)

    # -- the end

    async def _rest(self) -> None:
        world = self.world
        world.store.let_all_go()
        for visitor in world.visitors:
            visitor.gate.set()
        await world.settle()
        # Retries, steps that shield themselves, and the time of those who linger; handlers that
        # are at work hold up nothing.
        for _ in range(4):
            await self.thread.advance(LINGER_S)
            await world.settle()

    async def _compare(self) -> None:
        world = self.world
        live = sorted((one.user, one.public_id) for one in world.sockets(self.here))
        seats = await world.seats(self.here)
        assert live == sorted((user, one) for user, ids in seats.items() for one in ids), "I6"
        assert sum(not server.of(self.here)._joinings for server in world.servers) == 2
        for presence in world.presences:
            assert presence.statistics().releasing == 0
            assert presence.statistics().lingering <= presence.statistics().kicked
        held = sum(presence.statistics().claims for presence in world.presences)
        assert held == len(live), "nothing is remembered of claims that are over"
        clients = sum(visitor.is_in for visitor in self.those())
        assert clients == len(live), "clients know what is so"
        for visitor in self.those():
            self._check_told(visitor)

    def _check_told(self, visitor: Visitor) -> None:
        """What a client was told is whole: an answer, and a reason before it was put out."""
        kinds = [token[0] for token in visitor.told]
        assert kinds in (
            ["connect"],
            ["error"],
            ["connect", "disconnect"],
            ["connect", "event", "disconnect"],
            [],
        ), visitor.told
        for kind, *rest in visitor.told:
            if kind == "error":
                assert rest[0] in REFUSALS, rest
            elif kind == "event":
                assert rest[0] == "session/replaced"
                assert rest[1]["reason"] in ("replaced", "kicked")

    def teardown(self) -> None:
        if hasattr(self, "thread"):
            try:
                self.thread.do(self._rest)
                self.do(self._compare)
            finally:
                try:
                    self.thread.do(self.world.stop)
                    left = self.thread.do(self.world.seats, self.here)
                finally:
                    self.thread.close()
            assert left == {}, "servers that have stopped leave nobody behind"


@pytest.mark.req("PRES-46", "PRES-47", "PRES-57")
@pytest.mark.time_limit(300)
def test_sessions_against_the_log() -> None:
    run = settings(max_examples=examples(30), stateful_step_count=30, deadline=None)
    run_state_machine_as_test(SessionMachine, settings=run)
