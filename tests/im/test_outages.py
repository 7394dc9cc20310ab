"""Whole sessions in any order, while nodes lose the store, and the store loses claims.

As in test_sessions.py, but each of the two servers has a line to the store that is cut and mended,
leases end, the program stands still, and the store is wiped. In the mode "strict" a user is never
in twice (PRES-47); in both modes users are those with live sockets when all is at rest (PRES-46).
"""

from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from tests.im.held_store import HOLDS, Line
from tests.im.seat_world import LINGER_S, SeatWorld
from tests.im.store_world import MAXIMUM, MemoryWorld
from tests.im.test_sessions import SessionMachine, picks, rarely
from tests.properties import examples

LEASE_S = 6.0
STEP_S = 0.5
ACTIONS = (
    *("come", "come", "come", "return", "return", "lose", "lose", "leave", "late", "kick"),
    *("hold", "hold", "hold nothing", "let go", "let go", "fail", "take over", "take over", "rush"),
    *("cut", "cut", "cut silently", "mend", "mend", "mend", "wipe", "wipe", "end lease"),
    *("pass", "pass", "pass a lease", "stand still"),
)
PLACES = (*HOLDS, "reassert before", "reassert after", "reassert after")


class OutageMachine(SessionMachine):
    """The clients are those of its base."""

    @initialize(
        namespace=st.sampled_from(("/newest", "/newest", "/reject", "/many")),
        takeover=st.sampled_from(("strict", "strict", "fast")),
        linger_s=st.sampled_from((0.0, LINGER_S)),
        outage=st.sampled_from(("strict", "available")),
        is_near=st.booleans(),
    )
    def begin(
        self, namespace: str, takeover: str, linger_s: float, outage: str, is_near: bool
    ) -> None:
        self.thread = MemoryWorld()
        self.here = namespace
        self.takeover = takeover
        self.outage = outage
        self.cut_at = 0.0
        self.world = SeatWorld(
            takeover=takeover, linger_s=linger_s, lease_s=LEASE_S, outage=outage, is_near=is_near
        )
        self.thread.do(self.world.start, self.thread.nursery)

    async def _check(self) -> None:
        await self.world.settle()
        assert self.world.defects.told == []
        if self.outage == "available" or self.takeover == "fast":
            return
        inside: dict[Any, int] = {}
        for socket in self.world.sockets(self.here):
            inside[socket.user] = inside.get(socket.user, 0) + 1
        most = MAXIMUM if self.here == "/many" else 1
        assert max(inside.values(), default=0) <= most, "I7"

    @rule(
        what=st.sampled_from(ACTIONS),
        pick=picks,
        server=st.integers(0, 1),
        user=st.sampled_from(("ann", "ann", "bob")),
        late=rarely,
        busy=rarely,
        at=st.sampled_from(PLACES),
        seconds=st.sampled_from((1.0, 2.0, 3.0)),
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
        world = self.world
        line = world.lines[server]
        if what in ("cut", "cut silently"):
            self.do(world.act, partial(self._cut, line, is_silent=what == "cut silently"))
        elif what == "mend":
            self.do(world.act, partial(self._mend, line))
        elif what == "wipe":
            self.do(world.wipe)
        elif what == "end lease":
            boot = world.presences[server]._node.boot
            if boot and self.outage == "available":  # in "strict" nobody does so before the fence
                self.do(world.act, partial(world.store.end_lease, boot))
        elif what == "pass":
            self.do(self._pass, seconds)
        elif what == "pass a lease":
            self.do(self._pass, LEASE_S + 1)
        elif what == "stand still":
            self.do(self.thread.advance, LEASE_S * seconds)
        else:
            if what == "kick":
                self.do(world.act, self._lengthen_leases)
            self._act(what, pick, server, user, late, busy, at, seconds)

    def _cut(self, line: Line, *, is_silent: bool) -> None:
        was_reached = not self._nobody_reaches_it
        line.cut(is_silent=is_silent)
        if was_reached:
            self.cut_at = trio.current_time()

    def _mend(self, line: Line) -> None:
        self._lengthen_leases()
        line.mend()

    def _lengthen_leases(self) -> None:
        """No time has passed for them while no node could reach the store."""
        if self._nobody_reaches_it:
            self.world.store.lengthen_leases(self.cut_at)

    @property
    def _nobody_reaches_it(self) -> bool:
        return all(one.is_cut for one in self.world.lines)

    async def _pass(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            await self.thread.advance(STEP_S)
            await self._check()

    async def _rest(self) -> None:
        world = self.world
        world.store.let_all_go()
        for line in world.lines:
            line.mend()
        for visitor in world.visitors:
            visitor.gate.set()
        await world.settle()
        await self._pass(LINGER_S + 2 * LEASE_S + 20)


@pytest.mark.req("PRES-46", "PRES-47", "LEASE-10", "LEASE-14")
@pytest.mark.time_limit(300)
def test_sessions_while_nodes_lose_the_store() -> None:
    run = settings(max_examples=examples(15), stateful_step_count=30, deadline=None)
    run_state_machine_as_test(OutageMachine, settings=run)
