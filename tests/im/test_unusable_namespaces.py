"""The records of one namespace cannot be used: the others go on as if nothing were."""

import logging

import pytest
from tests.im.test_leases import HERE, LEASE_S, check_rest, end_lease, running, wait
from trio.testing import MockClock, trio_test

from trio_socketio import Server
from trio_socketio.im.presence import Presence
from trio_socketio.im.presence.metrics import PresenceCollector
from trio_socketio.im.presence.put_aside import PAUSE_S

OTHER = "/many"


def measure(presence: Presence, server: Server) -> float:
    """Return how many namespaces cannot be used, as the metrics tell it."""
    collected = PresenceCollector(presence, server).collect()
    (metric,) = [one for one in collected if one.name == "tsio_presence_unusable_namespaces"]
    return float(metric.samples[0].value)


@pytest.mark.req("LEASE-36", "LEASE-37")
@pytest.mark.parametrize("is_near", [False, True])
@trio_test
async def test_a_node_is_ready_for_the_namespaces_that_can_be_used(
    is_near: bool, mock_clock: MockClock
) -> None:
    async with running(count=1, is_near=is_near) as world:
        presence, server = world.presences[0], world.servers[0]
        world.store.unusable.add(HERE)
        assert (await world.come(0, HERE, "ann")).is_cut_off
        assert (await world.come(0, OTHER, "bob")).is_in
        assert presence.fault == "", "all nodes have the same store"
        assert HERE in presence.trouble
        assert measure(presence, server) == 1
        world.store.unusable.clear()
        await wait(world, mock_clock, 2 * PAUSE_S + 0.5)
        assert presence.trouble == ""
        assert measure(presence, server) == 0


@pytest.mark.req("LEASE-32")
@pytest.mark.parametrize("is_near", [False, True])
@trio_test
async def test_releases_of_other_namespaces_go_on(
    is_near: bool, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(count=1, is_near=is_near) as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, OTHER, "bob")
        cyd, dan = await world.come(0, HERE, "cyd"), await world.come(0, OTHER, "dan")
        world.store.unusable.add(HERE)
        for one in (ann, bob, cyd, dan):
            await world.leave(one)
        await wait(world, mock_clock, 0.5)
        presence = world.presences[0]
        assert await world.seats(OTHER) == {}
        assert set(await world.seats(HERE)) == {"ann", "cyd"}
        assert presence.statistics().releasing == 2
        assert HERE in presence.trouble
        asked = world.lines[0].asked["release"]
        await wait(world, mock_clock, 4 * PAUSE_S)
        assert world.lines[0].asked["release"] == asked, "its records are read instead"
        assert world.lines[0].asked["get"] == 4
        assert HERE in presence.trouble
        world.store.unusable.clear()
        await wait(world, mock_clock, PAUSE_S + 0.5)
        assert await world.seats(HERE) == {}
        assert presence.statistics().claims == 0
        await wait(world, mock_clock, PAUSE_S)
        assert presence.trouble == ""
        assert (await world.come(0, HERE, "ann")).is_in
    assert sum("cannot be used" in one for one in caplog.messages) == 1
    assert sum("can be used again" in one for one in caplog.messages) == 1


@pytest.mark.req("LEASE-32")
@trio_test
async def test_orders_of_other_namespaces_go_on(mock_clock: MockClock) -> None:
    async with running() as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, OTHER, "bob")
        world.store.hold.add("orders after")
        await world.store.inner.kick(HERE, "ann")
        world.store.unusable.add(HERE)
        world.store.let_all_go()
        await world.settle()
        assert not ann.is_in, "the order is obeyed, though it cannot be confirmed"
        asked = world.lines[0].asked["receive_orders"]
        await wait(world, mock_clock, 1)
        assert world.lines[0].asked["receive_orders"] - asked <= 11
        await world.store.inner.kick(OTHER, "bob")
        await wait(world, mock_clock, 0.5)
        assert not bob.is_in
        book = world.store.inner._books.open(OTHER).book
        assert not list(book.orders.of_user("bob")), "it is confirmed"
        book = world.store.inner._books.open(HERE).book
        assert list(book.orders.of_user("ann"))
        world.store.unusable.clear()
        await wait(world, mock_clock, PAUSE_S + 0.5)
        assert not list(book.orders.of_user("ann"))


