"""What a node does with its lease: keeps it, loses it, and takes its claims anew."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.im.held_store import HeldStore, Line
from tests.im.seat_world import LINGER_S, SeatWorld
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.engine.session import Session
from trio_socketio.errors import OptionError
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.im.presence.lease_keeping import margin
from trio_socketio.im.presence.node_life import CLOSE_S
from trio_socketio.im.presence.seats import STORE_S
from trio_socketio.protocol.presence_claims import ClaimRequest, Fenced, Order, Renewal
from trio_socketio.socketio.server import Server

LEASE_S = 10.0
FENCE_S = 9.0
STEP_S = 0.5
HERE = "/newest"
CONNECT = ("connect",)
GONE = ("disconnect",)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[SeatWorld]:
    options.setdefault("lease_s", LEASE_S)
    world = SeatWorld(**options)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        try:
            yield world
            await world.settle()
        finally:
            await world.stop()
    assert world.defects.told == []


async def wait(world: SeatWorld, clock: MockClock, seconds: float) -> None:
    """Let time pass as it does where nothing stands still."""
    ends = trio.current_time() + seconds
    while trio.current_time() < ends - 1e-9:
        clock.jump(min(STEP_S, ends - trio.current_time()))
        await world.settle()


def live(world: SeatWorld, namespace: str = HERE) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for socket in world.sockets(namespace):
        assert socket.user is not None
        found.setdefault(socket.user, []).append(socket.public_id)
    return found


async def end_lease(world: SeatWorld) -> None:
    """Others have taken the first node for dead, and it learns of that."""
    world.store.end_lease(world.presences[0].statistics().boot)
    lease = world.presences[0]._life.lease
    assert lease is not None
    await world.act(lease.hurry)


async def check_rest(world: SeatWorld, namespace: str = HERE) -> None:
    assert await world.seats(namespace) == live(world, namespace), "I6"


# -- keeping it


@pytest.mark.req("LEASE-01")
@pytest.mark.parametrize(
    ("lease_s", "left_s"), [(100, 90), (10, 9), (5, 4), (3, 2), (2, 2 - 2 / 3), (0.3, 0.2)]
)
def test_a_lease_counts_for_less_than_it_lasts(lease_s: float, left_s: float) -> None:
    assert lease_s - margin(lease_s) == pytest.approx(left_s)


@pytest.mark.req("LEASE-01")
@trio_test
async def test_a_lease_counts_from_when_its_renewal_was_sent(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        presence, line = world.presences[0], world.lines[0]
        await wait(world, mock_clock, LEASE_S)
        before = presence.statistics().lease_left_s
        assert 2 / 3 * LEASE_S - 1 <= before <= FENCE_S
        line.cut(is_silent=True)
        await wait(world, mock_clock, 4)  # a renewal is under way since some time
        line.is_silent = False
        assert presence.statistics().lease_left_s == pytest.approx(before - 4)


@pytest.mark.req("LEASE-01")
@trio_test
async def test_the_time_that_a_renewal_takes_does_not_count(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        world.store.hold.add("renew before")
        await wait(world, mock_clock, 6)  # it was sent after 3.5 s
        world.store.let_all_go()
        await world.settle()
        assert world.presences[0].statistics().lease_left_s == pytest.approx(FENCE_S - 2.5)


@pytest.mark.req("LEASE-10")
@trio_test
async def test_the_end_is_noticed_while_a_renewal_hangs(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        ann = await world.come(0, HERE, "ann")
        await wait(world, mock_clock, 4)
        world.lines[0].cut(is_silent=True)
        await wait(world, mock_clock, world.presences[0].statistics().lease_left_s - 0.1)
        assert not ann.wire.closed
        await wait(world, mock_clock, 0.1)
        assert ann.wire.closed


@pytest.mark.req("LEASE-02")
@trio_test
async def test_a_lease_is_renewed_three_times_in_its_length(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        asked = world.lines[0].asked["renew"]
        await wait(world, mock_clock, 10 * LEASE_S)
        assert 28 <= world.lines[0].asked["renew"] - asked <= 30
        assert world.presences[0].statistics().fenced_times == 0


@trio_test
async def test_without_leases_nothing_runs(mock_clock: MockClock) -> None:
    line: Any = Line(MemoryStore())
    server = Server()
    presence = Presence(server, line)
    presence.seat(HERE)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.serve(port=0, task_status=task_status))
        for _ in range(20):
            mock_clock.jump(5)
            await wait_all_tasks_blocked()
        assert line.asked.keys() == {"enroll", "receive_orders"}
        assert server._fence.at == float("inf")
        assert presence.statistics().lease_left_s == float("inf")
        assert presence.fault == ""
        server.stop()


@pytest.mark.req("LEASE-03", "LEASE-04", "LEASE-30")
@trio_test
async def test_a_renewal_that_fails_is_tried_again_and_told_once(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(count=1) as world:
        presence, line = world.presences[0], world.lines[0]
        ann = await world.come(0, HERE, "ann")
        line.cut()
        asked = line.asked["renew"]
        await wait(world, mock_clock, 6)
        assert line.asked["renew"] - asked >= 4
        assert "the line is cut" in presence.fault
        line.mend()
        await wait(world, mock_clock, 1)
        assert presence.fault == ""
        assert presence.statistics().lease_left_s > FENCE_S - 1.5
        await wait(world, mock_clock, LEASE_S)
        assert ann.is_in
        assert world.types(HERE) == ["online"]
    told = caplog.messages
    assert sum("is not renewed" in one and "the line is cut" in one for one in told) == 1
    assert sum("the store answers again" in one and "renewals" in one for one in told) == 1


@pytest.mark.req("LEASE-03")
@trio_test
async def test_a_renewal_that_hangs_is_given_up_and_sent_anew(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        line = world.lines[0]
        line.cut(is_silent=True)
        await wait(world, mock_clock, 3.5)
        asked = line.asked["renew"]
        await wait(world, mock_clock, 5.4)  # the lease counts for 9 s
        assert line.asked["renew"] > asked


# -- strict: it has ended


@pytest.mark.req("LEASE-10", "LEASE-09", "LEASE-07")
@trio_test
async def test_a_node_without_a_lease_puts_everybody_out_and_begins_anew(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(linger_s=LINGER_S) as world:
        presence, line = world.presences[0], world.lines[0]
        boot = presence.statistics().boot
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, HERE, "bob")
        other = await world.come(1, HERE, "cyd")
        await world.lose(bob)
        line.cut()
        await wait(world, mock_clock, 5)
        assert ann.is_in
        await wait(world, mock_clock, 4.5)
        assert ann.wire.closed
        assert ann.told == [CONNECT]
        assert other.is_in
        found = presence.statistics()
        assert (found.claims, found.lingering, found.users) == (0, 0, {})
        assert (found.is_fenced, found.fenced_times, found.boot) == (True, 1, "")
        assert found.lease_left_s == 0
        assert "has no lease" in presence.fault
        assert "the line is cut" in presence.fault
        late = await world.come(0, HERE, "dan")
        assert late.is_cut_off
        await wait(world, mock_clock, 5)
        assert set(await world.seats(HERE)) == {"cyd"}, "the other node has ended them"
        assert world.reasons(HERE).count("node_lost") == 2
        line.mend()
        await wait(world, mock_clock, 1)
        found = presence.statistics()
        assert found.boot not in ("", boot)
        assert not found.is_fenced
        assert presence.fault == ""
        assert (await world.come(0, HERE, "ann")).is_in
        await check_rest(world)
    (told,) = [one for one in caplog.messages if "closed with 1012" in one]
    assert "node node 0" in told
    assert "1 clients are closed" in told
    assert "its lease was not renewed for 9." in told
    assert "(the line is cut)" in told
    assert sum("gets no lease" in one for one in caplog.messages) <= 1


@pytest.mark.req("LEASE-10")
@trio_test
async def test_clients_are_out_before_others_can_take_their_seats(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, HERE, "ann")
        world.lines[0].cut()
        new = await world.come(1, HERE, "ann")
        assert not new.told
        for _ in range(40):
            mock_clock.jump(0.25)
            await world.settle()
            assert len(world.sockets(HERE)) <= 1, "I7"
        assert old.wire.closed
        assert new.is_in
        await check_rest(world)


@pytest.mark.req("LEASE-09")
@trio_test
async def test_a_program_that_stood_still_is_told_so(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(count=1) as world:
        presence = world.presences[0]
        ann = await world.come(0, HERE, "ann")
        await wait(world, mock_clock, 5)
        presence._life._blocked = lambda: "the handler of 'x' took 20 s"
        mock_clock.jump(20)
        await world.settle()
        assert ann.wire.closed
        assert presence.statistics().fenced_times == 1
        assert (await world.come(0, HERE, "ann")).is_in
        await check_rest(world)
    (told,) = [one for one in caplog.messages if "closed with 1012" in one]
    assert "the program stood still (the handler of 'x' took 20 s)" in told


@pytest.mark.req("LEASE-06", "LEASE-10")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_renewal_whose_answer_is_read_after_the_fence_comes_too_late(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(count=1, outage=outage) as world:
        presence, line = world.presences[0], world.lines[0]
        ann = await world.come(0, HERE, "ann")
        stands_still_s = [FENCE_S - 2]

        async def renew(boot: str) -> Renewal:
            outcome = await world.store.renew(boot)
            if stands_still_s:  # when the answer has arrived
                mock_clock.jump(stands_still_s.pop())
            return outcome

        vars(line)["renew"] = renew
        await wait(world, mock_clock, LEASE_S / 3 + STEP_S)
        assert not stands_still_s
        assert presence.statistics().fenced_times == 1
        assert ann.is_in == (outage == "available")
        await wait(world, mock_clock, 1)
        assert not presence.statistics().is_fenced
        await check_rest(world)


@pytest.mark.req("LEASE-10", "LEASE-11")
@trio_test
async def test_a_lease_that_others_have_ended_is_over_at_once(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, HERE, "bob")
        world.store.end_lease(world.presences[0].statistics().boot)
        await world.leave(bob)  # the store refuses to release
        assert ann.wire.closed
        assert world.presences[0].statistics().releases_dropped <= 1
        await wait(world, mock_clock, 1)
        assert await world.seats(HERE) == {}
        assert world.reasons(HERE).count("node_lost") == 2
        assert (await world.come(0, HERE, "ann")).is_in
    assert any("the store says that its lease has ended" in one for one in caplog.messages)


@pytest.mark.req("LEASE-10")
@trio_test
async def test_releases_end_with_the_lease(mock_clock: MockClock) -> None:
    async with running() as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, HERE, "bob")
        world.lines[0].cut()
        await world.leave(ann)
        await world.lose(bob)
        assert world.presences[0].statistics().releasing == 2
        await wait(world, mock_clock, FENCE_S + 0.5)
        found = world.presences[0].statistics()
        assert (found.releasing, found.releases_dropped, found.claims) == (0, 2, 0)
        world.lines[0].mend()
        await wait(world, mock_clock, 2)
        await check_rest(world)


@pytest.mark.req("LEASE-12")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_those_who_wait_for_a_seat_are_refused_at_the_fence(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(outage=outage) as world:
        first = await world.come(1, HERE, "ann")
        gone = await world.come(0, HERE, "bob")
        world.store.hold.add("orders after")
        waits = await world.come(0, HERE, "ann")  # for the confirmation of the other node
        world.lines[0].cut(is_silent=True)
        await world.leave(gone)
        behind = await world.come(0, HERE, "bob")  # for the release of the one before
        await wait(world, mock_clock, FENCE_S - 0.5)
        assert waits.told == []
        assert not waits.wire.closed
        assert behind.is_cut_off, "before that"
        await wait(world, mock_clock, 0.6)
        assert waits.is_cut_off
        assert first.wire.closed is False
        world.store.let_all_go()
        world.lines[0].mend()
        await wait(world, mock_clock, 2)
        await check_rest(world)


@pytest.mark.req("LEASE-12")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_fast_takeover_does_not_enter_without_a_lease(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(outage=outage, takeover="fast") as world:
        await world.come(1, HERE, "ann")
        world.store.hold.add("orders after")
        new = await world.come(0, HERE, "ann")
        assert new.told == []
        await world.act(world.presences[0]._life.pass_fence)
        assert new.is_cut_off
        world.store.let_all_go()
        await wait(world, mock_clock, 5)
        await check_rest(world)


@pytest.mark.req("LEASE-12")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_without_a_lease_a_store_that_would_answer_at_once_is_not_asked(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(count=1, outage=outage, is_near=True) as world:
        world.store.hold |= {"renew before", "enroll before"}
        await wait(world, mock_clock, LEASE_S - 0.5)
        assert world.presences[0].statistics().is_fenced
        assert world.lines[0].at_once is not None
        asked = world.lines[0].asked["claim"]
        assert (await world.come(0, HERE, "ann")).is_cut_off
        assert world.lines[0].asked["claim"] == asked
        assert world.types(HERE) == []


@pytest.mark.req("LEASE-12")
@pytest.mark.parametrize("outage", ["strict", "available"])
@pytest.mark.parametrize("takeover", ["strict", "fast"])
@trio_test
async def test_a_lease_that_ends_in_the_turn_of_the_claim_is_not_waited_for(
    outage: str, takeover: str, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(outage=outage, takeover=takeover, is_near=True) as world:
        await world.come(1, HERE, "ann")
        world.store.hold.add("orders after")
        new = await world.open(0, HERE, "ann")
        running_server = world.servers[0]._running
        assert running_server is not None
        poller, pass_fence = running_server.runtime.poller, world.presences[0]._life.pass_fence
        claim_now = world.lines[0].claim_now

        def claim_in_time(request: ClaimRequest) -> Any:
            poller.defer(pass_fence)  # which is called at the end of this turn
            return claim_now(request)

        monkeypatch.setattr(world.lines[0], "claim_now", claim_in_time)
        world.ask(new)
        await world.settle()
        assert world.presences[0].statistics().fenced_times == 1
        assert new.is_cut_off
        world.store.let_all_go()
        await wait(world, mock_clock, 5)
        await check_rest(world)


@pytest.mark.req("LEASE-12")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_claim_is_refused_within_two_seconds(outage: str, mock_clock: MockClock) -> None:
    async with running(count=1, outage=outage) as world:
        world.lines[0].cut(is_silent=True)
        ann = await world.come(0, HERE, "ann")
        await wait(world, mock_clock, STORE_S)
        assert STORE_S < 2
        assert ann.is_cut_off
        await wait(world, mock_clock, LEASE_S)
        asked = world.lines[0].asked["claim"]
        late = await world.come(0, HERE, "ann")
        assert late.is_cut_off, "without a wait"
        assert world.lines[0].asked["claim"] == asked
        world.lines[0].mend()
        await wait(world, mock_clock, 6)
        assert (await world.come(0, HERE, "ann")).is_in
        await check_rest(world)


@pytest.mark.req("LEASE-33")
@trio_test
async def test_one_that_waits_for_a_release_is_refused_within_two_seconds_too(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        gone = await world.come(0, HERE, "ann")
        world.lines[0].cut(is_silent=True)
        await world.leave(gone)
        ann = await world.come(0, HERE, "ann")
        await wait(world, mock_clock, STORE_S)
        assert ann.is_cut_off
        world.lines[0].mend()
        await wait(world, mock_clock, 6)
        await check_rest(world)


@pytest.mark.req("LEASE-10")
@trio_test
async def test_a_session_that_cannot_be_aborted_keeps_nobody_else_in(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(count=1) as world:
        come = [await world.come(0, HERE, name) for name in ("ann", "bob", "cyd")]
        abort, calls = Session.abort, []

        def fail_once(session: Session, reason: str = "") -> None:
            calls.append(session)
            if len(calls) == 1:
                raise ValueError("as the test wants it")
            abort(session, reason)

        monkeypatch.setattr(Session, "abort", fail_once)
        await end_lease(world)
        assert sum(one.wire.closed for one in come) == 2
        assert world.presences[0].statistics().claims == 0
        monkeypatch.undo()
    assert "this is a defect" in caplog.text


@pytest.mark.req("LEASE-10")
@trio_test
async def test_a_client_in_a_later_step_is_put_out_too(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        late = await world.come(0, HERE, "ann", late=True)
        world.store.end_lease(world.presences[0].statistics().boot)
        await wait(world, mock_clock, 4)
        assert late.wire.closed
        await world.act(late.gate.set)
        assert world.sockets(HERE) == []
        await check_rest(world)


@pytest.mark.req("LEASE-06")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_late_answer_to_an_earlier_boot_gives_no_seat(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(outage=outage) as world:
        world.store.hold.add("claim after")
        ann = await world.come(0, HERE, "ann")
        boot = world.presences[0].statistics().boot
        await end_lease(world)
        assert world.presences[0].statistics().boot not in ("", boot)
        world.store.let_all_go()
        await world.settle()
        assert ann.is_cut_off
        await wait(world, mock_clock, 2)
        assert world.presences[0].statistics().claims == 0
        await check_rest(world)
        assert (await world.come(0, HERE, "ann")).is_in
        await check_rest(world)


# -- available


@pytest.mark.req("LEASE-08")
@trio_test
async def test_clients_stay_in_an_outage_and_nobody_goes_offline(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(outage="available") as world:
        boots = [one.statistics().boot for one in world.presences]
        ann, bob = await world.come(0, HERE, "ann"), await world.come(1, HERE, "bob")
        for line in world.lines:
            line.cut()
        await wait(world, mock_clock, 3 * LEASE_S)
        assert ann.is_in
        assert bob.is_in
        found = world.presences[0].statistics()
        assert (found.is_fenced, found.fenced_times, found.lease_left_s) == (True, 1, 0)
        assert "was not renewed" in world.presences[0].fault
        assert (await world.come(0, HERE, "cyd")).is_cut_off
        await world.leave(bob)
        world.store.lengthen_leases()
        for line in world.lines:
            line.mend()
        await wait(world, mock_clock, 1)
        assert [one.statistics().boot for one in world.presences] == boots
        assert (await world.come(0, HERE, "cyd")).is_in
        assert world.types(HERE) == ["online", "online", "offline", "online"]
        await check_rest(world)
    told = [one for one in caplog.messages if "keep their seats" in one]
    assert len(told) == 2
    assert "the line is cut" in told[0]


@pytest.mark.req("LEASE-14", "LEASE-18", "LEASE-19")
@trio_test
async def test_a_later_login_elsewhere_wins_when_the_store_is_back(mock_clock: MockClock) -> None:
    async with running(outage="available", linger_s=50.0) as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, HERE, "bob")
        cyd, dan = await world.come(0, HERE, "cyd"), await world.come(0, HERE, "dan")
        await world.lose(cyd)
        boot = world.presences[0].statistics().boot
        world.lines[0].cut()
        await wait(world, mock_clock, LEASE_S + 2)
        assert world.reasons(HERE).count("node_lost") == 4
        there = await world.come(1, HERE, "ann")
        assert there.is_in
        await world.leave(dan)
        assert ann.is_in, "as the mode says"
        world.store.hold.add("orders after")  # the answer alone says that ann is out
        world.lines[0].mend()
        await wait(world, mock_clock, 1)
        assert ann.told == [CONNECT, ("event", "session/replaced", {"reason": "replaced"}), GONE]
        assert bob.is_in
        found = world.presences[0].statistics()
        assert found.boot not in ("", boot)
        assert (found.reasserted, found.lost_seats, found.replaced) == (2, 1, 1)
        assert (found.releases_dropped, found.lingering) == (1, 1)
        assert set(await world.seats(HERE)) == {"ann", "bob", "cyd"}
        back = await world.come(0, HERE, "cyd", back=cyd)
        assert back.is_in
        await check_rest(world)


@pytest.mark.req("LEASE-19")
@trio_test
async def test_kept_claims_go_on_without_a_gap(mock_clock: MockClock) -> None:
    async with running(count=1, outage="available") as world:
        ann = await world.come(0, HERE, "ann")
        gone = await world.come(0, HERE, "bob")
        world.store.hold.add("release before")
        await world.leave(gone)
        await end_lease(world)
        world.store.let_all_go()
        await world.settle()
        assert ann.is_in
        assert world.types(HERE) == ["online", "online", "moved", "offline"]
        await check_rest(world)


@pytest.mark.req("LEASE-19")
@trio_test
async def test_one_that_leaves_between_two_leases_has_nothing_to_release(
    mock_clock: MockClock,
) -> None:
    async with running(count=1, outage="available") as world:
        ann = await world.come(0, HERE, "ann")
        world.store.hold.add("enroll before")
        await end_lease(world)
        await world.leave(ann)
        found = world.presences[0].statistics()
        assert (found.claims, found.releasing, found.releases_dropped) == (0, 0, 1)
        world.store.let_all_go()
        await world.settle()
        await check_rest(world)


# -- the store has lost claims


@pytest.mark.req("LEASE-05", "LEASE-14")
@pytest.mark.parametrize("outage", ["strict", "available"])
@pytest.mark.parametrize("here", ["/newest", "/reject", "/many"])
@trio_test
async def test_claims_that_the_store_has_lost_are_taken_anew_at_once(
    here: str, outage: str, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(linger_s=LINGER_S, outage=outage) as world:
        ann, bob = await world.come(0, here, "ann"), await world.come(1, here, "bob")
        lost, gone = await world.come(0, here, "cyd"), await world.come(0, here, "dan")
        await world.lose(lost)
        await world.leave(gone)
        await world.wipe()
        assert set(await world.seats(here)) == {"ann", "bob", "cyd"}
        assert ann.is_in
        assert bob.is_in
        assert world.presences[0].statistics().reasserted == 2
        assert not world.store._rebuilding, "the nodes have said that they are done"
        back = await world.come(0, here, "cyd", back=lost)
        assert back.is_in
        await world.leave(ann)
        assert set(await world.seats(here)) == {"bob", "cyd"}
    assert sum("the store has lost claims" in one for one in caplog.messages) == 2


@pytest.mark.req("LEASE-13")
@trio_test
async def test_claims_are_taken_anew_several_at_a_time(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        for number in range(70):
            await world.come(0, HERE, f"user {number}")
        world.store.hold.add("reassert after")
        await world.wipe()
        assert len(world.store.held) == 64
        late = await world.come(0, HERE, "late")
        assert late.told == [], "it waits until the others are known again"
        world.store.let_all_go()
        await world.settle()
        assert late.is_in
        await check_rest(world)


@pytest.mark.req("LEASE-15")
@pytest.mark.parametrize("at", ["claim before", "claim after"])
@trio_test
async def test_a_claim_that_was_asked_for_before_a_loss_is_not_lost(
    at: str, mock_clock: MockClock
) -> None:
    async with running() as world:
        world.store.hold.add(at)
        ann = await world.come(0, HERE, "ann")
        await world.wipe()
        world.store.let_all_go()
        await world.settle()
        assert ann.is_in
        await check_rest(world)


@pytest.mark.req("LEASE-34")
@trio_test
async def test_a_rebuild_does_not_end_when_claims_were_lost_once_more(
    mock_clock: MockClock,
) -> None:
    async with running() as world:
        old = await world.come(0, HERE, "ann")
        world.store.hold.add("end_rebuild before")
        await world.wipe()
        said = list(world.store.held)
        assert len(said) == 2, "both nodes are saying that all is known"
        world.store.hold = {"reassert before"}
        await world.wipe()
        for held in said:
            world.store.let_go(held, fails=True)
        await wait(world, mock_clock, 1)
        new = await world.come(1, HERE, "ann")
        assert new.told == [], "as nobody knows of the old one yet"
        world.store.let_all_go()
        await world.settle()
        assert new.is_in
        assert not old.is_in
        await check_rest(world)


@pytest.mark.req("LEASE-15")
@trio_test
async def test_one_that_waits_for_others_waits_on_after_a_loss(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, HERE, "ann")
        world.store.hold.add("confirm before")
        new = await world.come(1, HERE, "ann")
        assert old.told[-1] == GONE
        assert new.told == []
        await world.wipe()
        world.store.let_all_go()
        await world.settle()
        assert len(world.sockets(HERE)) <= 1
        await wait(world, mock_clock, LEASE_S)
        await check_rest(world)


@pytest.mark.req("LEASE-16")
@pytest.mark.parametrize("at", ["reassert before", "reassert after"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_near", [False, True])
@trio_test
async def test_one_that_leaves_while_it_is_taken_anew_is_released(
    at: str, fails: bool, is_near: bool, mock_clock: MockClock
) -> None:
    async with running(count=1, is_near=is_near) as world:
        ann = await world.come(0, HERE, "ann")
        world.store.hold.add(at)
        await world.wipe()
        (held,) = world.store.held
        await world.leave(ann)
        assert world.presences[0].statistics().releasing == 1
        world.store.hold.clear()
        world.store.let_go(held, fails=fails)
        await wait(world, mock_clock, 1)
        assert await world.seats(HERE) == {}
        assert world.presences[0].statistics().claims == 0


@pytest.mark.req("LEASE-16")
@trio_test
async def test_one_that_is_being_taken_anew_is_released_at_the_stop(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        await world.come(0, HERE, "ann")
        world.store.hold.add("reassert after")
        await world.wipe()
        assert len(await world.seats(HERE)) == 1
        world._serving[0].cancel()
        await world.settle()
        assert await world.seats(HERE) == {}
        assert world.reasons(HERE)[-1] != "node_lost"


@pytest.mark.req("LEASE-17")
@trio_test
async def test_an_order_from_before_a_loss_does_not_end_the_claim_of_now(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        ann = await world.come(0, HERE, "ann")
        (before,) = (await world.store.inner.snapshot(HERE)).users["ann"]
        await world.wipe()
        (now,) = (await world.store.inner.snapshot(HERE)).users["ann"]
        node = world.presences[0]._node

        def obey(token: Any, boot: str) -> None:
            node.obey(
                Order(
                    namespace=HERE,
                    user="ann",
                    boot=boot,
                    attempt=now.attempt,
                    token=token,
                    reason="replaced",
                )
            )

        await world.act(lambda: obey(before.token, now.boot))
        await world.act(lambda: obey(now.token, "another"))
        assert ann.is_in
        await world.act(lambda: obey(now.token, now.boot))
        assert not ann.is_in


@pytest.mark.req("LEASE-16")
@trio_test
async def test_one_that_was_ordered_out_while_it_is_taken_anew_is_released(
    mock_clock: MockClock,
) -> None:
    async with running() as world:
        ann = await world.come(0, HERE, "ann")
        world.store.hold.add("orders after")
        await world.act(lambda: None)
        await world.store.kick(HERE, "ann")
        await world.settle()
        (order,) = world.store.held
        world.store.hold.add("reassert after")
        await world.wipe()
        world.store.let_go(order)  # of a kick that the store knows nothing of
        await world.settle()
        assert not ann.is_in
        world.store.let_all_go()
        await wait(world, mock_clock, 1)
        await check_rest(world)


# -- the reaper


@pytest.mark.req("LEASE-20", "LEASE-21")
@trio_test
async def test_survivors_say_that_the_clients_of_a_lost_node_are_offline(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(count=3) as world:
        boot = "lost"
        await world.store.enroll("lost node", boot)
        for number in range(1200):
            await claim(world.store, boot, number)
        await wait(world, mock_clock, LEASE_S + 1)
        assert await world.seats(HERE) == {}
        assert world.reasons(HERE) == [None] * 1200 + ["node_lost"] * 1200
        asked = world.lines[0].asked["expired"]
        await wait(world, mock_clock, LEASE_S)
        assert world.lines[0].asked["expired"] - asked == 20
    told = [one for one in caplog.messages if f"boot {boot} has ended" in one]
    counts = [int(one.split(" seats of its")[0].rsplit(" ", 1)[1]) for one in told]
    assert sum(counts) == 1200


@pytest.mark.req("LEASE-20")
@pytest.mark.parametrize(("lease_s", "pause_s"), [(4.0, 0.2), (0.6, 0.05), (60.0, 0.5)])
@trio_test
async def test_lost_nodes_are_looked_for_often(
    lease_s: float, pause_s: float, mock_clock: MockClock
) -> None:
    async with running(count=1, lease_s=lease_s) as world:
        asked = world.lines[0].asked["expired"]
        for _ in range(10):
            mock_clock.jump(pause_s)
            await wait_all_tasks_blocked()
        assert world.lines[0].asked["expired"] - asked == 10


# -- the start and the end


@pytest.mark.req("LEASE-07")
@trio_test
async def test_a_store_that_refuses_a_boot_is_asked_with_another(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = HeldStore(MemoryStore(lease_s=LEASE_S))
    boots: list[str] = []

    class Refusing(Line):
        async def enroll(self, node: str, boot: str) -> Any:
            boots.append(boot)
            if len(boots) < 3:
                return Fenced()
            return await store.enroll(node, boot)

    line: Any = Refusing(store)
    server = Server()
    presence = Presence(server, line, node="a")
    presence.seat(HERE)
    mock_clock.autojump_threshold = 0.01
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.serve(port=0, task_status=task_status))
        assert len(set(boots)) == 3
        assert presence.statistics().boot == boots[-1]
        server.stop()
    assert sum("gets no lease" in one for one in caplog.messages) == 1


@pytest.mark.req("LEASE-06")
@trio_test
async def test_an_enrolment_that_is_answered_too_late_is_no_lease(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        world.store.hold.add("enroll before")
        await end_lease(world)
        before = world.presences[0].statistics().fenced_times
        mock_clock.jump(FENCE_S + 0.5)
        world.store.let_all_go()
        await wait(world, mock_clock, 2)
        assert world.presences[0].statistics().fenced_times == before
        assert (await world.come(0, HERE, "ann")).is_in
        await check_rest(world)


@pytest.mark.req("LEASE-07")
@trio_test
async def test_an_enrolment_of_unknown_outcome_counts_from_its_renewal(
    mock_clock: MockClock,
) -> None:
    store = HeldStore(MemoryStore(lease_s=LEASE_S))

    class Losing(Line):
        fails = 8

        async def enroll(self, node: str, boot: str) -> Any:
            found = await store.enroll(node, boot)
            self.fails -= 1
            if self.fails >= 0:
                self.cut()
            return await self._call("enrolled", trio.lowlevel.checkpoint) or found

    line: Any = Losing(store)
    server = Server()
    presence = Presence(server, line, node="a")
    presence._life._clock = trio.current_time

    async def mend() -> None:
        while True:
            await trio.sleep(0.4)
            line.mend()

    mock_clock.autojump_threshold = 0.01
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend)
        await nursery.start(lambda task_status: server.serve(port=0, task_status=task_status))
        assert line.asked["renew"] == 1
        server.stop()
        nursery.cancel_scope.cancel()
    assert line.fails < 0


@pytest.mark.req("LEASE-31")
@pytest.mark.parametrize("outage", ["strict", "available"])
@pytest.mark.parametrize("after_s", [0, LEASE_S])
@pytest.mark.parametrize("is_silent", [False, True])
@trio_test
async def test_a_stop_without_the_store_is_bounded(
    outage: str, after_s: float, is_silent: bool, mock_clock: MockClock
) -> None:
    async with running(count=1, outage=outage) as world:
        await world.come(0, HERE, "ann")
        world.lines[0].cut(is_silent=is_silent)
        await wait(world, mock_clock, after_s)
        began = trio.current_time()
        world.servers[0].stop()
        while world.servers[0].state != "idle":
            mock_clock.jump(0.5)
            await wait_all_tasks_blocked()
            assert trio.current_time() < began + CLOSE_S + 4
        assert world.presences[0].statistics().claims == 0
        assert world.presences[0].fault == "presence does not run"


@trio_test
async def test_an_outage_mode_has_to_exist() -> None:
    mode: Any = "lenient"
    with pytest.raises(OptionError, match="outage: must be strict or available, not 'lenient'"):
        Presence(Server(), outage=mode)


async def claim(store: HeldStore, boot: str, number: int) -> None:
    await store.claim(
        ClaimRequest(
            namespace=HERE,
            user=f"user {number}",
            id=f"id {number}",
            node="lost node",
            boot=boot,
            attempt=number,
        )
    )