@pytest.mark.req("LEASE-32")
@trio_test
async def test_claims_of_other_namespaces_are_taken_anew(mock_clock: MockClock) -> None:
    async with running() as world:
        ann, bob = await world.come(0, HERE, "ann"), await world.come(0, OTHER, "bob")
        gone = await world.come(0, HERE, "cyd")
        world.store.unusable.add(HERE)
        await world.wipe()
        await wait(world, mock_clock, 0.5)
        assert set(await world.seats(OTHER)) == {"bob"}
        assert not world.store._rebuilding, "others do not wait"
        assert (await world.come(0, OTHER, "dan")).is_in
        await world.leave(gone)
        await wait(world, mock_clock, 0.5)
        assert HERE in world.presences[0].trouble
        assert ann.is_in
        assert await world.seats(HERE) == {}
        world.store.unusable.clear()
        await wait(world, mock_clock, PAUSE_S + 0.5)
        assert set(await world.seats(HERE)) == {"ann"}
        await check_rest(world)
        await check_rest(world, OTHER)
        assert bob.is_in


@pytest.mark.req("LEASE-32")
@trio_test
async def test_a_client_that_waits_is_refused_when_its_claim_is_put_aside(
    mock_clock: MockClock,
) -> None:
    async with running() as world:
        world.store.hold.add("claim after")
        ann = await world.come(0, HERE, "ann")
        await world.wipe()
        world.store.unusable.add(HERE)
        world.store.let_all_go()
        await wait(world, mock_clock, 1)
        assert ann.is_cut_off
        world.store.unusable.clear()
        await wait(world, mock_clock, 2 * PAUSE_S)
        assert world.presences[0].statistics().claims == 0
        await check_rest(world)


@pytest.mark.req("LEASE-32")
@trio_test
async def test_other_boots_and_namespaces_are_reaped(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(count=3) as world:
        await world.come(0, HERE, "ann")
        await world.come(0, OTHER, "bob")
        await world.come(1, OTHER, "cyd")
        world.store.unusable.add(HERE)
        for line in world.lines[:2]:
            line.cut()
        await wait(world, mock_clock, LEASE_S + 2)
        assert await world.seats(OTHER) == {}
        assert set(await world.seats(HERE)) == {"ann"}
        asked = world.lines[2].asked["reap"]
        await wait(world, mock_clock, 4 * PAUSE_S)
        assert world.lines[2].asked["reap"] - asked <= 5
        assert HERE in world.presences[2].trouble
        world.store.unusable.clear()
        await wait(world, mock_clock, 2 * PAUSE_S + 1)
        assert await world.seats(HERE) == {}
        assert world.presences[2].trouble == ""
    told = [one for one in caplog.messages if "cannot be used" in one]
    assert len(told) == 1


@pytest.mark.req("LEASE-32")
@pytest.mark.parametrize("outage", ["strict", "available"])
@trio_test
async def test_a_node_that_enrolls_anew_serves_other_namespaces(
    outage: str, mock_clock: MockClock
) -> None:
    async with running(count=1, outage=outage) as world:
        await world.come(0, HERE, "ann")
        await world.come(0, OTHER, "bob")
        world.store.unusable.add(HERE)
        await end_lease(world)
        await wait(world, mock_clock, 1)
        assert (await world.come(0, OTHER, "cyd")).is_in
        await check_rest(world, OTHER)
        world.store.unusable.clear()
        await wait(world, mock_clock, 2 * PAUSE_S + 1)
        await check_rest(world)


@pytest.mark.req("LEASE-32", "LEASE-31")
@trio_test
async def test_a_stop_does_not_wait_for_a_namespace_that_cannot_be_used(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        await world.come(0, HERE, "ann")
        await world.come(0, OTHER, "bob")
        world.store.unusable.add(HERE)
        world._serving[0].cancel()
        await world.settle()
        assert world.servers[0].state == "idle"
        assert await world.seats(OTHER) == {}
